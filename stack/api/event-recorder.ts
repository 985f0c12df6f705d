// Events about objects: the same thing happening again is counted on one Event.
import { createHash } from "node:crypto";
import type { ApiObject, Event, ResourceInput } from "../resources/index.js";
import { type EventInput, formatTime, type ObjectName, type ResourceClient } from "./resource-client.js";

type Subject = Pick<ApiObject, "apiVersion" | "kind" | "metadata">;

const MESSAGE_LENGTH_MAX = 1024;

/** Creates the Event, or counts it once more. Never rejects: what it tells of has happened all the same. */
export async function recordEvent(
  client: Pick<ResourceClient, "get" | "create" | "patch">,
  subject: Subject,
  event: EventInput,
  context: { readonly component: string; readonly nowMs: number },
): Promise<void> {
  const name = eventName(subject, event, context.component);
  try {
    const before = await client.get("Event", name);
    const document = eventDocument(subject, event, { ...context, before });
    if (before === undefined) await client.create("Event", document);
    else await client.patch("Event", name, { count: document.count, lastTimestamp: document.lastTimestamp });
  } catch {
    // An event is a courtesy.
  }
}

/** The name that equal events share. Events about cluster-wide objects stand in the namespace default. */
function eventName(subject: Subject, event: EventInput, component: string): ObjectName {
  const { name, namespace, uid } = subject.metadata;
  const digest = createHash("sha256")
    .update(
      JSON.stringify([subject.kind, uid, event.type ?? "Normal", event.reason, event.message, component]),
    )
    .digest("hex");
  return { namespace: namespace ?? "default", name: `${name.slice(0, 200)}.${digest.slice(0, 16)}` };
}

function eventDocument(
  subject: Subject,
  event: EventInput,
  context: { readonly component: string; readonly nowMs: number; readonly before: Event | undefined },
): ResourceInput<"Event"> {
  const { name, namespace, uid, resourceVersion } = subject.metadata;
  const now = formatTime(context.nowMs);
  return {
    metadata: eventName(subject, event, context.component) as { name: string; namespace: string },
    involvedObject: {
      apiVersion: subject.apiVersion,
      kind: subject.kind,
      name,
      uid,
      resourceVersion,
      ...(namespace === undefined ? {} : { namespace }),
    },
    type: event.type ?? "Normal",
    reason: event.reason,
    message: event.message.slice(0, MESSAGE_LENGTH_MAX),
    count: (context.before?.count ?? 0) + 1,
    firstTimestamp: context.before?.firstTimestamp ?? now,
    lastTimestamp: now,
    source: { component: context.component },
    reportingComponent: context.component,
    reportingInstance: context.component,
  };
}
