// StoragePool: disks of a host that volumes are kept on.
import Type from "typebox";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, PLINTH_API_VERSION, plinthKind } from "./kind.js";
import { formatBytes, parseQuantity } from "./quantity.js";
import { Conditions, listKeys, Quantity, resourceSchema, Time } from "./schema.js";
import { validateReference } from "./virtual-machine.js";

const SCRUB_SCHEDULES = ["daily", "weekly", "monthly", "off"];
const SCRUB_BANDWIDTH_MAX = 2 ** 40;

export const StoragePoolSchema = resourceSchema(
  PLINTH_API_VERSION,
  "StoragePool",
  "Disks (directories, files or block devices) of a host that volumes are kept on.",
  {
    spec: Type.Object(
      {
        host: Type.Optional(Type.String({ description: "Name of the Host that has the disks." })),
        disks: Type.Array(Type.String({ minLength: 1 }), {
          default: [],
          maxItems: 64,
          description:
            "Absolute paths of the disks on the host. One that is taken out of the list is emptied while volumes are in use, then removed.",
        }),
        keyFile: Type.Optional(
          Type.String({
            minLength: 1,
            description:
              "File on the host with the key for encrypted volumes (32 bytes or 64 hexadecimal digits, mode 0600); made when it is not there. Another one: all keys are wrapped anew.",
          }),
        ),
        thresholds: Type.Optional(
          Type.Object(
            {
              warningPercent: Type.Optional(
                Type.Integer({ minimum: 1, maximum: 99, description: "It is getting full. 80 unless said." }),
              ),
              criticalPercent: Type.Optional(
                Type.Integer({
                  minimum: 1,
                  maximum: 100,
                  description: "It is nearly full; more than warningPercent. 95 unless said.",
                }),
              ),
            },
            {
              description:
                "From which shares of the usable space on it warns. What is absent stays as it is.",
            },
          ),
        ),
        scrub: Type.Optional(
          Type.Object(
            {
              schedule: Type.Optional(
                Type.String({
                  minLength: 1,
                  maxLength: 100,
                  description:
                    'daily, weekly, monthly, off, or five fields in UTC, e.g. "0 1 * * 0". Monthly unless something was said.',
                }),
              ),
              bandwidth: Type.Optional(
                Quantity({
                  description: "Bytes that scrubs by schedule read each second, e.g. 50Mi; 0: any.",
                }),
              ),
            },
            {
              description:
                "When every copy of every block is read and bad ones are put right. What is absent stays as it is.",
            },
          ),
        ),
      },
      { description: "What is wanted.", default: {} },
    ),
    status: Type.Optional(
      Type.Object(
        {
          sizeBytes: Type.Optional(Type.Integer({ description: "Space on all disks." })),
          allocatedBytes: Type.Optional(Type.Integer({ description: "Space taken." })),
          freeBytes: Type.Optional(Type.Integer({ description: "Space left." })),
          promisedBytes: Type.Optional(
            Type.Integer({ description: "Room kept for overwriting what snapshots and clones share." }),
          ),
          leftBytes: Type.Optional(Type.Integer({ description: "What volumes can still grow by." })),
          usedPercent: Type.Optional(
            Type.Number({ description: "Share of the usable space that is taken." }),
          ),
          level: Type.Optional(Type.String({ description: "ok, warning, critical or full." })),
          thresholds: Type.Optional(
            Type.Object(
              {
                warningPercent: Type.Integer({ description: "From there on the level is warning." }),
                criticalPercent: Type.Integer({ description: "From there on the level is critical." }),
              },
              { description: "Shares of the usable space that count." },
            ),
          ),
          fullInSeconds: Type.Optional(
            Type.Integer({
              description: "Until it is full at the rate of late; absent when it does not fill.",
            }),
          ),
          disks: Type.Optional(
            Type.Array(
              Type.Object({
                path: Type.String({ description: "Path of the disk." }),
                state: Type.Optional(
                  Type.String({
                    description: "Healthy, Damaged, Pending, Draining, Failed, Missing, Detached or Closed.",
                  }),
                ),
                wanted: Type.Optional(
                  Type.Boolean({
                    description:
                      "True: spec.disks names it. False: it did once, so it is emptied and removed. Absent: a disk of the command line.",
                  }),
                ),
                class: Type.Optional(Type.String({ description: "What kind of disk it is." })),
                sizeBytes: Type.Optional(Type.Integer({ description: "Space on the disk." })),
                freeBytes: Type.Optional(Type.Integer({ description: "Space left on the disk." })),
              }),
              { ...listKeys("path"), description: "Each disk." },
            ),
          ),
          scrub: Type.Optional(
            Type.Object(
              {
                nextTime: Type.Optional(Time({ description: "When the next one by schedule begins." })),
                progressPercent: Type.Optional(
                  Type.Integer({ description: "How far the one is that goes on; absent when none does." }),
                ),
                lastTime: Type.Optional(Time({ description: "When the last one ended." })),
                lastResult: Type.Optional(
                  Type.String({
                    description: "done, cancelled, or failed: something has no good copy.",
                  }),
                ),
                checkedBytes: Type.Optional(Type.Integer({ description: "Read by the last one." })),
                repairedBlocks: Type.Optional(
                  Type.Integer({ description: "Put right from another copy by the last one." }),
                ),
                lostBlocks: Type.Optional(
                  Type.Integer({ description: "Blocks of which the last one found no good copy." }),
                ),
              },
              { description: "Reading every copy of every block." },
            ),
          ),
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
export type StoragePool = Type.Static<typeof StoragePoolSchema>;

const bytes = (value: number | undefined): string | undefined =>
  value === undefined ? undefined : formatBytes(value);

function readyOf({ status }: StoragePool): string | undefined {
  return status?.conditions?.find(({ type }) => type === "Ready")?.status;
}

/** "3", or "3 (1 Damaged)". */
function disksText({ status }: StoragePool): string | undefined {
  const disks = status?.disks;
  if (disks === undefined) return undefined;
  const counts = new Map<string, number>();
  for (const { state = "Pending" } of disks)
    if (state !== "Healthy") counts.set(state, (counts.get(state) ?? 0) + 1);
  const others = [...counts].map(([state, count]) => `${count} ${state}`);
  return others.length === 0 ? String(disks.length) : `${disks.length} (${others.join(", ")})`;
}

export const storagePoolKind = defineKind<StoragePool>({
  ...plinthKind,
  kind: "StoragePool",
  plural: "storagepools",
  singular: "storagepool",
  shortNames: ["pool", "pools", "sp"],
  namespaced: false,
  nameForm: "label",
  schema: StoragePoolSchema,
  columns: [
    { name: "Host", description: "The host", value: (pool) => pool.spec.host },
    { name: "Size", description: "Space on all disks", value: (pool) => bytes(pool.status?.sizeBytes) },
    { name: "Allocated", description: "Space taken", value: (pool) => bytes(pool.status?.allocatedBytes) },
    { name: "Free", description: "Space left", value: (pool) => bytes(pool.status?.freeBytes) },
    { name: "Level", description: "How full it is", value: (pool) => pool.status?.level },
    { name: "Ready", description: "Whether it is served", value: readyOf },
    { name: "Disks", description: "How many, and how many are not as they should be", value: disksText },
    { name: "Paths", description: "Of the disks", wide: true, value: (pool) => pool.spec.disks.join(",") },
  ],
  validate(pool: StoragePool, errors: FieldErrors): void {
    if (pool.spec.host !== undefined) validateReference("spec.host", pool.spec.host, errors);
    const { keyFile } = pool.spec;
    if (keyFile !== undefined && !keyFile.startsWith("/"))
      errors.invalid("spec.keyFile", keyFile, "must be an absolute path");
    validateThresholds(pool.spec.thresholds ?? {}, errors);
    validateScrub(pool.spec.scrub ?? {}, errors);
    for (const [i, disk] of pool.spec.disks.entries()) {
      if (!disk.startsWith("/")) errors.invalid(`spec.disks[${i}]`, disk, "must be an absolute path");
      if (pool.spec.disks.indexOf(disk) !== i) errors.duplicate(`spec.disks[${i}]`, disk);
    }
  },
});

function validateThresholds(
  { warningPercent = 0, criticalPercent }: NonNullable<StoragePool["spec"]["thresholds"]>,
  errors: FieldErrors,
): void {
  if (criticalPercent === undefined || criticalPercent > warningPercent) return;
  const expected = `must be more than warningPercent (${warningPercent})`;
  errors.invalid("spec.thresholds.criticalPercent", criticalPercent, expected);
}

function validateScrub(
  { schedule, bandwidth }: NonNullable<StoragePool["spec"]["scrub"]>,
  errors: FieldErrors,
): void {
  if (schedule !== undefined && !SCRUB_SCHEDULES.includes(schedule)) {
    const expected = `must be ${SCRUB_SCHEDULES.join(", ")}, or five fields such as "0 1 * * 0"`;
    if (schedule.trim().split(/\s+/).length !== 5) errors.invalid("spec.scrub.schedule", schedule, expected);
  }
  if (bandwidth === undefined) return;
  const rate = parseQuantity(bandwidth);
  if (rate === undefined || (rate > 0 && rate < 1) || rate > SCRUB_BANDWIDTH_MAX)
    errors.invalid("spec.scrub.bandwidth", bandwidth, "must be a quantity of whole bytes from 0 to 1Ti");
}
