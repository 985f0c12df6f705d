// How bridges and their ports are. The datapath is asked only when a port may have changed, when counters are wanted, or
// while a link is down whose reason may change without notice: an idle switch is not woken to say that all is as it was.
// Invariant: what is told without asking is what the answer would be, but for counters. Thread: main.
import { IFF_UP, NetDevices } from "../../base/linux/index.js";
import { formatMac } from "../../base/wire/index.js";
import type { DatapathHandle, PortState } from "../datapath/index.js";
import type { BridgeStatus, ControllerStatus, NumberedPort, PortStatus } from "./model.js";

/** What is known of a bridge without asking the datapath. */
export interface ReadBridge {
  readonly ports: ReadonlyMap<string, NumberedPort>;
  readonly controllers: readonly ControllerStatus[];
}

export interface StatusReaderOptions {
  readonly datapath: Pick<DatapathHandle, "call" | "onEvent">;
  /** Whether the port stands over a network device of this host. */
  readonly hasDevice: (port: NumberedPort) => boolean;
}

/** By name of bridge. */
export type Statuses = ReadonlyMap<string, BridgeStatus>;

interface Known {
  /** A port may have changed since the datapath was last asked. */
  isStale: boolean;
  status: BridgeStatus | undefined;
  /** What is not the datapath's to tell, as it was in `status`. */
  beside: string;
  readonly unsubscribe: () => void;
}

type DeviceFacts = Pick<PortStatus, "adminUp" | "ifindex" | "mtu" | "macAddress">;

export class StatusReader {
  readonly #options: StatusReaderOptions;
  readonly #known = new Map<string, Known>();

  constructor(options: StatusReaderOptions) {
    this.#options = options;
  }

  /**
   * With `counters`, statistics are of now. Without, they may be older, and the very object of the last time is told
   * again while nothing has changed. Rejects with BRIDGE_UNKNOWN.
   */
  async read(name: string, bridge: ReadBridge, counters: boolean): Promise<BridgeStatus> {
    const { datapath } = this.#options;
    const { ports, controllers } = bridge;
    const known = this.#known.get(name) ?? this.#follow(name);
    const before = known.status;
    const devices = this.#readDevices(ports);
    const beside = JSON.stringify([controllers, [...devices]]);
    const isTold = before !== undefined && !known.isStale && !mayChangeSilently(before, ports);
    if (!counters && isTold && known.beside === beside) return before;
    // Before the question: what changes after the answer is told after it.
    known.isStale = false;
    try {
      // Asked together, so that the datapath is woken once.
      const [states, mirrors] = await Promise.all([
        datapath.call("portStates", { bridge: name }),
        counters ? datapath.call("mirrorStats", { bridge: name }) : (before?.mirrors ?? []),
      ]);
      const statuses = states.map((state): [string, PortStatus] => [
        state.name,
        statusOf(state, ports.get(state.name), devices.get(state.name)),
      ]);
      known.status = { ports: new Map(statuses), controllers, mirrors };
      known.beside = beside;
      return known.status;
    } catch (thrown) {
      known.isStale = true;
      throw thrown;
    }
  }

  /** The bridge is about to go. */
  forget(name: string): void {
    this.#known.get(name)?.unsubscribe();
    this.#known.delete(name);
  }

  #follow(name: string): Known {
    const known: Known = {
      isStale: true,
      status: undefined,
      beside: "",
      unsubscribe: this.#options.datapath.onEvent(name, ({ type }) => {
        if (type === "port_status") known.isStale = true;
      }),
    };
    this.#known.set(name, known);
    return known;
  }

  /** What the host tells about the devices of ports, of those that are there. */
  #readDevices(ports: ReadonlyMap<string, NumberedPort>): ReadonlyMap<string, DeviceFacts> {
    const facts = new Map<string, DeviceFacts>();
    let devices: NetDevices | undefined;
    try {
      for (const [name, port] of ports) {
        if (!this.#options.hasDevice(port)) continue;
        devices ??= new NetDevices();
        const device = devices.read(name);
        if (device === undefined) continue;
        const { flags, index, mtu, mac } = device;
        facts.set(name, {
          ...{ adminUp: (flags & IFF_UP) !== 0, ifindex: index, mtu },
          macAddress: formatMac(mac),
        });
      }
    } finally {
      devices?.close();
    }
    return facts;
  }
}

/** Whether each bridge tells exactly what it told before. */
export function isSameStatus(statuses: Statuses, before: Statuses | undefined): boolean {
  if (statuses.size !== before?.size) return false;
  for (const [name, status] of statuses) if (before.get(name) !== status) return false;
  return true;
}

/** Why a link is down may change while it is; an internal port without a device has but one reason. */
function mayChangeSilently(status: BridgeStatus, ports: ReadonlyMap<string, NumberedPort>): boolean {
  for (const [name, { linkUp }] of status.ports)
    if (!linkUp && ports.get(name)?.type !== "internal") return true;
  return false;
}

function statusOf(
  state: PortState,
  port: NumberedPort | undefined,
  device: DeviceFacts | undefined,
): PortStatus {
  const { adminUp, linkUp, mtu, statistics, lastError } = state;
  const isPatch = port?.type === "patch";
  const facts = {
    // Ports between bridges, and those of tests, have nobody that drives them.
    ...(isPatch || port?.isDummy === true ? {} : { driver_name: port?.type ?? "" }),
    ...(lastError === undefined ? {} : { reason: lastError }),
  };
  return {
    ...{ linkUp, mtu: isPatch ? undefined : mtu, statistics, facts },
    ...device,
    adminUp: adminUp && device?.adminUp !== false,
  };
}
