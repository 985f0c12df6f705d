// Tokens of service accounts: JSON web tokens that this server signs (ES256) and that end when their time is over or the
// account is gone. Source: RFC 7519, RFC 7515, RFC 7518 3.4; Kubernetes, TokenRequest v1 authentication.k8s.io.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { readFile } from "node:fs/promises";
import { isObject } from "../../../base/json/index.js";
import { FieldErrors, serviceAccountKind } from "../../resources/index.js";
import { invalid } from "../errors.js";
import type { ResourceRegistry } from "../registry.js";
import { formatTime } from "../resource-client.js";
import { writeFileSafely } from "../write-file.js";
import { serviceAccountGroups, serviceAccountUsername, type User, userOf } from "./user.js";

const AUDIENCE = "plinth";
const ISSUER = "plinth";
const EXPIRATION_SECONDS = 3600;
const EXPIRATION_SECONDS_MIN = 600;
const EXPIRATION_SECONDS_MAX = 365 * 86_400;
const HEADER = encode({ alg: "ES256", typ: "JWT" });
const TOKEN_LENGTH_MAX = 4096;

export function makeTokenKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

/** The key in the file (0600), made on first use. */
export async function loadTokenKey(path: string): Promise<KeyObject> {
  try {
    return createPrivateKey(await readFile(path, "utf8"));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
  }
  const key = makeTokenKey();
  await writeFileSafely(path, key.export({ type: "pkcs8", format: "pem" }) as string, 0o600);
  return key;
}

export class ServiceAccountTokens {
  readonly #key: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #registry: ResourceRegistry;
  readonly #wallMs: () => number;

  constructor(
    key: KeyObject,
    modules: { readonly registry: ResourceRegistry; readonly wallMs: () => number },
  ) {
    this.#key = key;
    this.#publicKey = createPublicKey(key);
    this.#registry = modules.registry;
    this.#wallMs = modules.wallMs;
  }

  /** Answers a TokenRequest. Throws ApiError NotFound or Invalid. */
  async issue(place: { readonly namespace: string; readonly name: string }, body: unknown): Promise<object> {
    const account = await this.#registry.get(serviceAccountKind, place);
    const spec = isObject(body) && isObject(body["spec"]) ? body["spec"] : {};
    const { expirationSeconds = EXPIRATION_SECONDS, audiences = [AUDIENCE] } = spec;
    const errors = new FieldErrors();
    const isFit =
      Number.isInteger(expirationSeconds) &&
      (expirationSeconds as number) >= EXPIRATION_SECONDS_MIN &&
      (expirationSeconds as number) <= EXPIRATION_SECONDS_MAX;
    if (!isFit) {
      const expected = `must be between ${EXPIRATION_SECONDS_MIN} and ${EXPIRATION_SECONDS_MAX} seconds`;
      errors.invalid("spec.expirationSeconds", expirationSeconds, expected);
    }
    const isOurs = Array.isArray(audiences) && audiences.every((each) => each === AUDIENCE);
    if (!isOurs) errors.invalid("spec.audiences", audiences, `tokens are for ${AUDIENCE} only`);
    if (errors.list.length > 0) {
      const request = { group: "authentication.k8s.io", kind: "TokenRequest", plural: "tokenrequests" };
      throw invalid(request, place.name, errors.list);
    }
    const nowMs = this.#wallMs();
    const expiresMs = nowMs + (expirationSeconds as number) * 1000;
    const { name, uid, namespace = "" } = account.metadata;
    const claims = {
      iss: ISSUER,
      aud: [AUDIENCE],
      sub: serviceAccountUsername(namespace, name),
      iat: Math.floor(nowMs / 1000),
      exp: Math.floor(expiresMs / 1000),
      "kubernetes.io": { namespace, serviceaccount: { name, uid } },
    };
    return {
      kind: "TokenRequest",
      apiVersion: "authentication.k8s.io/v1",
      metadata: { name, namespace, creationTimestamp: formatTime(nowMs) },
      spec: { audiences: [AUDIENCE], expirationSeconds },
      status: { token: this.#sign(claims), expirationTimestamp: formatTime(expiresMs) },
    };
  }

  /** Who bears the token; undefined when it is none of ours, over, or of an account that is gone. */
  async userOf(token: string): Promise<User | undefined> {
    const claims = this.#verified(token);
    const bound = claims?.["kubernetes.io"];
    if (claims === undefined || !isObject(bound) || !isObject(bound["serviceaccount"])) return undefined;
    const { exp } = claims;
    if (typeof exp !== "number" || exp * 1000 <= this.#wallMs()) return undefined;
    const { namespace } = bound;
    const { name, uid } = bound["serviceaccount"];
    if (typeof namespace !== "string" || typeof name !== "string" || typeof uid !== "string")
      return undefined;
    const account = await this.#registry.find(serviceAccountKind, { namespace, name });
    if (account?.metadata.uid !== uid) return undefined;
    return userOf(serviceAccountUsername(namespace, name), serviceAccountGroups(namespace), uid);
  }

  #sign(claims: object): string {
    const text = `${HEADER}.${encode(claims)}`;
    const signature = sign("sha256", Buffer.from(text), { key: this.#key, dsaEncoding: "ieee-p1363" });
    return `${text}.${signature.toString("base64url")}`;
  }

  /** The claims, when the signature is ours. Only one algorithm is ever accepted. */
  #verified(token: string): Record<string, unknown> | undefined {
    const parts = token.split(".");
    const [header, payload, signature] = parts;
    if (token.length > TOKEN_LENGTH_MAX || parts.length !== 3 || header !== HEADER) return undefined;
    const key = { key: this.#publicKey, dsaEncoding: "ieee-p1363" } as const;
    const bytes = Buffer.from(signature as string, "base64url");
    if (!verify("sha256", Buffer.from(`${header}.${payload}`), key, bytes)) return undefined;
    const claims: unknown = JSON.parse(Buffer.from(payload as string, "base64url").toString());
    return isObject(claims) ? claims : undefined;
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
