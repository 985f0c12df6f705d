// Who a command is when it speaks TLS: -p, -c and -C. Source: ovs-ofctl(8) and ovs-vsctl(8), Public Key Infrastructure
// Options; what is amiss is told in the log in the words of the originals.
import { accessSync, constants } from "node:fs";
import { describeError, systemReason } from "../../base/errors/index.js";
import { mustBootstrap, readTlsFiles, type TlsFiles } from "../../base/tls/index.js";
import type { LogLevel } from "./command-log.js";
import type { GivenOption, OptionSpec } from "./command-options.js";

export const TLS_OPTIONS: readonly OptionSpec[] = [
  { name: "private-key", short: "p", argument: "required" },
  { name: "certificate", short: "c", argument: "required" },
  { name: "ca-cert", short: "C", argument: "required" },
];
/** Takes the CA certificate from the first peer where the file does not exist yet. */
export const BOOTSTRAP_OPTION: OptionSpec = { name: "bootstrap-ca-cert", argument: "required" };

/** Certificates that a peer may lack to know who we are. */
export const PEER_CA_OPTION: OptionSpec = { name: "peer-ca-cert", argument: "required" };

/** A line for the log of module stream_ssl. */
export type TellTls = (line: string, level: LogLevel) => void;

/** The files that the options name, the last of each kind; "" where none is named. */
export function tlsFilesOf(options: readonly GivenOption[]): TlsFiles {
  const named = (...names: readonly string[]): GivenOption | undefined =>
    options.findLast(({ name }) => names.includes(name));
  const authority = named("ca-cert", "bootstrap-ca-cert");
  return {
    privateKey: named("private-key")?.value ?? "",
    certificate: named("certificate")?.value ?? "",
    caCert: authority?.value ?? "",
    bootstrapCaCert: authority?.name === "bootstrap-ca-cert",
  };
}

/** Tells what is amiss with the files. False: nobody can be reached with them. */
export function checkTlsFiles(files: TlsFiles, tell: TellTls): boolean {
  const { privateKey, certificate, caCert } = files;
  const missing = [
    ...(privateKey === "" ? ["Private key"] : []),
    ...(certificate === "" ? ["Certificate"] : []),
    ...(caCert === "" ? ["CA certificate"] : []),
  ];
  for (const what of missing) tell(`${what} must be configured to use SSL`, "err");
  if (missing.length > 0) return false;
  if (caCert === "none") tell("Peer certificate validation disabled (this is a security risk)", "warn");
  try {
    readTlsFiles(mustBootstrap(files) ? { ...files, caCert: "none" } : files);
    return true;
  } catch (thrown) {
    tell(describeError(thrown), "err");
    return false;
  }
}

/** The file's name, if it can be read; one that cannot is told of, and "" is what one goes on with. */
export function readableFile(path: string | undefined, tell: TellTls): string {
  if (path === undefined) return "";
  try {
    accessSync(path, constants.R_OK);
    return path;
  } catch (thrown) {
    tell(`failed to open ${path} for reading: ${systemReason(thrown)}`, "err");
    return "";
  }
}

/** What OpenSSL has to say, without the place in its source. */
export function tlsReason(thrown: Error): string {
  return (thrown as Error & { readonly reason?: string }).reason ?? thrown.message;
}
