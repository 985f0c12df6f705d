// Makes QEMU do what the VirtualMachines of this host say: one step of the plan at a time, each step safe to repeat.
// Deletion goes the same way back and waits for nobody who may be dead. Thread: main.
import { isDeepStrictEqual } from "node:util";
import { describeError, PlinthError } from "../../../base/errors/index.js";
import type { Logger } from "../../../base/log/index.js";
import type { Clock } from "../../../base/time/index.js";
import type {
  Accelerator,
  AcceleratorVerdict,
  MachineChange,
  MachineDriver,
} from "../../../hypervisor-core/index.js";
import type { Informer, ResourceClient } from "../../api/index.js";
import type { Network, Port, VirtualMachine, Volume } from "../../resources/index.js";
import { addFinalizer, HOST_FINALIZER, removeFinalizer, type Verdict, writeStatus } from "./api-writer.js";
import { LiveChanges } from "./live-changes.js";
import {
  DISK_PAUSES,
  type MachinePlan,
  type MachineView,
  needsRestart,
  phaseOf,
  planMachine,
} from "./machine-plan.js";
import { type MachineRecord, shortId } from "./machine-records.js";
import { type Machines, NO_MACHINE } from "./machines.js";
import { SpaceWaits } from "./space-waits.js";
import { isStorageAway, type StorageClient } from "./storage-client.js";
import { reasonOf } from "./storage-reasons.js";
import { WorkQueue } from "./work-queue.js";

export interface MachineReconcilerOptions {
  readonly host: string;
  readonly boot: (image: string) => MachineView["boot"];
  readonly volume: (namespace: string, name: string) => Volume | undefined;
  /** Undefined until it is known; nothing is started before. */
  readonly accelerator: () => AcceleratorVerdict | undefined;
  /** Resolves when the switch has the ports of all machines that are on. */
  readonly syncSwitch: () => Promise<void>;
  /** A machine took or gave back "namespace/volume". */
  readonly onAttachment: (volume: string) => void;
}

export interface MachineReconcilerModules {
  readonly client: ResourceClient;
  readonly machines: Machines;
  readonly storage: StorageClient;
  readonly clock: Clock;
  readonly log: Logger;
}

const STOP_GRACE_MS = 20_000;
/** A machine that is deleted is asked too, so that what it wrote last is on its volumes. */
const DELETE_GRACE_MS = 5_000;
const DISK_RETRY_MS = 5_000;
const LIVE_RETRY_MS = 10_000;
const RESTART_MS_MIN = 500;
const RESTART_MS_MAX = 30_000;

/** Starts that failed or machines that died soon after, per machine. */
interface Failures {
  readonly count: number;
  readonly notBeforeMs: number;
}

export class MachineReconciler {
  readonly #options: MachineReconcilerOptions;
  readonly #modules: MachineReconcilerModules;
  readonly #queue: WorkQueue;
  readonly #vms: Informer<VirtualMachine>;
  readonly #ports: Informer<Port>;
  readonly #networks: Informer<Network>;
  readonly #failures = new Map<string, Failures>();
  readonly #spaceWaits = new SpaceWaits();
  readonly #startedMs = new Map<string, number>();
  readonly #live: LiveChanges;
  #synced = false;
  /** Set by stopAll(): this host is being taken down and starts nothing. */
  #draining = false;

