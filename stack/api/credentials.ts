// How a client proves who it is: the administrator's bearer token, kept in DIR/token and written into DIR/kubeconfig (both
// 0600), or a client certificate.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { parse, stringify } from "yaml";
import { PlinthError } from "../../base/errors/index.js";
import { writeFileSafely } from "./write-file.js";

const TOKEN_SIZE_BYTES = 32;

/** The token in the file, made on first use. */
export async function loadToken(path: string): Promise<string> {
  try {
    const token = (await readFile(path, "utf8")).trim();
    if (/^[A-Za-z0-9_-]{32,}$/.test(token)) return token;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") {
      throw new PlinthError("TOKEN_UNREADABLE", `cannot read ${path}: ${(thrown as Error).message}`, {
        cause: thrown,
      });
    }
  }
  const token = randomBytes(TOKEN_SIZE_BYTES).toString("base64url");
  await writeFileSafely(path, `${token}\n`, 0o600);
  return token;
}

/** Takes the same time whatever is given; hashes make lengths equal. */
export function tokenChecker(token: string): (authorization: string | undefined) => boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const expected = digest(token);
  return (authorization) => {
    const match = /^Bearer ([A-Za-z0-9._~+/=-]{1,4096})$/i.exec(authorization ?? "");
    return timingSafeEqual(digest(match?.[1] ?? ""), expected) && match !== null;
  };
}

export interface ServerAccess {
  /** "https://127.0.0.1:6443" */
  readonly server: string;
  /** PEM of the authority that signed the server's certificate. */
  readonly ca: string;
  readonly token?: string;
  /** PEM of a client certificate and its key, in place of a token. */
  readonly certificate?: { readonly cert: string; readonly key: string };
}

export async function writeKubeconfig(path: string, access: ServerAccess): Promise<void> {
  await writeFileSafely(path, formatKubeconfig(access, "plinth", "default"), 0o600);
}

/** YAML of a kubeconfig with one user and one context. */
export function formatKubeconfig(access: ServerAccess, user: string, namespace: string): string {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const { token, certificate } = access;
  const credentials =
    certificate === undefined
      ? { token }
      : {
          "client-certificate-data": base64(certificate.cert),
          "client-key-data": base64(certificate.key),
        };
  const document = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "plinth",
    clusters: [
      {
        name: "plinth",
        cluster: {
          server: access.server,
          "certificate-authority-data": base64(access.ca),
        },
      },
    ],
    users: [{ name: user, user: credentials }],
    contexts: [{ name: "plinth", context: { cluster: "plinth", user, namespace } }],
  };
  return stringify(document, { lineWidth: 0 });
}

/** Throws PlinthError KUBECONFIG_UNREADABLE. */
export async function readKubeconfig(path: string): Promise<ServerAccess & { readonly namespace: string }> {
  const unreadable = (why: string, cause?: unknown): PlinthError =>
    new PlinthError("KUBECONFIG_UNREADABLE", `cannot use ${path}: ${why}`, {
      cause,
      remedy: "start the controller (plinth up) or name another with --kubeconfig",
    });
  let document: Record<string, unknown>;
  try {
    document = parse(await readFile(path, "utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw unreadable((cause as Error).message, cause);
  }
  const named = (list: unknown, name: unknown): Record<string, unknown> | undefined =>
    Array.isArray(list) ? list.find((each) => each?.name === name) : undefined;
  const context = named(document?.["contexts"], document?.["current-context"])?.["context"] as
    | { cluster?: string; user?: string; namespace?: string }
    | undefined;
  const cluster = named(document?.["clusters"], context?.cluster)?.["cluster"] as
    | Record<string, unknown>
    | undefined;
  const user = named(document?.["users"], context?.user)?.["user"] as Record<string, unknown> | undefined;
  const server = cluster?.["server"];
  const authority = cluster?.["certificate-authority-data"];
  const token = user?.["token"];
  const [cert, key] = [user?.["client-certificate-data"], user?.["client-key-data"]];
  const hasCertificate = typeof cert === "string" && typeof key === "string";
  const hasToken = typeof token === "string";
  if (typeof server !== "string" || typeof authority !== "string" || !(hasToken || hasCertificate)) {
    throw unreadable(
      "it names no server with certificate-authority-data and a user with a token or a client certificate and its key",
    );
  }
  const decode = (text: string): string => Buffer.from(text, "base64").toString();
  return {
    server,
    ca: decode(authority),
    ...(hasToken ? { token } : {}),
    ...(hasCertificate ? { certificate: { cert: decode(cert), key: decode(key) } } : {}),
    namespace: context?.namespace ?? "default",
  };
}
