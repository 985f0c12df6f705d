// Keys with certificates that are their own CA, made by openssl.
import { runOk } from "./run.js";

export interface Identity {
  readonly key: string;
  readonly certificate: string;
}

/** `path` gives a file's place in a directory of the test's own. Needs the program openssl. */
export async function createIdentity(path: (name: string) => string, name: string): Promise<Identity> {
  const [key, certificate] = [path(`${name}.key`), path(`${name}.pem`)];
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", `/CN=${name}`];
  await runOk("openssl", [...request, "-keyout", key, "-out", certificate]);
  return { key, certificate };
}
