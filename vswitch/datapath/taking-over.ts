// The successor of a switch that still forwards. Its tables hold what that one keeps in its files, and its ports are known
// but not opened; when it takes over, only what has come since is missing.
// Invariant: nothing of the other one is written to, and no port opened, before finish(). Thread: datapath worker,
// between breaths.
import { describeError, PlinthError } from "../../base/errors/index.js";
import { beforeOthers, closeFile } from "../../base/linux/index.js";
import type { HandedPort } from "../../base/packet/index.js";
import type { Datapath } from "./datapath.js";
import { HandOverListener } from "./hand-over.js";
import { decodeHandedSwitch, type HandedSlot, type HandedSwitch } from "./handed-switch.js";
import { monotonicMs } from "./leaving.js";
import type {
  AddPort,
  FailedPort,
  Followed,
  RestoredConnections,
  RestoredFlows,
  TakenOver,
} from "./requests.js";
import type { BridgeSettings, PortSettings } from "./settings.js";

export interface TakingOverModules {
  readonly datapath: Datapath;
  readonly kindOf: (body: AddPort) => string;
  /** Opens the port; when it was handed over, with its descriptors, which are its own from then on. */
  readonly addPort: (body: AddPort, handed: HandedPort | undefined) => void;
  readonly restoreConnections: () => RestoredConnections;
  /** So that restoreConnections() takes less time. */
  readonly rehearseConnections: () => void;
}

interface Wanted {
  readonly flowFile: string | undefined;
  settings: BridgeSettings;
}

export class TakingOver {
  readonly #modules: TakingOverModules;
  readonly #listener: HandOverListener;
  /** Of the bridges that are followed, the file. */
  readonly #files = new Map<string, string>();
  /** Bridges that are to be ours. */
  readonly #wanted = new Map<string, Wanted>();
  #ports: AddPort[] = [];

  /** Follows what `followed` has, and listens for it. Throws with the errno's name. */
  constructor({ bridges, socket }: Followed, modules: TakingOverModules, nowMs: number) {
    this.#modules = modules;
    this.#listener = new HandOverListener(socket);
    for (const { name, flowFile } of bridges) this.#follow(name, flowFile, nowMs);
  }

