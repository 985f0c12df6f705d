// What changes under a running machine without a restart: the VLAN of its interfaces, and disks that have grown.
// Thread: main.
import type { Logger } from "../../../base/log/index.js";
import type { MachineDriver } from "../../../hypervisor-core/index.js";
import type { ResourceClient } from "../../api/index.js";
import { type MachineView, retaggedInterfaces } from "./machine-plan.js";
import type { MachineRecord } from "./machine-records.js";
import type { Machines } from "./machines.js";
import type { StorageClient } from "./storage-client.js";

export interface LiveChangesModules {
  readonly client: ResourceClient;
  readonly machines: Machines;
  readonly storage: StorageClient;
  readonly log: Logger;
}

export class LiveChanges {
  readonly #syncSwitch: () => Promise<void>;
  readonly #modules: LiveChangesModules;
  /** Bytes that QEMU is known to show, by the disk's socket; asked once after this agent has started. */
  readonly #shown = new Map<string, number>();

  constructor(syncSwitch: () => Promise<void>, modules: LiveChangesModules) {
    this.#syncSwitch = syncSwitch;
    this.#modules = modules;
  }

  /** For a machine that runs; safe to repeat. Throws PlinthError when switch, storaged or QEMU refuse for now. */
  async apply(view: MachineView, driver: MachineDriver): Promise<void> {
    const { record } = view;
    if (record?.active !== true) return;
    await this.#retag(view, record);
    for (const index of record.disks.keys()) await this.#grow(view, record, driver, index);
  }

  /** The machine has stopped: its next QEMU learns every size anew. */
  forget(driver: MachineDriver, record: MachineRecord): void {
    for (const index of record.disks.keys()) this.#shown.delete(driver.paths.disk(index));
  }

  async #retag(view: MachineView, record: MachineRecord): Promise<void> {
    const interfaces = retaggedInterfaces(view);
    if (interfaces === undefined) return;
    this.#modules.machines.records.put({ ...record, interfaces });
    await this.#syncSwitch();
    const vlans = interfaces.map(({ name, vlan }) => `${name} in VLAN ${vlan}`).join(", ");
    await this.#modules.client.recordEvent(view.vm, { reason: "VlanChanged", message: vlans });
  }

  async #grow(view: MachineView, record: MachineRecord, driver: MachineDriver, index: number): Promise<void> {
    const { storage, client, log } = this.#modules;
    const { name, volume } = record.disks[index] as MachineRecord["disks"][number];
    const wanted = view.volume(volume.slice(volume.indexOf("/") + 1))?.status?.sizeBytes;
    const socket = driver.paths.disk(index);
    if (wanted === undefined || this.#shown.get(socket) === wanted) return;
    const shown = await driver.diskSize(index);
    if (shown === undefined) return;
    if (shown < wanted) {
      // QEMU learns a size while it connects: it is made to connect again. What the guest asks meanwhile is kept.
      await storage.closeExport(socket);
      const owner = `VirtualMachine ${view.vm.metadata.namespace}/${view.vm.metadata.name}`;
      await storage.openExport(volume, socket, record.user, owner);
      await driver.growDisk(index, wanted);
      log.info({ machine: record.id, disk: name, sizeBytes: wanted }, "disk has grown");
      await client.recordEvent(view.vm, {
        reason: "DiskGrown",
        message: `disk ${name} has ${wanted} bytes now`,
      });
    }
    this.#shown.set(socket, wanted);
  }
}
