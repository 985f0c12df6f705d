// Volume: a thin virtual disk in a storage pool.
import Type from "typebox";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, PLINTH_API_VERSION, plinthKind, type ValidationContext } from "./kind.js";
import { formatBytes, parseQuantity, quantityBytes } from "./quantity.js";
import { Conditions, listKeys, OneOf, Quantity, resourceSchema, Time } from "./schema.js";
import { validateReference } from "./virtual-machine.js";

export const VOLUME_SIZE_BYTES_MIN = 2 ** 20;
/** What the storage pool takes at most. */
export const VOLUME_SIZE_BYTES_MAX = 4 * 2 ** 40;
const BLOCK_SIZE_BYTES = 4096;
const BANDWIDTH_MAX = 2 ** 40;
const REWIND_SECONDS_MAX = 90 * 86_400;
const KNOWN_SCHEDULES = ["hourly", "daily", "weekly", "monthly"];
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

export const VolumeSchema = resourceSchema(
  PLINTH_API_VERSION,
  "Volume",
  "A thin virtual disk: it takes space in its pool only where it was written.",
  {
    spec: Type.Object(
      {
        size: Quantity({
          description: "Size that machines see, 1Mi to 4Ti, a multiple of 4Ki. It can grow, never shrink.",
        }),
        pool: Type.String({
          default: "default",
          minLength: 1,
          description: "Name of the StoragePool. Cannot be changed.",
        }),
        copies: Type.Integer({
          default: 1,
          minimum: 1,
          maximum: 5,
          description: "How many copies are kept.",
        }),
        class: Type.Optional(
          Type.String({
            minLength: 1,
            description: "Only on disks of this class, e.g. ssd. Cannot be changed.",
          }),
        ),
        limits: Type.Optional(
          Type.Object(
            {
              iops: Type.Optional(
                Type.Integer({
                  minimum: 0,
                  maximum: 100_000_000,
                  description: "Requests each second; 0: any.",
                }),
              ),
              bandwidth: Type.Optional(
                Quantity({ description: "Bytes read and written each second, e.g. 100Mi; 0: any." }),
              ),
              burstSeconds: Type.Optional(
                Type.Integer({
                  minimum: 1,
                  maximum: 3600,
                  description: "How many seconds' worth is saved up while less is used; 1 unless given.",
                }),
              ),
            },
            { description: "How much of the pool's time it may take. What is absent is not limited." },
          ),
        ),
        encrypted: Type.Optional(
          Type.Boolean({
            description:
              "Encrypt what is stored; the pool needs a key (spec.keyFile). A clone is as its origin. Cannot be changed.",
          }),
        ),
        compression: Type.Optional(
          OneOf(["none", "deflate"], {
            description:
              "How what was not written for a while is packed. Can be changed at any time: what is packed stays so until it is written anew. Not with `encrypted`.",
          }),
        ),
        rewindWindow: Type.Optional(
          Type.String({
            pattern: "^[0-9]+(s|m|h|d)$",
            description: "How far back it can be rewound, e.g. 30m, 1h or 7d, at most 90d; 0s: not at all.",
          }),
        ),
        snapshotSchedules: Type.Array(
          Type.Object({
            name: Type.String({
              minLength: 1,
              description: "hourly, daily, weekly or monthly, or a name of your own with `cron`.",
            }),
            cron: Type.Optional(
              Type.String({ description: 'When, in five fields and UTC, e.g. "30 2 * * *".' }),
            ),
            keep: Type.Optional(
              Type.Integer({ minimum: 1, maximum: 1023, description: "How many of its snapshots are kept." }),
            ),
          }),
          {
            ...listKeys("name"),
            default: [],
            maxItems: 16,
            description: "Snapshots that are made by the clock.",
          },
        ),
        source: Type.Optional(
          Type.Object(
            {
              snapshot: Type.String({
                minLength: 1,
                description: "Name of the VolumeSnapshot in the same namespace.",
              }),
            },
            { description: "What it starts as; empty when absent. Cannot be changed." },
          ),
        ),
      },
      { description: "What is wanted." },
    ),
    status: Type.Optional(
      Type.Object(
        {
          phase: Type.Optional(
            OneOf(["Pending", "Available", "InUse", "Failed"], {
              description: "Where the volume is in its life.",
            }),
          ),
          sizeBytes: Type.Optional(Type.Integer({ description: "Size that machines see." })),
          allocatedBytes: Type.Optional(Type.Integer({ description: "Space taken in the pool." })),
          promisedBytes: Type.Optional(
            Type.Integer({ description: "Room that the pool keeps for overwriting what it shares." }),
          ),
          historyBytes: Type.Optional(Type.Integer({ description: "Space held only to be rewound to." })),
          rewindFrom: Type.Optional(Time({ description: "The earliest moment that it can be rewound to." })),
          packedBytes: Type.Optional(
            Type.Integer({ description: "What was packed for the volume and its clones." }),
          ),
          savedBytes: Type.Optional(
            Type.Integer({
              description: "Room on the disks that packing has won; all else counts as unpacked.",
            }),
          ),
          attachedTo: Type.Optional(Type.String({ description: "Name of the machine that has it." })),
          observedGeneration: Type.Optional(
            Type.Integer({ description: "Generation that the status reflects." }),
          ),
          conditions: Type.Optional(Conditions),
        },
        { description: "What is." },
      ),
    ),
  },
);
export type Volume = Type.Static<typeof VolumeSchema>;

