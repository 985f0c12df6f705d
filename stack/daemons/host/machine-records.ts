// What this host has taken on: one small file per machine, written before anything of the machine is made, so that an
// agent that was killed knows which processes, ports and exports are its own. Thread: main.
// Invariant: a record is on disk before its machine exists and goes only after it.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../../base/log/index.js";

export interface RecordedInterface {
  readonly name: string;
  /** "namespace/port" */
  readonly port: string;
  readonly macAddress: string;
  /** "namespace/network"; the guest's part of it comes with a restart only. */
  readonly network?: string | undefined;
  /** Of the switch's port: follows the network at once. */
  readonly vlan: number;
}

export interface RecordedDisk {
  readonly name: string;
  /** "namespace/volume" */
  readonly volume: string;
}

export interface MachineRecord {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  /** metadata.uid of the VirtualMachine. */
  readonly uid: string;
  /** The numeric user that its QEMU runs under; ours when absent. */
  readonly user?: number | undefined;
  /** The machine is on, or about to be: its ports and exports are there. */
  readonly active: boolean;
  readonly interfaces: readonly RecordedInterface[];
  readonly disks: readonly RecordedDisk[];
  readonly accelerator?: string | undefined;
  /** Of everything QEMU was started with; tells when a restart would change something. */
  readonly digest?: string | undefined;
}

/** First 8 hex digits of SHA-256 of an object's uid: short enough for socket paths and interface names. */
export function shortId(uid: string): string {
  return createHash("sha256").update(uid).digest("hex").slice(0, 8);
}

export class MachineRecords {
  readonly #dir: string;
  readonly #records = new Map<string, MachineRecord>();

  /** Reads what is there. A file that is no record is reported and left alone. */
  constructor(dir: string, log: Logger) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    for (const file of readdirSync(dir).filter((name) => /^[0-9a-f]{8}\.json$/.test(name))) {
      const record = parseRecord(readFileSync(join(dir, file), "utf8"));
      if (record !== undefined && `${record.id}.json` === file) this.#records.set(record.id, record);
      else log.warn({ file: join(dir, file) }, "not a record of a machine");
    }
  }

  get(id: string): MachineRecord | undefined {
    return this.#records.get(id);
  }

  list(): MachineRecord[] {
    return [...this.#records.values()];
  }

  put(record: MachineRecord): void {
    const path = join(this.#dir, `${record.id}.json`);
    const draft = `${path}.new`;
    writeFileSync(draft, `${JSON.stringify(record)}\n`, { mode: 0o600, flush: true });
    renameSync(draft, path);
    this.#records.set(record.id, record);
  }

  remove(id: string): void {
    rmSync(join(this.#dir, `${id}.json`), { force: true });
    this.#records.delete(id);
  }
}

function parseRecord(text: string): MachineRecord | undefined {
  try {
    const value = JSON.parse(text) as Partial<MachineRecord> | null;
    const words = [value?.id, value?.namespace, value?.name, value?.uid];
    if (value === null || words.some((word) => typeof word !== "string")) return undefined;
    if (!Array.isArray(value.interfaces) || !Array.isArray(value.disks)) return undefined;
    return value as MachineRecord;
  } catch {
    return undefined;
  }
}
