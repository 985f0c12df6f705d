// Dials a TLS peer, and where the CA certificate is to be bootstrapped takes it from the first peer.
// Source: ovs-vsctl(8), "--bootstrap set-ssl": trust on first use; the peer must send its CA certificate in its chain.
import { existsSync, writeFileSync } from "node:fs";
import { connect, type DetailedPeerCertificate, type TLSSocket } from "node:tls";
import { PlinthError } from "../errors/index.js";
import { readTlsFiles, type TlsFiles } from "./tls-files.js";

const CHAIN_LENGTH_MAX = 16;

export interface TlsTarget {
  readonly host: string;
  readonly port: number;
}

/**
 * A socket that is on its way to `target`; "secureConnect" tells that the peer was verified, "error" that it was not.
 * Throws TLS_NOT_CONFIGURED or TLS_FILE_UNREADABLE.
 */
export function connectTls({ host, port }: TlsTarget, files: TlsFiles | undefined): TLSSocket {
  const options = readTlsFiles(files);
  return connect({ ...options, host, port, checkServerIdentity: () => undefined });
}

/** True when `connectTls` would fail only because the CA certificate was not bootstrapped yet. */
export function mustBootstrap(files: TlsFiles | undefined): files is TlsFiles {
  return files?.bootstrapCaCert === true && files.caCert !== "none" && !existsSync(files.caCert);
}

/** Writes the CA certificate that `target` sends to `files.caCert`. Rejects with TLS_BOOTSTRAP_FAILED. */
export function bootstrapCaCert(target: TlsTarget, files: TlsFiles, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      socket.destroy();
      const name = `${target.host}:${target.port}`;
      reject(new PlinthError("TLS_BOOTSTRAP_FAILED", `cannot get a CA certificate from ${name}: ${why}`));
    };
    const options = { ...readTlsFiles({ ...files, caCert: "none" }), rejectUnauthorized: false };
    const socket = connect({ ...options, host: target.host, port: target.port });
    socket.setTimeout(timeoutMs, () => fail("no answer"));
    socket.once("error", (error) => fail(error.message));
    socket.once("secureConnect", () => {
      const top = selfSigned(socket.getPeerCertificate(true));
      if (top === undefined) return fail("it does not send one");
      try {
        writeFileSync(files.caCert, toPem(top.raw), { flag: "wx", mode: 0o644 });
      } catch (thrown) {
        return fail((thrown as Error).message);
      }
      socket.destroy();
      resolve();
    });
  });
}

/** The self-signed certificate at the end of a chain. */
function selfSigned(certificate: DetailedPeerCertificate): DetailedPeerCertificate | undefined {
  let at: DetailedPeerCertificate | undefined = certificate;
  for (let i = 0; i < CHAIN_LENGTH_MAX && at?.raw !== undefined; i++) {
    if (at.issuerCertificate === undefined) return undefined;
    if (at.issuerCertificate.fingerprint256 === at.fingerprint256) return at;
    at = at.issuerCertificate;
  }
  return undefined;
}

function toPem(raw: Buffer): string {
  const lines = raw.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
