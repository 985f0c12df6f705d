// Event of core/v1: what happened to an object. `describe` shows them; old ones are dropped.
import Type from "typebox";
import { defineKind } from "./kind.js";
import { OneOf, resourceSchema, Time } from "./schema.js";

const ObjectReference = Type.Object({
  apiVersion: Type.Optional(Type.String({ description: "API version of the object." })),
  kind: Type.Optional(Type.String({ description: "Kind of the object." })),
  namespace: Type.Optional(Type.String({ description: "Namespace of the object." })),
  name: Type.Optional(Type.String({ description: "Name of the object." })),
  uid: Type.Optional(Type.String({ description: "UID of the object." })),
  resourceVersion: Type.Optional(
    Type.String({ description: "Version of the object that the event is about." }),
  ),
  fieldPath: Type.Optional(Type.String({ description: "Part of the object that the event is about." })),
});
export type ObjectReference = Type.Static<typeof ObjectReference>;

export const EventSchema = resourceSchema("v1", "Event", "Something that happened to an object.", {
  involvedObject: ObjectReference,
  related: Type.Optional(ObjectReference),
  reason: Type.Optional(Type.String({ description: "What happened, as one CamelCase word." })),
  message: Type.Optional(Type.String({ maxLength: 1024, description: "What happened, for people." })),
  type: OneOf(["Normal", "Warning"], { default: "Normal", description: "Whether somebody should look." }),
  action: Type.Optional(Type.String({ description: "What was done about it." })),
  count: Type.Optional(Type.Integer({ description: "How often it happened." })),
  firstTimestamp: Type.Optional(Time({ description: "When it happened first." })),
  lastTimestamp: Type.Optional(Time({ description: "When it happened last." })),
  eventTime: Type.Optional(Time({ description: "When it happened." })),
  source: Type.Optional(
    Type.Object({
      component: Type.Optional(Type.String({ description: "Who reports." })),
      host: Type.Optional(Type.String({ description: "Where the reporter runs." })),
    }),
  ),
  reportingComponent: Type.String({ default: "", description: "Who reports." }),
  reportingInstance: Type.String({ default: "", description: "Which instance of it." }),
});
export type Event = Type.Static<typeof EventSchema>;

export const eventKind = defineKind<Event>({
  group: "",
  version: "v1",
  kind: "Event",
  plural: "events",
  singular: "event",
  shortNames: ["ev"],
  namespaced: true,
  hasStatus: false,
  strategicMerge: true,
  schema: EventSchema,
  columns: [
    {
      name: "Last Seen",
      description: "When it happened last",
      value: (event) => event.lastTimestamp ?? event.eventTime,
    },
    { name: "Type", description: "Normal or Warning", value: (event) => event.type },
    { name: "Reason", description: "What happened", value: (event) => event.reason },
    {
      name: "Object",
      description: "What it happened to",
      value: (event) =>
        `${(event.involvedObject.kind ?? "").toLowerCase()}/${event.involvedObject.name ?? ""}`,
    },
    { name: "Source", description: "Who reports", wide: true, value: (event) => event.source?.component },
    { name: "Message", description: "What happened", value: (event) => event.message },
    { name: "Count", type: "integer", description: "How often", wide: true, value: (event) => event.count },
  ],
});
