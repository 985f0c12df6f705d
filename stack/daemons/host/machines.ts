// The machines of this host as they are: one driver per record, found again after a restart of the agent by what the
// records and the run directory say. Nothing here knows the API. Thread: main.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CAP_CHOWN, CAP_SETUID, currentUid, hasCapability } from "../../../base/linux/index.js";
import type { Logger } from "../../../base/log/index.js";
import type { Clock } from "../../../base/time/index.js";
import {
  type Accelerator,
  allocateUid,
  ControlGroups,
  type MachineChange,
  MachineDriver,
  type MachineSpec,
  usersOfProcesses,
} from "../../../hypervisor-core/index.js";
import type { DesiredMachine } from "./machine-plan.js";
import { type MachineRecord, MachineRecords, shortId } from "./machine-records.js";
import type { DesiredPort } from "./switch-plan.js";

export interface MachinesOptions {
  /** DIR/run */
  readonly runDir: string;
  /** DIR/host */
  readonly stateDir: string;
  readonly qemu: string;
  readonly onChange: (record: MachineRecord, change: MachineChange) => void;
}

export interface Machine {
  readonly id: string;
  readonly driver: MachineDriver;
}

/** A machine without QEMU, for planning. */
export const NO_MACHINE: MachineChange = { state: "stopped", reason: "New", message: "" };

export class Machines {
  readonly records: MachineRecords;
  /** One user per machine is possible; else all run under ours and isolation is weaker. */
  readonly isolated: boolean;
  readonly #options: MachinesOptions;
  readonly #modules: { readonly clock: Clock; readonly log: Logger };
  readonly #limits = new ControlGroups();
  readonly #machines = new Map<string, Machine>();

  constructor(options: MachinesOptions, modules: { readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
    this.#modules = modules;
    this.records = new MachineRecords(join(options.stateDir, "machines"), modules.log);
    this.isolated = currentUid() === 0 && hasCapability(CAP_SETUID) && hasCapability(CAP_CHOWN);
  }

  /** Finds what ran before this agent did. A QEMU without a record is nobody's and is ended. */
  async adoptAll(): Promise<void> {
    const { log } = this.#modules;
    await Promise.all(
      this.records.list().map(async (record) => {
        const machine = this.#open(record);
        const adopted = await machine.driver.adopt();
        log.info(
          { machine: record.id, name: `${record.namespace}/${record.name}`, adopted },
          "machine looked up",
        );
      }),
    );
    for (const id of existsSync(this.#options.runDir) ? readdirSync(this.#options.runDir) : []) {
      if (!/^[0-9a-f]{8}$/.test(id) || this.records.get(id) !== undefined) continue;
      log.warn({ machine: id }, "a machine that nobody knows is ended");
      const driver = this.#driver(id, undefined, undefined);
      await driver.adopt();
      await driver.destroy();
    }
  }

  get(id: string): Machine | undefined {
    return this.#machines.get(id);
  }

  byName(namespace: string, name: string): { readonly record: MachineRecord; readonly machine: Machine }[] {
    return this.records
      .list()
      .filter((record) => record.namespace === namespace && record.name === name)
      .map((record) => ({ record, machine: this.#open(record) }));
  }

  /** Writes down that the machine is about to be on; its run directory exists when this returns. */
  activate(
    identity: Pick<MachineRecord, "namespace" | "name" | "uid">,
    desired: DesiredMachine,
    accelerator: string,
  ): Machine {
    const id = shortId(identity.uid);
    const record: MachineRecord = {
      ...identity,
      id,
      user: this.records.get(id)?.user ?? this.#newUser(id),
      active: true,
      interfaces: desired.interfaces,
      disks: desired.disks,
      accelerator,
      digest: desired.digest,
    };
    this.records.put(record);
    const machine = this.#open(record);
    machine.driver.prepare();
    return machine;
  }

  /** Writes down that the machine is off: its ports and exports are not wanted any more. */
  deactivate(id: string): void {
    const record = this.records.get(id);
    if (record?.active === true) this.records.put({ ...record, active: false });
  }

  /** Ends the machine and forgets it. `graceMs` is the time it gets to power off. */
  async remove(id: string, graceMs: number): Promise<void> {
    const machine = this.#machines.get(id);
    if (machine !== undefined) {
      if (graceMs > 0) await machine.driver.stop(graceMs);
      await machine.driver.destroy();
    }
    this.#machines.delete(id);
    this.records.remove(id);
  }

  spec(record: MachineRecord, desired: DesiredMachine, accelerator: Accelerator): MachineSpec {
    const { paths } = this.#open(record).driver;
    return {
      name: `${record.namespace}.${record.name}`,
      cpus: desired.cpus,
      memoryBytes: desired.memoryBytes,
      accelerator,
      boot: desired.boot,
      interfaces: desired.interfaces.map(({ name, macAddress }) => ({
        name,
        macAddress,
        backend: "vhost-user",
      })),
      disks: desired.disks.map(({ name, volume }, index) => ({
        name,
        socket: paths.disk(index),
        exportName: volume,
        readOnly: false,
      })),
    };
  }

  /** The switch ports of all machines that are on. */
  ports(): DesiredPort[] {
    return this.records
      .list()
      .filter((record) => record.active)
      .flatMap((record) =>
        record.interfaces.map((each, index) => ({
          name: `vm${record.id}n${index}`,
          type: "dpdkvhostuserclient" as const,
          options: { "vhost-server-path": this.#open(record).driver.paths.network(index) },
          externalIds: { "iface-id": each.port, "attached-mac": each.macAddress },
          vlan: each.vlan,
        })),
      );
  }

  /** The sockets on which storage has to serve a volume, of all machines that are on. */
  exportSockets(): Set<string> {
    const active = this.records.list().filter((record) => record.active);
    return new Set(
      active.flatMap((record) =>
        record.disks.map((_disk, index) => this.#open(record).driver.paths.disk(index)),
      ),
    );
  }

  trimLogs(): void {
    for (const { driver } of this.#machines.values()) driver.trimLogs();
  }

  /** Ends this agent's part; the machines run on. */
  async release(): Promise<void> {
    await Promise.all([...this.#machines.values()].map(({ driver }) => driver.release()));
  }

  #open(record: MachineRecord): Machine {
    const present = this.#machines.get(record.id);
    if (present !== undefined) return present;
    const driver = this.#driver(record.id, record.user, (change) =>
      this.#options.onChange(this.records.get(record.id) ?? record, change),
    );
    const machine = { id: record.id, driver };
    this.#machines.set(record.id, machine);
    return machine;
  }

  #driver(
    id: string,
    uid: number | undefined,
    onChange: ((change: MachineChange) => void) | undefined,
  ): MachineDriver {
    const { runDir, stateDir, qemu } = this.#options;
    return new MachineDriver({
      id,
      runDir: join(runDir, id),
      logFile: join(stateDir, "log", `${id}.log`),
      qemu,
      uid,
      limits: this.#limits,
      ...this.#modules,
      ...(onChange === undefined ? {} : { onChange }),
    });
  }

  #newUser(id: string): number | undefined {
    if (!this.isolated) return undefined;
    const used = usersOfProcesses();
    for (const { user } of this.records.list()) if (user !== undefined) used.add(user);
    return allocateUid(used, Number.parseInt(id, 16));
  }
}
