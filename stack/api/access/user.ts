// Who a request comes from. Source: Kubernetes documentation, "Authenticating".

export interface User {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
}

/** Whoever is in it may do everything. */
export const MASTERS = "system:masters";
const AUTHENTICATED = "system:authenticated";
const SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:";

/** The bearer of DIR/token. */
export const ADMIN: User = { username: "plinth", groups: [MASTERS, AUTHENTICATED] };

export function userOf(username: string, groups: readonly string[], uid?: string): User {
  const all = [...new Set([...groups, AUTHENTICATED])];
  return { username, groups: all, ...(uid === undefined ? {} : { uid }) };
}

export const serviceAccountUsername = (namespace: string, name: string): string =>
  `${SERVICE_ACCOUNT_PREFIX}${namespace}:${name}`;

export function serviceAccountGroups(namespace: string): string[] {
  return ["system:serviceaccounts", `system:serviceaccounts:${namespace}`];
}

/** Namespace and name in the username of a service account; undefined for other users. */
export function parseServiceAccount(username: string): { namespace: string; name: string } | undefined {
  if (!username.startsWith(SERVICE_ACCOUNT_PREFIX)) return undefined;
  const [namespace, name, ...more] = username.slice(SERVICE_ACCOUNT_PREFIX.length).split(":");
  return namespace && name && more.length === 0 ? { namespace, name } : undefined;
}
