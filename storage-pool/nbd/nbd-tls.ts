// What a server shows NBD clients inside TLS, and asks of them: certificates, or keys that both sides know.
// Files as the other NBD servers and clients have them: ca-cert.pem, server-cert.pem, server-key.pem in one directory;
// lines NAME:HEXKEY for keys. Source: NBD protocol, "TLS support" (1.2 at least). Thread: main.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, type TlsOptions } from "node:tls";
import { describeError, PlinthError } from "../../base/errors/index.js";

export interface NbdTls {
  /** Nothing is said in the clear but that TLS is needed. */
  readonly required: boolean;
  /** Directory of the certificates. */
  readonly certificates?: string | undefined;
  /** Clients must show a certificate of the CA. */
  readonly verifyPeer: boolean;
  /** File of keys by user. */
  readonly keys?: string | undefined;
}

/** Keys alone are of use with suites that say so; the names are OpenSSL's. */
const CIPHERS_WITH_KEYS = "DHE-PSK-AES256-GCM-SHA384:ECDHE-PSK-AES256-CBC-SHA384:PSK-AES256-GCM-SHA384";

/** For tls.createServer. Throws NBD_TLS_UNUSABLE, naming the file. */
export function readNbdTls({ certificates, verifyPeer, keys }: NbdTls): TlsOptions {
  if (certificates === undefined && keys === undefined) {
    throw unusable("TLS needs certificates or keys", "--tls-certificates DIR or --tls-psk FILE");
  }
  if (verifyPeer && certificates === undefined) {
    throw unusable("clients can only be verified by certificates", "--tls-certificates DIR");
  }
  const base: TlsOptions = { minVersion: "TLSv1.2", requestCert: verifyPeer, rejectUnauthorized: verifyPeer };
  const shown = certificates === undefined ? {} : readCertificates(certificates, verifyPeer);
  if (keys === undefined) return { ...base, ...shown };
  const known = readKeys(keys);
  const defaults = certificates === undefined ? "" : "DEFAULT:";
  return {
    ...base,
    ...shown,
    ciphers: `TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:${defaults}${CIPHERS_WITH_KEYS}`,
    pskCallback: (_socket, name) => known.get(name) ?? null,
  };
}

function readCertificates(directory: string, verifyPeer: boolean): TlsOptions {
  const options = {
    cert: readFile(join(directory, "server-cert.pem")),
    key: readFile(join(directory, "server-key.pem")),
    ...(verifyPeer ? { ca: readFile(join(directory, "ca-cert.pem")) } : {}),
  };
  try {
    createSecureContext(options);
  } catch (cause) {
    throw unusable(
      `the certificate and key in ${directory} cannot be used: ${describeError(cause)}`,
      "",
      cause,
    );
  }
  return options;
}

function readKeys(path: string): ReadonlyMap<string, Buffer> {
  const known = new Map<string, Buffer>();
  for (const [i, line] of readFile(path).toString("utf8").split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, name, key] = /^([^:]+):((?:[0-9a-fA-F]{2})+)\s*$/.exec(line) ?? [];
    if (name === undefined || key === undefined) {
      throw unusable(`line ${i + 1} of ${path} is not NAME:HEXKEY`, "psktool -u NAME -p FILE makes one");
    }
    known.set(name, Buffer.from(key, "hex"));
  }
  if (known.size === 0) throw unusable(`${path} holds no key`, "psktool -u NAME -p FILE makes one");
  return known;
}

function readFile(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw unusable(`cannot read ${path}: ${describeError(cause)}`, "", cause);
  }
}

function unusable(message: string, remedy: string, cause?: unknown): PlinthError {
  return new PlinthError("NBD_TLS_UNUSABLE", message, { ...(remedy === "" ? {} : { remedy }), cause });
}
