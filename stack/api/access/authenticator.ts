// Who sends a request: the bearer of a token (DIR/token, or a service account's), or the holder of a client certificate
// that Plinth's authority signed (CN is the user, each O a group); then whom it acts for, if it may.
// Source: Kubernetes documentation, "Authenticating", X509 client certificates and User impersonation.
import { X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { tokenChecker } from "../credentials.js";
import { ApiError } from "../errors.js";
import type { Authorizer } from "./authorizer.js";
import type { ServiceAccountTokens } from "./service-account-tokens.js";
import { ADMIN, parseServiceAccount, serviceAccountGroups, type User, userOf } from "./user.js";

export interface AuthenticatorOptions {
  /** The bearer may do everything. */
  readonly token: string;
  /** PEM of the authority that signs client certificates. */
  readonly ca: string;
}

export interface AuthenticatorModules {
  readonly authorizer: Authorizer;
  readonly tokens: ServiceAccountTokens;
  readonly wallMs: () => number;
}

export class Authenticator {
  readonly #isAdmin: (authorization: string | undefined) => boolean;
  readonly #modules: AuthenticatorModules;
  #authority: X509Certificate;
  readonly #certificates = new WeakMap<object, X509Certificate | undefined>();

  constructor(options: AuthenticatorOptions, modules: AuthenticatorModules) {
    this.#isAdmin = tokenChecker(options.token);
    this.#authority = new X509Certificate(options.ca);
    this.#modules = modules;
  }

  renewAuthority(ca: string): void {
    this.#authority = new X509Certificate(ca);
  }

  /** Who sends the request. Throws ApiError Unauthorized. */
  async senderOf(request: IncomingMessage): Promise<User> {
    const user = await this.#bearer(request);
    if (user === undefined) throw new ApiError("Unauthorized", "Unauthorized");
    return user;
  }

  async #bearer(request: IncomingMessage): Promise<User | undefined> {
    const { authorization } = request.headers;
    if (authorization === undefined) return this.#certified(request.socket as TLSSocket);
    if (this.#isAdmin(authorization)) return ADMIN;
    const match = /^Bearer ([A-Za-z0-9._-]{1,4096})$/i.exec(authorization);
    return match === null ? undefined : this.#modules.tokens.userOf(match[1] as string);
  }

  #certified(socket: TLSSocket): User | undefined {
    if (socket.authorized !== true) return undefined;
    if (!this.#certificates.has(socket)) this.#certificates.set(socket, socket.getPeerX509Certificate());
    const certificate = this.#certificates.get(socket);
    if (certificate === undefined || !certificate.verify(this.#authority.publicKey)) return undefined;
    const nowMs = this.#modules.wallMs();
    if (nowMs < Date.parse(certificate.validFrom) || nowMs > Date.parse(certificate.validTo))
      return undefined;
    const { CN, O } = certificate.toLegacyObject().subject as { CN?: unknown; O?: unknown };
    if (typeof CN !== "string" || CN === "") return undefined;
    return userOf(
      CN,
      [O ?? []].flat().filter((group): group is string => typeof group === "string"),
    );
  }

  /** Whom the sender acts as. Throws ApiError Forbidden when it may not, BadRequest for what cannot be acted as. */
  async actingAs(user: User, { headersDistinct }: IncomingMessage): Promise<User> {
    const [wanted] = headersDistinct["impersonate-user"] ?? [];
    const groups = headersDistinct["impersonate-group"] ?? [];
    const others = Object.keys(headersDistinct).filter(
      (name) => name.startsWith("impersonate-extra-") || name === "impersonate-uid",
    );
    if (others.length > 0)
      throw new ApiError("BadRequest", `${others[0]}: only users and groups can be impersonated`);
    if (wanted === undefined || wanted === "") {
      if (groups.length === 0) return user;
      throw new ApiError("BadRequest", "requested impersonation of groups without impersonating a user");
    }
    const account = parseServiceAccount(wanted);
    const may = (resource: string, name: string, namespace = ""): Promise<void> =>
      this.#modules.authorizer.require(user, {
        verb: "impersonate",
        group: "",
        resource,
        subresource: "",
        namespace,
        name,
      });
    if (account === undefined) await may("users", wanted);
    else await may("serviceaccounts", account.name, account.namespace);
    for (const group of groups) await may("groups", group);
    if (groups.length > 0 || account === undefined) return userOf(wanted, groups);
    return userOf(wanted, serviceAccountGroups(account.namespace));
  }
}
