// Changing a status that others write too: read, change, write only if nobody else was faster, else again.
import type { Condition, KindName, ResourceTypes } from "../resources/index.js";
import { isApiError } from "./errors.js";
import { type ObjectName, type ResourceClient, withCondition } from "./resource-client.js";

const ATTEMPTS_MAX = 8;

/**
 * Merges what `change` returns into the status (RFC 7386); undefined writes nothing. `change` is called again with the
 * newer object when another writer came between. Resolves with the object as it is then, or undefined when it is gone.
 */
export async function updateStatus<K extends KindName>(
  client: ResourceClient,
  kind: K,
  name: ObjectName,
  change: (current: ResourceTypes[K]) => object | undefined,
): Promise<ResourceTypes[K] | undefined> {
  for (let attempt = 1; ; attempt++) {
    const current = await client.get(kind, name);
    if (current === undefined) return undefined;
    const status = change(current);
    if (status === undefined) return current;
    const { resourceVersion } = current.metadata;
    try {
      return await client.patch(
        kind,
        name,
        { metadata: { resourceVersion }, status },
        { subresource: "status" },
      );
    } catch (thrown) {
      if (isApiError(thrown, "NotFound")) return undefined;
      if (!isApiError(thrown, "Conflict") || attempt >= ATTEMPTS_MAX) throw thrown;
    }
  }
}

type WithConditions = { readonly status?: { readonly conditions?: readonly Condition[] } };

/** Puts verdicts into status.conditions and leaves the conditions of others alone; writes only what changed. */
export function updateConditions<K extends KindName>(
  client: ResourceClient,
  kind: K,
  name: ObjectName,
  verdicts: readonly Omit<Condition, "lastTransitionTime">[],
): Promise<ResourceTypes[K] | undefined> {
  return updateStatus(client, kind, name, (current) => {
    const before = (current as WithConditions).status?.conditions;
    let conditions: readonly Condition[] | undefined = before;
    for (const verdict of verdicts) conditions = withCondition(conditions, verdict);
    return conditions === before ? undefined : { conditions };
  });
}