  constructor(options: MachineReconcilerOptions, modules: MachineReconcilerModules) {
    this.#options = options;
    this.#modules = modules;
    const { client } = modules;
    this.#live = new LiveChanges(options.syncSwitch, modules);
    this.#queue = new WorkQueue({ name: "machines", concurrency: 8, run: (key) => this.#run(key) }, modules);
    this.#vms = client.watchKind("VirtualMachine", {
      onChange: ({ object }) => this.trigger(object.metadata.namespace as string, object.metadata.name),
    });
    this.#ports = client.watchKind("Port", {
      onChange: ({ object }) => {
        const machine = object.spec.virtualMachine;
        if (machine !== undefined) this.trigger(object.metadata.namespace as string, machine);
      },
    });
    this.#networks = client.watchKind("Network", { onChange: () => this.triggerAll() });
  }

  /** Resolves when the API's side is known. Machines that the API no longer has are removed from then on. */
  async start(): Promise<void> {
    await Promise.all([this.#vms.synced, this.#ports.synced, this.#networks.synced]);
    this.#synced = true;
    for (const { namespace, name } of this.#modules.machines.records.list()) this.trigger(namespace, name);
    this.triggerAll();
  }

  network(namespace: string, name: string): Network | undefined {
    return this.#networks.get({ namespace, name });
  }

  trigger(namespace: string, name: string): void {
    if (this.#synced) this.#queue.add(`${namespace}/${name}`);
  }

  triggerAll(): void {
    for (const { metadata } of this.#vms.list()) this.trigger(metadata.namespace as string, metadata.name);
  }

  triggerNamespace(namespace: string): void {
    for (const { metadata } of this.#vms.list()) {
      if (metadata.namespace === namespace) this.trigger(namespace, metadata.name);
    }
  }

  /** The name of the machine here that has "namespace/volume" now. */
  attachedTo(volume: string): string | undefined {
    const holds = (record: MachineRecord): boolean =>
      record.active && record.disks.some((disk) => disk.volume === volume);
    return this.#modules.machines.records.list().find(holds)?.name;
  }

  /** Told by the drivers, and passed on to people. */
  machineChanged(record: MachineRecord, change: MachineChange): void {
    if (change.state === "running") this.#startedMs.set(record.id, this.#modules.clock.nowMs());
    if (change.state === "failed" || change.reason === "GuestShutdown") this.#countFailure(record.id);
    const vm = this.#vms.get(record);
    if (vm?.metadata.uid === record.uid) {
      const type = change.state === "failed" || DISK_PAUSES.includes(change.reason) ? "Warning" : "Normal";
      void this.#modules.client.recordEvent(vm, { type, reason: change.reason, message: change.message });
    }
    this.trigger(record.namespace, record.name);
  }

  /** Powers everything off without changing what is wanted: the next agent starts it again. */
  async stopAll(): Promise<void> {
    this.#draining = true;
    const { machines } = this.#modules;
    const stop = async (record: MachineRecord): Promise<void> => {
      const machine = machines.get(record.id);
      await machine?.driver.stop(STOP_GRACE_MS);
      await this.#released(record);
    };
    await Promise.all(machines.records.list().map(stop));
  }

  async close(): Promise<void> {
    for (const informer of [this.#vms, this.#ports, this.#networks]) informer.close();
    await this.#queue.close();
  }

  async #run(key: string): Promise<number | undefined> {
    const [namespace = "", name = ""] = key.split("/");
    const { client, machines } = this.#modules;
    const vm = this.#vms.get({ namespace, name });
    const isHere = vm !== undefined && vm.spec.host === this.#options.host;
    for (const { record } of machines.byName(namespace, name)) {
      const current = isHere && vm.metadata.uid === record.uid && vm.metadata.deletionTimestamp === undefined;
      if (!current) await this.#remove(record, vm?.metadata.uid === record.uid ? vm : undefined);
    }
    if (vm === undefined) return undefined;
    if (vm.metadata.deletionTimestamp !== undefined) {
      // Only the host that put the finalizer takes it away; an unbound machine never had one.
      if (isHere && vm.metadata.finalizers?.includes(HOST_FINALIZER) === true) {
        await removeFinalizer(client, "VirtualMachine", vm);
      }
      return undefined;
    }
    if (!isHere || !(await addFinalizer(client, "VirtualMachine", vm))) return undefined;
    return await this.#step(vm);
  }

  async #step(vm: VirtualMachine): Promise<number | undefined> {
    const { machines } = this.#modules;
    const id = shortId(vm.metadata.uid);
    const driver = machines.get(id)?.driver;
    const record = machines.records.get(id);
    const view = this.#view(vm, driver?.change ?? NO_MACHINE, record);
    let plan = planMachine(view);
    let againMs: number | undefined;
    if (this.#draining) plan = { step: "none" };
    if (plan.step === "start") {
      const started = await this.#start(vm, plan.machine);
      if (started !== undefined) {
        plan = started.plan;
        againMs = started.againMs;
      }
    } else if (plan.step !== "none" && plan.step !== "wait" && driver !== undefined) {
      againMs = await this.#carryOut(plan.step, driver, id, view);
    } else if (plan.step === "stop") machines.deactivate(id);
    await this.#released(machines.records.get(id), driver);
    againMs =
      (await this.#applyLive(this.#view(vm, NO_MACHINE, machines.records.get(id)), driver)) ?? againMs;
    const after = machines.get(id)?.driver;
    await this.#show(vm, plan, after, this.#view(vm, after?.change ?? NO_MACHINE, machines.records.get(id)));
    return againMs;
  }

  #view(vm: VirtualMachine, change: MachineChange, record: MachineRecord | undefined): MachineView {
    const namespace = vm.metadata.namespace as string;
    return {
      vm,
      change,
      record,
      boot: this.#options.boot(vm.spec.image),
      port: (name) => this.#ports.get({ namespace, name }),
      network: (name) => this.#networks.get({ namespace, name }),
      volume: (name) => this.#options.volume(namespace, name),
    };
  }

  async #carryOut(
    step: "stop" | "pause" | "resume",
    driver: MachineDriver,
    id: string,
    view: MachineView,
  ): Promise<number | undefined> {
    if (step === "stop") {
      // Not waited for: it may take as long as the guest likes, within its grace.
      this.#inBackground(id, "stop", driver.stop(STOP_GRACE_MS));
      return undefined;
    }
    const refused = DISK_PAUSES.includes(driver.change.reason);
    if (step === "resume" && refused && !this.#isDue(id, DISK_RETRY_MS)) return DISK_RETRY_MS;
    if (step === "resume" && driver.change.reason === "OutOfSpace" && !(await this.#hasRoom(view, id)))
      return DISK_RETRY_MS;
    await (step === "pause" ? driver.pause() : driver.resume());
    return undefined;
  }

  /** Whether the pools of a machine's volumes have room again, so that it does not only run into the same wall. */
  async #hasRoom({ record, volume }: MachineView, id: string): Promise<boolean> {
    const names = new Set(
      (record?.disks ?? []).map((disk) => volume(disk.volume.slice(disk.volume.indexOf("/") + 1))?.spec.pool),
    );
    const pools = (await this.#modules.storage.pools()).filter((pool) => names.has(pool.name));
    return pools.length === 0 || this.#spaceWaits.mayGoOn(id, pools, this.#modules.clock.nowMs());
  }

  /** When to try again, or undefined when all of it is done. */
  async #applyLive(view: MachineView, driver: MachineDriver | undefined): Promise<number | undefined> {
    if (driver?.state !== "running") return undefined;
    try {
      await this.#live.apply(view, driver);
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      this.#modules.log.warn(
        { err: thrown },
        `a running machine keeps what it has: ${describeError(thrown)}`,
      );
      return LIVE_RETRY_MS;
    }
  }

  /** Starts the machine once everything around it is ready; else why it waits and when to look again. */
  async #start(
    vm: VirtualMachine,
    desired: Extract<MachinePlan, { step: "start" }>["machine"],
  ): Promise<{ readonly plan: MachinePlan; readonly againMs?: number } | undefined> {
    const { machines, storage, clock } = this.#modules;
    const wait = (reason: string, message: string, againMs?: number) => ({
      plan: { step: "wait", reason, message } as const,
      ...(againMs === undefined ? {} : { againMs }),
    });
    const accelerator = this.#options.accelerator();
    if (accelerator === undefined)
      return wait("ProbingAccelerator", "waiting for the accelerator to be probed");
    const { namespace, name, uid } = vm.metadata;
    const id = shortId(uid);
    const pauseMs = (this.#failures.get(id)?.notBeforeMs ?? 0) - clock.nowMs();
    if (pauseMs > 0) {
      const why = machines.get(id)?.driver.change.message ?? "";
      return wait("BackOff", `started again in ${Math.ceil(pauseMs / 1000)} s: ${why}`, pauseMs);
    }
    const machine = machines.activate(
      { namespace: namespace as string, name, uid },
      desired,
      accelerator.accelerator,
    );
    const record = machines.records.get(id) as MachineRecord;
    try {
      for (const [index, disk] of desired.disks.entries()) {
        const socket = machine.driver.paths.disk(index);
        await storage.openExport(disk.volume, socket, record.user, `VirtualMachine ${namespace}/${name}`);
        this.#options.onAttachment(disk.volume);
      }
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      if (isStorageAway(thrown)) return wait("StorageUnavailable", "waiting for storaged to answer", 1_000);
      return wait(reasonOf(thrown.code), describeError(thrown), 2_000);
    }
    try {
      if (desired.interfaces.length > 0) await this.#options.syncSwitch();
    } catch (thrown) {
      return wait("SwitchUnavailable", `waiting for the switch: ${describeError(thrown)}`, 1_000);
    }
    const seed = { hostname: name, interfaces: desired.interfaces, userData: desired.userData };
    const spec = machines.spec(record, desired, accelerator.accelerator as Accelerator);
    const start = machine.driver.start(spec, desired.seeded ? seed : undefined);
    this.#inBackground(id, "start", start);
    return undefined;
  }

  /** After a machine has stopped: its ports and exports go. Nobody is waited for who does not answer. */
  async #released(record: MachineRecord | undefined, driver?: MachineDriver): Promise<void> {
    if (record === undefined || !record.active) return;
    const { machines, storage, log } = this.#modules;
    const change = (driver ?? machines.get(record.id)?.driver)?.change ?? NO_MACHINE;
    const wanted = this.#vms.get(record)?.spec.powerState !== "Stopped" && !this.#draining;
    if (change.state !== "stopped" || wanted) return;
    machines.deactivate(record.id);
    const stopped = driver ?? machines.get(record.id)?.driver;
    if (stopped !== undefined) this.#live.forget(stopped, record);
    const paths = stopped?.paths;
    for (const [index, disk] of record.disks.entries()) {
      await storage
        .closeExport(paths?.disk(index) ?? "")
        .catch((thrown: unknown) => log.debug({ err: thrown }, "export stays until storaged answers"));
      this.#options.onAttachment(disk.volume);
    }
    await this.#options
      .syncSwitch()
      .catch((thrown: unknown) => log.debug({ err: thrown }, "ports stay for now"));
  }

  /** Undoes everything of a machine that is deleted, moved, or was made again under its name. */
  async #remove(record: MachineRecord, vm: VirtualMachine | undefined): Promise<void> {
    const { machines, storage, client, log } = this.#modules;
    const paths = machines.get(record.id)?.driver.paths;
    if (vm !== undefined && record.active)
      await writeStatus(client, "VirtualMachine", vm, { phase: "Stopping" });
    const driver = machines.get(record.id)?.driver;
    if (driver !== undefined) await driver.stop(DELETE_GRACE_MS);
    machines.deactivate(record.id);
    for (const [index, disk] of record.disks.entries()) {
      await storage
        .closeExport(paths?.disk(index) ?? "")
        .catch((thrown: unknown) => log.debug({ err: thrown }, "export stays until storaged answers"));
      this.#options.onAttachment(disk.volume);
    }
    await machines.remove(record.id, 0);
    this.#failures.delete(record.id);
    this.#startedMs.delete(record.id);
    for (const disk of record.disks) this.#options.onAttachment(disk.volume);
    await this.#options
      .syncSwitch()
      .catch((thrown: unknown) => log.debug({ err: thrown }, "ports stay for now"));
    if (vm !== undefined) {
      await client.recordEvent(vm, {
        reason: "Removed",
        message: `nothing of it is left on ${this.#options.host}`,
      });
    }
  }

  async #show(
    vm: VirtualMachine,
    plan: MachinePlan,
    driver: MachineDriver | undefined,
    view: MachineView,
  ): Promise<void> {
    const { change } = view;
    const isOn = change.state === "running" || change.state === "paused";
    const fields = {
      phase: phaseOf(change, plan),
      host: this.#options.host,
      ...(view.record?.accelerator === undefined ? {} : { accelerator: view.record.accelerator }),
      observedGeneration: vm.metadata.generation,
    };
    const verdicts: Verdict[] = [readiness(plan, change)];
    if (isOn && driver !== undefined) {
      verdicts.push(this.#isolation(), limitVerdict(driver, vm), restartVerdict(needsRestart(view)));
    }
    const before = vm.status?.conditions?.find(({ type }) => type === "Ready");
    await writeStatus(this.#modules.client, "VirtualMachine", vm, fields, verdicts);
    const news = verdicts[0] as Verdict;
    if (
      plan.step === "wait" &&
      !isDeepStrictEqual([before?.reason, before?.message], [news.reason, news.message])
    ) {
      await this.#modules.client.recordEvent(vm, { reason: plan.reason, message: plan.message });
    }
  }

  #isolation(): Verdict {
    return this.#modules.machines.isolated
      ? { type: "Isolated", status: "True", reason: "OwnUser", message: "QEMU runs under a user of its own" }
      : {
          type: "Isolated",
          status: "False",
          reason: "Unprivileged",
          message: "without root all machines run under one user: isolation between them is weaker",
        };
  }

  #countFailure(id: string): void {
    const { clock } = this.#modules;
    const nowMs = clock.nowMs();
    const ranMs = nowMs - (this.#startedMs.get(id) ?? nowMs);
    // The first death after a good run is followed by a start at once.
    const count = ranMs > RESTART_MS_MAX ? 0 : (this.#failures.get(id)?.count ?? 0) + 1;
    const pauseMs = count <= 1 ? 0 : Math.min(RESTART_MS_MIN * 2 ** (count - 1), RESTART_MS_MAX);
    this.#failures.set(id, { count, notBeforeMs: nowMs + pauseMs });
  }

  #isDue(id: string, intervalMs: number): boolean {
    const nowMs = this.#modules.clock.nowMs();
    if (nowMs - (this.#startedMs.get(id) ?? 0) < intervalMs) return false;
    this.#startedMs.set(id, nowMs);
    return true;
  }

  #inBackground(id: string, what: string, work: Promise<void>): void {
    work.catch((thrown: unknown) =>
      this.#modules.log.warn({ err: thrown, machine: id }, `${what}: ${describeError(thrown)}`),
    );
  }
}

function readiness(plan: MachinePlan, change: MachineChange): Verdict {
  if (change.state === "running") return { type: "Ready", status: "True", reason: "Running", message: "" };
  if (plan.step === "wait")
    return { type: "Ready", status: "False", reason: plan.reason, message: plan.message };
  const reason = change.reason === "New" ? "Stopped" : change.reason;
  return { type: "Ready", status: "False", reason, message: change.message };
}

function limitVerdict(driver: MachineDriver, vm: VirtualMachine): Verdict {
  const before = vm.status?.conditions?.find(({ type }) => type === "ResourceLimitsEnforced");
  const { enforced, message } = driver.limits;
  // An adopted machine keeps the verdict of its start.
  if (driver.change.reason === "Adopted" && before !== undefined) {
    const { type, status, reason = "", message: words = "" } = before;
    return { type, status, reason, message: words };
  }
  const type = "ResourceLimitsEnforced";
  return enforced
    ? { type, status: "True", reason: "ControlGroup", message }
    : { type, status: "False", reason: "NoControlGroup", message };
}

function restartVerdict(required: boolean): Verdict {
  const type = "RestartRequired";
  return required
    ? {
        type,
        status: "True",
        reason: "SpecChanged",
        message: "the change takes effect when the machine is stopped and started",
      }
    : { type, status: "False", reason: "UpToDate", message: "" };
}