export const volumeKind = defineKind<Volume>({
  ...plinthKind,
  kind: "Volume",
  plural: "volumes",
  singular: "volume",
  shortNames: ["vol", "vols"],
  namespaced: true,
  schema: VolumeSchema,
  actions: [
    { name: "revert", method: "POST" },
    { name: "rewind", method: "POST" },
  ],
  columns: [
    {
      name: "Phase",
      description: "Where it is in its life",
      value: (volume) => volume.status?.phase ?? "Pending",
    },
    { name: "Size", description: "Size that machines see", value: (volume) => volume.spec.size },
    {
      name: "Allocated",
      description: "Space taken in the pool",
      value: (volume) =>
        volume.status?.allocatedBytes === undefined ? undefined : formatBytes(volume.status.allocatedBytes),
    },
    { name: "VM", description: "The machine that has it", value: (volume) => volume.status?.attachedTo },
    { name: "Pool", description: "The storage pool", wide: true, value: (volume) => volume.spec.pool },
    {
      name: "Copies",
      type: "integer",
      description: "Copies kept",
      wide: true,
      value: (volume) => volume.spec.copies,
    },
  ],
  consumes: {
    "requests.storage": { base: "binary", amountOf: (volume) => quantityBytes(volume.spec.size) },
  },
  validate: validateVolume,
});

function validateVolume(volume: Volume, errors: FieldErrors, context: ValidationContext<Volume>): void {
  const { spec } = volume;
  const size = parseQuantity(spec.size);
  if (size === undefined || size < VOLUME_SIZE_BYTES_MIN || size > VOLUME_SIZE_BYTES_MAX) {
    errors.invalid("spec.size", spec.size, "must be a quantity from 1Mi to 4Ti");
  } else if (size % BLOCK_SIZE_BYTES !== 0) {
    errors.invalid("spec.size", spec.size, `must be a multiple of ${BLOCK_SIZE_BYTES} bytes`);
  }
  validateReference("spec.pool", spec.pool, errors);
  if (spec.source !== undefined) validateReference("spec.source.snapshot", spec.source.snapshot, errors);
  if (spec.class !== undefined) validateReference("spec.class", spec.class, errors);
  if (spec.rewindWindow !== undefined && (rewindSecondsOf(spec) ?? 0) > REWIND_SECONDS_MAX) {
    errors.invalid("spec.rewindWindow", spec.rewindWindow, "must be at most 90d");
  }
  for (const [i, { name, cron }] of spec.snapshotSchedules.entries()) {
    const field = `spec.snapshotSchedules[${i}]`;
    validateReference(`${field}.name`, name, errors);
    if (spec.snapshotSchedules.findIndex((each) => each.name === name) !== i)
      errors.duplicate(`${field}.name`, name);
    if (cron === undefined && !KNOWN_SCHEDULES.includes(name)) {
      errors.required(`${field}.cron`, `only ${KNOWN_SCHEDULES.join(", ")} are known without it`);
    } else if (cron !== undefined && cron.trim().split(/\s+/).length !== 5) {
      errors.invalid(`${field}.cron`, cron, 'must be five fields, e.g. "30 2 * * *"');
    }
  }
  if (spec.limits?.bandwidth !== undefined) {
    const rate = parseQuantity(spec.limits.bandwidth);
    if (rate === undefined || (rate > 0 && rate < 1) || rate > BANDWIDTH_MAX)
      errors.invalid(
        "spec.limits.bandwidth",
        spec.limits.bandwidth,
        "must be a quantity of whole bytes from 0 to 1Ti",
      );
  }
  if (spec.encrypted === true && (spec.compression ?? "none") !== "none") {
    errors.invalid("spec.compression", spec.compression ?? null, "must be none for an encrypted volume");
  }
  if (spec.source !== undefined && spec.encrypted !== undefined) {
    errors.invalid("spec.encrypted", spec.encrypted, "a clone is encrypted as its origin is");
  }
  const before = context.previous?.spec;
  if (before === undefined) return;
  const sizeBefore = parseQuantity(before.size) ?? 0;
  if (size !== undefined && size < sizeBefore) {
    errors.invalid("spec.size", spec.size, `cannot be less than before (${formatBytes(sizeBefore)})`);
  }
  if (before.class !== spec.class) errors.invalid("spec.class", spec.class ?? null, "cannot be changed");
  if ((before.encrypted ?? false) !== (spec.encrypted ?? false)) {
    errors.invalid("spec.encrypted", spec.encrypted ?? null, "cannot be changed");
  }
  if (before.pool !== spec.pool) errors.invalid("spec.pool", spec.pool, "cannot be changed");
  if (before.source?.snapshot !== spec.source?.snapshot) {
    errors.invalid("spec.source", spec.source ?? null, "cannot be changed");
  }
}

/** The rewind window in seconds; undefined when there is none. */
export function rewindSecondsOf({ rewindWindow }: Pick<Volume["spec"], "rewindWindow">): number | undefined {
  if (rewindWindow === undefined) return undefined;
  return Number.parseInt(rewindWindow, 10) * (UNIT_SECONDS[rewindWindow.slice(-1)] ?? 1);
}
