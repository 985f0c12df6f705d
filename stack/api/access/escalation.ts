// Nobody gives others, or themselves, more than they have: a role may hold what its writer holds, unless the writer has
// the verb escalate on roles; a binding may give what its writer holds, unless the writer has the verb bind on the role.
// Source: Kubernetes documentation, "Using RBAC Authorization", Privilege escalation prevention and bootstrapping.
import { isDeepStrictEqual } from "node:util";
import {
  type ApiObject,
  type PolicyRule,
  RBAC_GROUP,
  type ResourceKind,
  type RoleBinding,
} from "../../resources/index.js";
import { ApiError, notFound } from "../errors.js";
import { type Authorizer, isRbacKind } from "./authorizer.js";
import { ruleText, uncovered } from "./rules.js";
import type { User } from "./user.js";

/** Throws ApiError Forbidden. `before` is undefined for a creation. */
export async function refuseEscalation(
  authorizer: Authorizer,
  user: User,
  kind: ResourceKind,
  next: ApiObject,
  before: ApiObject | undefined,
): Promise<void> {
  if (!isRbacKind(kind)) return;
  const { namespace = "", name } = next.metadata;
  const verb = kind.kind.endsWith("Binding") ? "bind" : "escalate";
  if (verb === "escalate") {
    if (isDeepStrictEqual(before?.["rules"], next["rules"])) return;
    if (await may(authorizer, user, { verb, resource: kind.plural, namespace, name })) return;
    return refuseBeyond(authorizer, user, kind, next, next["rules"] as PolicyRule[]);
  }
  if (before !== undefined && isDeepStrictEqual(before["subjects"], next["subjects"])) return;
  const { roleRef } = next as unknown as RoleBinding;
  const resource = roleRef.kind === "Role" ? "roles" : "clusterroles";
  if (await may(authorizer, user, { verb, resource, namespace, name: roleRef.name })) return;
  const rules = await authorizer.rulesOfRole(roleRef, namespace);
  if (rules === undefined)
    throw notFound({ group: RBAC_GROUP, kind: roleRef.kind, plural: resource }, roleRef.name);
  return refuseBeyond(authorizer, user, kind, next, rules);
}

async function may(
  authorizer: Authorizer,
  user: User,
  wanted: { verb: string; resource: string; namespace: string; name: string },
): Promise<boolean> {
  return (await authorizer.decide(user, { ...wanted, group: RBAC_GROUP, subresource: "" })).allowed;
}

async function refuseBeyond(
  authorizer: Authorizer,
  user: User,
  kind: ResourceKind,
  object: ApiObject,
  wanted: readonly PolicyRule[],
): Promise<void> {
  const { namespace = "", name } = object.metadata;
  const beyond = uncovered(await authorizer.rulesOf(user, namespace), wanted);
  if (beyond.length === 0) return;
  const groups = user.groups.map((group) => JSON.stringify(group)).join(" ");
  throw new ApiError(
    "Forbidden",
    `${kind.plural}.${kind.group} "${name}" is forbidden: user ${JSON.stringify(user.username)} (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:\n${beyond.map(ruleText).join("\n")}`,
    { name, group: kind.group, kind: kind.plural },
  );
}