  #follow(name: string, flowFile: string, nowMs: number): void {
    this.#modules.datapath.addBridge(name).followFlows(flowFile, nowMs);
    this.#files.set(name, flowFile);
  }

  addBridge(
    name: string,
    flowFile: string | undefined,
    settings: BridgeSettings,
    nowMs: number,
  ): RestoredFlows {
    const { datapath } = this.#modules;
    if (this.#files.has(name) && this.#files.get(name) !== flowFile) {
      datapath.removeBridge(name);
      this.#files.delete(name);
    }
    // What it was may have changed since, and even stand in another file.
    if (this.#files.has(name) && datapath.bridge(name).news.keeper?.followOn(nowMs) !== true) {
      datapath.removeBridge(name);
      this.#files.delete(name);
    }
    // Of a bridge that was made meanwhile the other one may still write the file.
    if (!this.#files.has(name))
      if (flowFile === undefined) datapath.addBridge(name);
      else this.#follow(name, flowFile, nowMs);
    const bridge = datapath.bridge(name);
    bridge.setBridge(settings);
    this.#wanted.set(name, { flowFile, settings });
    return { flows: bridge.tables.flowCount, note: bridge.news.keeper?.note ?? 0 };
  }

  setBridge(name: string, settings: BridgeSettings): void {
    const wanted = this.#wanted.get(name);
    if (wanted !== undefined) wanted.settings = settings;
  }

  removeBridge(name: string): void {
    this.#wanted.delete(name);
    this.#files.delete(name);
    this.#ports = this.#ports.filter(({ bridge }) => bridge !== name);
  }

  addPort(body: AddPort): void {
    this.removePort(body.bridge, body.spec.name);
    this.#ports.push(body);
  }

  setPort(bridge: string, name: string, settings: PortSettings): void {
    this.#ports = this.#ports.map((one) =>
      one.bridge === bridge && one.spec.name === name ? { ...one, ...settings } : one,
    );
  }

  removePort(bridge: string, name: string): void {
    this.#ports = this.#ports.filter((one) => one.bridge !== bridge || one.spec.name !== name);
  }

  /** The other one stops, and everything that it had is ours. It may have died: then the ports are opened anew. */
  finish(nowMs: number): TakenOver {
    // What can be done before the other one stops need not be done after.
    this.#modules.rehearseConnections();
    for (const name of this.#wanted.keys()) this.#modules.datapath.bridge(name).news.keeper?.rehearse(nowMs);
    return beforeOthers(() => this.#finish(nowMs));
  }

  #finish(nowMs: number): TakenOver {
    const beganMs = monotonicMs();
    const handed = this.#receive();
    const receivedMs = monotonicMs();
    try {
      const { connections, problem } = this.#modules.restoreConnections();
      const problems = problem === undefined ? [] : [`connections will not outlive the switch: ${problem}`];
      for (const [name, wanted] of this.#wanted) problems.push(...this.#keepFlows(name, wanted, nowMs));
      for (const name of this.#files.keys())
        if (!this.#wanted.has(name)) this.#modules.datapath.removeBridge(name);
      const keptMs = monotonicMs();
      const failed = this.#openPorts(handed);
      this.#learn(handed, nowMs);
      const endedMs = monotonicMs();
      const gapMs = handed === undefined ? undefined : endedMs - handed.pausedAtMs;
      const stagesMs = {
        asking: receivedMs - beganMs,
        flowsAndConnections: keptMs - receivedMs,
        ports: endedMs - keptMs,
      };
      const ports = this.#ports.length - failed.length;
      return { connections, problems, failed, ports, handedPorts: this.#handedPorts, gapMs, stagesMs };
    } finally {
      this.#closeUnused();
      this.#listener.close();
    }
  }

  close(): void {
    this.#listener.close();
  }

  /** Descriptors that are nobody's yet. */
  readonly #unused = new Set<number>();
  #handedPorts = 0;

  #receive(): HandedSwitch | undefined {
    const parcel = this.#listener.take();
    if (parcel === undefined) return undefined;
    for (const fd of parcel.fds) this.#unused.add(fd);
    try {
      return decodeHandedSwitch(parcel);
    } catch (thrown) {
      if (thrown instanceof PlinthError) return undefined;
      throw thrown;
    }
  }

  #closeUnused(): void {
    for (const fd of this.#unused) closeFile(fd);
    this.#unused.clear();
  }

  /** Returns what there is to complain of. */
  #keepFlows(name: string, { flowFile, settings }: Wanted, nowMs: number): string[] {
    if (flowFile === undefined) return [];
    const { datapath } = this.#modules;
    let restored = datapath.bridge(name).keepFlows(flowFile, nowMs);
    if (restored === undefined) {
      // The file that was followed has become another.
      datapath.removeBridge(name);
      const bridge = datapath.addBridge(name);
      restored = bridge.keepFlows(flowFile, nowMs);
      bridge.setBridge(settings);
    }
    return restored?.problem === undefined
      ? []
      : [`flows of ${name} will not outlive the switch: ${restored.problem}`];
  }

  #openPorts(handed: HandedSwitch | undefined): FailedPort[] {
    const failed: FailedPort[] = [];
    for (const body of this.#ports) {
      const { bridge, spec } = body;
      const slot = handed?.bridges
        .find((one) => one.name === bridge)
        ?.ports.find((one) => one.name === spec.name);
      try {
        this.#openPort(body, slot?.kind === this.#modules.kindOf(body) ? slot : undefined);
      } catch (thrown) {
        if (!(thrown instanceof PlinthError)) throw thrown;
        failed.push({ bridge, name: spec.name, message: describeError(thrown) });
      }
    }
    return failed;
  }

  #openPort(body: AddPort, slot: HandedSlot | undefined): void {
    const given = slot?.handed;
    for (const fd of given?.fds ?? []) this.#unused.delete(fd);
    this.#modules.addPort(body, given);
    if (slot === undefined) return;
    if (given !== undefined) this.#handedPorts++;
    const { port } =
      this.#modules.datapath.bridge(body.bridge).slots.find((one) => one.port.name === slot.name) ?? {};
    if (port === undefined) return;
    for (const [i, count] of slot.stats.entries()) port.stats[i] = port.stats[i]! + count;
  }

  #learn(handed: HandedSwitch | undefined, nowMs: number): void {
    for (const { name, stations } of handed?.bridges ?? []) {
      if (!this.#wanted.has(name)) continue;
      const { forwarding, slots } = this.#modules.datapath.bridge(name);
      const numbers = new Set(slots.map(({ ofport }) => ofport));
      forwarding.macs.recall(
        stations.filter(({ port }) => numbers.has(port)),
        nowMs,
      );
    }
  }
}
