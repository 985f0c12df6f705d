// The API server's certificates: an authority of its own and a server certificate that it signs.
// Invariant: key.pem is 0600; the server certificate is made anew before it expires or when the key is missing; the
// authority stays as long as it is valid, so that kubeconfigs go on working. Its key is kept with it.

import "./reflect-metadata.js";
import { webcrypto } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { PlinthError } from "../../base/errors/index.js";
import { writeFileSafely } from "./write-file.js";

export interface TlsFiles {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const DAY_MS = 24 * 60 * 60_000;
const AUTHORITY_VALID_MS = 10 * 365 * DAY_MS;
const SERVER_VALID_MS = 397 * DAY_MS;
/** A certificate with less time left than this is made anew. */
export const RENEW_BEFORE_MS = 30 * DAY_MS;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

interface Issuer {
  readonly certificate: x509.X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

/** Reads DIR/tls, making or renewing what is needed. PEM texts. Throws TLS_UNREADABLE. */
export async function loadTls(directory: string, nowMs: number): Promise<TlsFiles> {
  x509.cryptoProvider.set(webcrypto as never);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const paths = {
      ca: join(directory, "ca.pem"),
      caKey: join(directory, "ca-key.pem"),
      cert: join(directory, "cert.pem"),
      key: join(directory, "key.pem"),
    };
    if (await isFresh(Object.values(paths), [paths.ca, paths.cert], nowMs)) return await readAll(paths);
    const issuer = await loadOrMakeAuthority(paths.ca, paths.caKey, nowMs);
    await makeServerCertificate(issuer, paths.cert, paths.key, nowMs);
    return await readAll(paths);
  } catch (cause) {
    throw new PlinthError(
      "TLS_UNREADABLE",
      `cannot use the certificates in ${directory}: ${(cause as Error).message}`,
      {
        cause,
        remedy: `remove ${directory} to have them made anew (clients then need the new kubeconfig)`,
      },
    );
  }
}

async function readAll(paths: { ca: string; cert: string; key: string }): Promise<TlsFiles> {
  const [ca, cert, key] = await Promise.all(
    [paths.ca, paths.cert, paths.key].map((path) => readFile(path, "utf8")),
  );
  return { ca: ca as string, cert: cert as string, key: key as string };
}

async function isFresh(
  files: readonly string[],
  certificates: readonly string[],
  nowMs: number,
): Promise<boolean> {
  if (!files.every((path) => existsSync(path))) return false;
  for (const path of certificates) {
    const { notAfter } = new x509.X509Certificate(await readFile(path, "utf8"));
    if (notAfter.getTime() - nowMs < RENEW_BEFORE_MS) return false;
  }
  return true;
}

async function loadOrMakeAuthority(path: string, keyPath: string, nowMs: number): Promise<Issuer> {
  if (existsSync(path) && existsSync(keyPath)) {
    const certificate = new x509.X509Certificate(await readFile(path, "utf8"));
    if (certificate.notAfter.getTime() - nowMs >= RENEW_BEFORE_MS) {
      const der = x509.PemConverter.decodeFirst(await readFile(keyPath, "utf8"));
      const key = await webcrypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
      return { certificate, key };
    }
  }
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: "CN=Plinth authority",
    notBefore: new Date(nowMs - DAY_MS),
    notAfter: new Date(nowMs + AUTHORITY_VALID_MS),
    signingAlgorithm: ALGORITHM,
    keys: keys as never,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey as never),
    ],
  });
  await writeKey(keyPath, keys.privateKey);
  await writeFileSafely(path, `${certificate.toString("pem")}\n`, 0o644);
  return { certificate, key: keys.privateKey };
}

async function makeServerCertificate(
  issuer: Issuer,
  path: string,
  keyPath: string,
  nowMs: number,
): Promise<void> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: "CN=Plinth API server",
    issuer: issuer.certificate.subject,
    notBefore: new Date(nowMs - DAY_MS),
    notAfter: new Date(Math.min(nowMs + SERVER_VALID_MS, issuer.certificate.notAfter.getTime())),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey as never,
    signingKey: issuer.key as never,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: "localhost" },
        { type: "ip", value: "127.0.0.1" },
        { type: "ip", value: "::1" },
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.certificate as never),
    ],
  });
  await writeKey(keyPath, keys.privateKey);
  await writeFileSafely(path, `${certificate.toString("pem")}\n`, 0o644);
}

export interface UserCertificate {
  readonly cert: string;
  readonly key: string;
}

/**
 * A client certificate of the authority in `directory` for a user (CN) in groups (O). PEM texts. It cannot be called
 * back: who holds it is let in until it ends. Throws TLS_UNREADABLE.
 */
export async function issueUserCertificate(
  directory: string,
  user: { readonly name: string; readonly groups: readonly string[]; readonly validMs: number },
  nowMs: number,
): Promise<UserCertificate> {
  await loadTls(directory, nowMs);
  const issuer = await loadOrMakeAuthority(join(directory, "ca.pem"), join(directory, "ca-key.pem"), nowMs);
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const subject = new x509.Name([
    ...user.groups.map((group) => ({ O: [{ utf8String: group }] })),
    { CN: [{ utf8String: user.name }] },
  ] as never);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: subject.toJSON(),
    issuer: issuer.certificate.subject,
    notBefore: new Date(nowMs - 5 * 60_000),
    notAfter: new Date(Math.min(nowMs + user.validMs, issuer.certificate.notAfter.getTime())),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey as never,
    signingKey: issuer.key as never,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.certificate as never),
    ],
  });
  const der = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    cert: `${certificate.toString("pem")}\n`,
    key: `${x509.PemConverter.encode(der, "PRIVATE KEY")}\n`,
  };
}

function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}

async function writeKey(path: string, key: webcrypto.CryptoKey): Promise<void> {
  const der = await webcrypto.subtle.exportKey("pkcs8", key);
  await writeFileSafely(path, `${x509.PemConverter.encode(der, "PRIVATE KEY")}\n`, 0o600);
}
