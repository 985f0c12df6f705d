// Whether a user may do something: by the roles that bindings give to the user and the user's groups.
// Invariant: what is not allowed is forbidden; a binding or role that goes is felt by the next request. A role that a
// binding names and that is not there allows nothing.
import type { Watch } from "../../../base/store/index.js";
import {
  type ClusterRole,
  type ClusterRoleBinding,
  clusterRoleBindingKind,
  clusterRoleKind,
  type PolicyRule,
  type ResourceKind,
  type Role,
  type RoleBinding,
  roleBindingKind,
  roleKind,
  type Subject,
} from "../../resources/index.js";
import { ApiError } from "../errors.js";
import type { ResourceRegistry } from "../registry.js";
import { type Attributes, isResource, resourceText } from "./attributes.js";
import { allows } from "./rules.js";
import { MASTERS, serviceAccountUsername, type User } from "./user.js";

export interface Decision {
  readonly allowed: boolean;
  readonly reason: string;
}

interface Grant {
  readonly rules: readonly PolicyRule[];
  readonly reason: string;
}

interface Policy {
  readonly roles: ReadonlyMap<string, Role | ClusterRole>;
  readonly clusterBindings: readonly ClusterRoleBinding[];
  readonly bindings: ReadonlyMap<string, readonly RoleBinding[]>;
}

const KINDS = [roleKind, clusterRoleKind, roleBindingKind, clusterRoleBindingKind];
const EVERYTHING: PolicyRule[] = [
  { verbs: ["*"], apiGroups: ["*"], resources: ["*"] },
  { verbs: ["*"], nonResourceURLs: ["*"] },
];

export class Authorizer {
  readonly #registry: ResourceRegistry;
  #policy: Promise<Policy> | undefined;
  #watches: Promise<Watch[]> | undefined;

  constructor(registry: ResourceRegistry) {
    this.#registry = registry;
  }

  async decide(user: User, attributes: Attributes): Promise<Decision> {
    const namespace = isResource(attributes) ? attributes.namespace : "";
    for (const { rules, reason } of await this.#grants(user, namespace)) {
      if (rules.some((rule) => allows(rule, attributes))) return { allowed: true, reason };
    }
    return { allowed: false, reason: "" };
  }

  /** Throws ApiError Forbidden. */
  async require(user: User, attributes: Attributes): Promise<void> {
    if (!(await this.decide(user, attributes)).allowed) throw forbidden(user, attributes);
  }

  /** Everything that the user may do in the namespace ("" = everywhere only). */
  async rulesOf(user: User, namespace: string): Promise<readonly PolicyRule[]> {
    return (await this.#grants(user, namespace)).flatMap(({ rules }) => rules);
  }

  /** The rules of a role; undefined when there is none. */
  async rulesOfRole(
    roleRef: RoleBinding["roleRef"],
    namespace: string,
  ): Promise<readonly PolicyRule[] | undefined> {
    return (await this.#load()).roles.get(roleKey(roleRef, namespace))?.rules;
  }

  async close(): Promise<void> {
    for (const watch of (await this.#watches) ?? []) watch.cancel();
  }

  async #grants(user: User, namespace: string): Promise<Grant[]> {
    if (user.groups.includes(MASTERS)) return [{ rules: EVERYTHING, reason: "member of system:masters" }];
    const { roles, clusterBindings, bindings } = await this.#load();
    const grants: Grant[] = [];
    for (const binding of [...clusterBindings, ...(bindings.get(namespace) ?? [])]) {
      const { subjects, roleRef, metadata } = binding;
      const subject = subjects.find((each) => isSubject(each, user));
      const role = subject === undefined ? undefined : roles.get(roleKey(roleRef, namespace));
      if (subject === undefined || role === undefined) continue;
      const where = metadata.namespace === undefined ? "" : `/${metadata.namespace}`;
      const reason = `RBAC: allowed by ${binding.kind} "${metadata.name}${where}" of ${roleRef.kind} "${roleRef.name}" to ${subject.kind} "${subject.name}"`;
      grants.push({ rules: role.rules, reason });
    }
    return grants;
  }

  /** Kept until one of the kinds changes; what changes while it is read is read again. */
  async #load(): Promise<Policy> {
    this.#watches ??= this.#watch();
    await this.#watches;
    this.#policy ??= this.#read();
    return this.#policy;
  }

  #watch(): Promise<Watch[]> {
    const forget = (): void => {
      this.#policy = undefined;
    };
    const request = { matches: () => true, fromRevision: this.#registry.revision };
    return Promise.all(KINDS.map((kind) => this.#registry.watch(kind, request, forget)));
  }

  async #read(): Promise<Policy> {
    const all = async <T>(kind: ResourceKind): Promise<readonly T[]> =>
      (await this.#registry.list(kind, { matches: () => true })).objects as unknown as T[];
    const roles = new Map<string, Role | ClusterRole>();
    for (const role of await all<Role>(roleKind))
      roles.set(`${role.metadata.namespace}/${role.metadata.name}`, role);
    for (const role of await all<ClusterRole>(clusterRoleKind)) roles.set(`/${role.metadata.name}`, role);
    const bindings = new Map<string, RoleBinding[]>();
    for (const binding of await all<RoleBinding>(roleBindingKind)) {
      const { namespace = "" } = binding.metadata;
      bindings.set(namespace, [...(bindings.get(namespace) ?? []), binding]);
    }
    return { roles, bindings, clusterBindings: await all<ClusterRoleBinding>(clusterRoleBindingKind) };
  }
}

const roleKey = ({ kind, name }: { kind: string; name: string }, namespace: string): string =>
  `${kind === "Role" ? namespace : ""}/${name}`;

function isSubject({ kind, name, namespace = "" }: Subject, user: User): boolean {
  if (kind === "Group") return user.groups.includes(name);
  return user.username === (kind === "User" ? name : serviceAccountUsername(namespace, name));
}

const denials = new WeakSet<ApiError>();

/** Whether rights were missing; much else is forbidden, too, to those who have the right. */
export function isDenial(error: ApiError): boolean {
  return denials.has(error);
}

/** In the words of Kubernetes. */
export function forbidden(user: User, attributes: Attributes): ApiError {
  const error = denial(user, attributes);
  denials.add(error);
  return error;
}

function denial(user: User, attributes: Attributes): ApiError {
  const who = `User ${JSON.stringify(user.username)} cannot ${attributes.verb}`;
  if (!isResource(attributes))
    return new ApiError("Forbidden", `forbidden: ${who} path ${JSON.stringify(attributes.path)}`);
  const { group, resource, namespace, name } = attributes;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace ${JSON.stringify(namespace)}`;
  const why = `${who} resource ${JSON.stringify(resourceText(attributes))} in API group ${JSON.stringify(group)} ${where}`;
  const what = `${group === "" ? resource : `${resource}.${group}`}${name === "" ? "" : ` ${JSON.stringify(name)}`}`;
  return new ApiError("Forbidden", `${what} is forbidden: ${why}`, { name, group, kind: resource });
}

export function isRbacKind(kind: ResourceKind): boolean {
  return KINDS.includes(kind);
}
