// VolumeSnapshot: the content of a volume at one moment.
import Type from "typebox";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, PLINTH_API_VERSION, plinthKind, type ValidationContext } from "./kind.js";
import { formatBytes } from "./quantity.js";
import { Conditions, resourceSchema, Time } from "./schema.js";
import { validateReference } from "./virtual-machine.js";

/** Names of snapshots in a pool; wider than those of objects. */
const POOL_NAME = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;

export const VolumeSnapshotSchema = resourceSchema(
  PLINTH_API_VERSION,
  "VolumeSnapshot",
  "The content of a volume at one moment. A volume can be reverted to it, and new volumes can start from it.",
  {
    spec: Type.Object(
      {
        volume: Type.String({
          minLength: 1,
          description: "Name of the Volume in the same namespace. Cannot be changed.",
        }),
        snapshotName: Type.Optional(
          Type.String({
            minLength: 1,
            description:
              "Name in the pool of a snapshot that is there, such as one of a schedule; the object goes with it. When absent, a snapshot is made under the object's name. Cannot be changed.",
          }),
        ),
      },
      { description: "What is wanted." },
    ),
    status: Type.Optional(
      Type.Object(
        {
          readyToUse: Type.Optional(
            Type.Boolean({ description: "True once it can be reverted to and cloned." }),
          ),
          createdAt: Type.Optional(Time({ description: "The moment that it shows." })),
          sizeBytes: Type.Optional(Type.Integer({ description: "Size of the volume at that moment." })),
          exclusiveBytes: Type.Optional(Type.Integer({ description: "Space that deleting it would free." })),
          conditions: Type.Optional(Conditions),
        },
        { description: "What is." },
      ),
    ),
  },
);
export type VolumeSnapshot = Type.Static<typeof VolumeSnapshotSchema>;

export const volumeSnapshotKind = defineKind<VolumeSnapshot>({
  ...plinthKind,
  kind: "VolumeSnapshot",
  plural: "volumesnapshots",
  singular: "volumesnapshot",
  shortNames: ["snap", "snaps"],
  namespaced: true,
  schema: VolumeSnapshotSchema,
  columns: [
    { name: "Volume", description: "The volume", value: (snapshot) => snapshot.spec.volume },
    {
      name: "Snapshot",
      description: "Its name in the pool",
      wide: true,
      value: (snapshot) => snapshotNameOf(snapshot),
    },
    {
      name: "Ready",
      type: "boolean",
      description: "Can be used",
      value: (snapshot) => snapshot.status?.readyToUse ?? false,
    },
    {
      name: "Exclusive",
      description: "Space that deleting it would free",
      value: (snapshot) =>
        snapshot.status?.exclusiveBytes === undefined
          ? undefined
          : formatBytes(snapshot.status.exclusiveBytes),
    },
  ],
  validate(snapshot: VolumeSnapshot, errors: FieldErrors, context: ValidationContext<VolumeSnapshot>): void {
    const { volume, snapshotName } = snapshot.spec;
    validateReference("spec.volume", volume, errors);
    if (snapshotName !== undefined && !(snapshotName.length <= 253 && POOL_NAME.test(snapshotName))) {
      const expected =
        "must be at most 253 lower-case letters, digits, '-' and '.', as the pool names snapshots";
      errors.invalid("spec.snapshotName", snapshotName, expected);
    }
    const before = context.previous?.spec;
    if (before === undefined) return;
    if (before.volume !== volume) errors.invalid("spec.volume", volume, "cannot be changed");
    if (before.snapshotName !== snapshotName) {
      errors.invalid("spec.snapshotName", snapshotName ?? null, "cannot be changed");
    }
  },
});

/** What the pool calls the snapshot. */
export function snapshotNameOf({ metadata, spec }: Pick<VolumeSnapshot, "metadata" | "spec">): string {
  return spec.snapshotName ?? metadata.name;
}
