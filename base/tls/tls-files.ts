// TLS as Open vSwitch configures it: a private key, a certificate and the certificates that a peer must be signed by.
// Source: ovs-vswitchd.conf.db(5), SSL table; ovs-pki(8) for the layout of the files. Peers are known by their CA,
// never by a host name.
//
// code                 meaning                                    remedy
// TLS_NOT_CONFIGURED   there is no key, certificate or CA         ovs-vsctl set-ssl KEY CERTIFICATE CA-CERTIFICATE
// TLS_FILE_UNREADABLE  one of the files cannot be used            as the message says
// TLS_BOOTSTRAP_FAILED the peer sent no CA certificate             copy it by hand
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { describeError, PlinthError } from "../errors/index.js";

export interface TlsFiles {
  readonly privateKey: string;
  readonly certificate: string;
  /** "none" to accept any peer. */
  readonly caCert: string;
  /** Where `caCert` does not exist yet, take it from the first peer that we dial. */
  readonly bootstrapCaCert: boolean;
  /** Certificates that the peer is shown behind ours; "" or nothing: none. */
  readonly peerCaCert?: string;
}

export interface TlsOptions extends SecureContextOptions {
  readonly minVersion: "TLSv1.2";
  readonly requestCert: boolean;
  readonly rejectUnauthorized: boolean;
}

/** What a peer is shown and asked for. Throws TLS_NOT_CONFIGURED or TLS_FILE_UNREADABLE. */
export function readTlsFiles(files: TlsFiles | undefined): TlsOptions {
  if (files === undefined) throw notConfigured();
  const verify = files.caCert !== "none";
  const options: TlsOptions = {
    key: readFile(files.privateKey, "private key"),
    cert: chain(files),
    ...(verify ? { ca: readAuthority(files.caCert) } : {}),
    minVersion: "TLSv1.2",
    requestCert: verify,
    rejectUnauthorized: verify,
  };
  try {
    createSecureContext(options);
  } catch (cause) {
    const why = `${files.privateKey} and ${files.certificate} cannot be used: ${describeError(cause)}`;
    throw new PlinthError("TLS_FILE_UNREADABLE", why, { cause });
  }
  return options;
}

/** Our certificate, and what a peer may need besides to find out who signed it. */
function chain({ certificate, peerCaCert = "" }: TlsFiles): Buffer {
  const own = readFile(certificate, "certificate");
  if (peerCaCert === "") return own;
  return Buffer.concat([own, Buffer.from("\n"), readFile(peerCaCert, "peer's CA certificate")]);
}

/** A context takes what is no certificate in silence, and then trusts nobody. */
function readAuthority(path: string): Buffer {
  const bytes = readFile(path, "CA certificate");
  try {
    new X509Certificate(bytes);
  } catch (cause) {
    throw new PlinthError("TLS_FILE_UNREADABLE", `${path} holds no CA certificate: ${describeError(cause)}`, {
      cause,
    });
  }
  return bytes;
}

function readFile(path: string, what: string): Buffer {
  if (path === "") throw notConfigured();
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new PlinthError("TLS_FILE_UNREADABLE", `cannot read the ${what} ${path}: ${describeError(cause)}`, {
      cause,
    });
  }
}

function notConfigured(): PlinthError {
  return new PlinthError(
    "TLS_NOT_CONFIGURED",
    "TLS needs a private key, a certificate and a CA certificate",
    {
      remedy: "ovs-vsctl set-ssl KEY CERTIFICATE CA-CERTIFICATE",
    },
  );
}
