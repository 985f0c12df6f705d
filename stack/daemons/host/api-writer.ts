// Writes of the host agent to the API: statuses that say only what changed, finalizers, events. Thread: main.
import { isDeepStrictEqual } from "node:util";
import { isApiError, type ResourceClient, updateStatus, withCondition } from "../../api/index.js";
import type { ApiObject, Condition, KindName, ResourceTypes } from "../../resources/index.js";

/** On everything that has something of its own on this host; it goes when that is gone. */
export const HOST_FINALIZER = "plinth.dev/host";

export type Verdict = Omit<Condition, "lastTransitionTime">;

/** Puts the fields and verdicts into the status; nothing is written when nothing would change. */
export async function writeStatus<K extends KindName>(
  client: ResourceClient,
  kind: K,
  object: ResourceTypes[K],
  fields: Readonly<Record<string, unknown>>,
  verdicts: readonly Verdict[] = [],
): Promise<void> {
  if (statusChange(object, fields, verdicts) === undefined) return;
  await updateStatus(client, kind, object.metadata, (current) =>
    current.metadata.uid === object.metadata.uid ? statusChange(current, fields, verdicts) : undefined,
  );
}

/** The part of `fields` and `verdicts` that `object` does not show yet; undefined when it shows all. */
export function statusChange(
  object: object,
  fields: Readonly<Record<string, unknown>>,
  verdicts: readonly Verdict[],
): Record<string, unknown> | undefined {
  const status = ((object as { status?: unknown }).status ?? {}) as Record<string, unknown>;
  const change: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (!isDeepStrictEqual(status[name], value)) change[name] = value ?? null;
  }
  const before = status["conditions"] as readonly Condition[] | undefined;
  let conditions = before;
  for (const verdict of verdicts) conditions = withCondition(conditions, verdict);
  if (conditions !== before) change["conditions"] = conditions;
  return Object.keys(change).length === 0 ? undefined : change;
}

/** True when the finalizer is on the object now. False when the object changed or went: look again at the newer one. */
export async function addFinalizer(
  client: ResourceClient,
  kind: KindName,
  object: Pick<ApiObject, "metadata">,
): Promise<boolean> {
  const { finalizers = [], resourceVersion } = object.metadata;
  if (finalizers.includes(HOST_FINALIZER)) return true;
  return await patchFinalizers(client, kind, object, resourceVersion, [...finalizers, HOST_FINALIZER]);
}

/** Lets a deleted object go. False when the object changed or went: look again at the newer one. */
export async function removeFinalizer(
  client: ResourceClient,
  kind: KindName,
  object: Pick<ApiObject, "metadata">,
): Promise<boolean> {
  const { finalizers = [], resourceVersion } = object.metadata;
  if (!finalizers.includes(HOST_FINALIZER)) return true;
  const rest = finalizers.filter((each) => each !== HOST_FINALIZER);
  return await patchFinalizers(client, kind, object, resourceVersion, rest);
}

async function patchFinalizers(
  client: ResourceClient,
  kind: KindName,
  object: Pick<ApiObject, "metadata">,
  resourceVersion: string | undefined,
  finalizers: readonly string[],
): Promise<boolean> {
  try {
    await client.patch(kind, object.metadata, { metadata: { resourceVersion, finalizers } });
    return true;
  } catch (thrown) {
    // The informer brings the newer object in a moment.
    if (isApiError(thrown, "Conflict") || isApiError(thrown, "NotFound")) return false;
    throw thrown;
  }
}
