// A datapath with one bridge and memory ports in this thread, for tests of what comes out where.
import {
  type Action,
  type FlowMod,
  type Instruction,
  type Match,
  OFP_NO_BUFFER,
  OFPG_ANY,
  OFPP_ANY,
  OXM_FIELDS,
  type OxmEntry,
  type OxmFieldName,
} from "../../base/openflow/index.js";
import { MemoryPort, PacketPool } from "../../base/packet/index.js";
import { type Bridge, type BridgeEvent, Datapath } from "../datapath/index.js";
import type { VlanConfig } from "../learn/index.js";

export class Rig {
  readonly pool: PacketPool;
  readonly datapath: Datapath;
  readonly bridge: Bridge;
  readonly ports: MemoryPort[] = [];
  nowMs = 1000;
  events: BridgeEvent[] = [];

  constructor(
    ports: number,
    options: { readonly slots?: number; readonly vlans?: readonly VlanConfig[] } = {},
  ) {
    this.pool = new PacketPool({ slots: options.slots ?? 256 });
    this.datapath = new Datapath({
      pool: this.pool,
      connectionsMax: 1024,
      // Some properties make thousands of rigs, and what takes longest is to make room for what is remembered.
      pathCacheEntries: 512,
      onEvents: (_, events) => this.events.push(...events),
    });
    this.bridge = this.datapath.addBridge("br0");
    for (let n = 1; n <= ports; n++) {
      const port = new MemoryPort({ name: `p${n}`, pool: this.pool });
      const vlan = options.vlans?.[n - 1];
      this.bridge.addPort({
        port,
        ofport: n,
        mac: Uint8Array.of(2, 0, 0, 0, 0, n),
        mtu: 1500,
        nowMs: this.nowMs,
        ...(vlan === undefined ? {} : { settings: { vlan } }),
      });
      this.ports.push(port);
    }
    this.datapath.breathe(this.nowMs);
    this.events = [];
  }

  flow(mod: Partial<FlowMod>): void {
    this.bridge.change(flowMod(mod), this.nowMs);
  }

  /** Injects at port `port` (1-based) and gives what left, by port number. */
  send(port: number, ...frames: readonly Uint8Array[]): Map<number, Uint8Array[]> {
    for (const frame of frames) (this.ports[port - 1] as MemoryPort).inject(frame);
    while (this.datapath.breathe(this.nowMs) > 0);
    const out = new Map<number, Uint8Array[]>();
    this.ports.forEach((each, index) => {
      const sent = each.takeSent();
      if (sent.length > 0) out.set(index + 1, sent);
    });
    return out;
  }

  /** Numbers of the ports that a frame from `port` leaves by. */
  where(port: number, frame: Uint8Array): number[] {
    return [...this.send(port, frame).keys()];
  }
}

export function flowMod(mod: Partial<FlowMod>): FlowMod {
  return {
    type: "flow_mod",
    xid: 1,
    command: "add",
    tableId: 0,
    cookie: 0n,
    cookieMask: 0n,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    priority: 100,
    bufferId: OFP_NO_BUFFER,
    outPort: OFPP_ANY,
    outGroup: OFPG_ANY,
    flags: 0,
    match: [],
    instructions: [],
    ...mod,
  };
}

/** One field of a match from a number. */
export function field(name: OxmFieldName, value: number | bigint, mask?: number | bigint): OxmEntry {
  const { size } = OXM_FIELDS[name];
  const bytes = (number: number | bigint): Uint8Array =>
    Uint8Array.from({ length: size }, (_, i) =>
      Number((BigInt(number) >> BigInt(8 * (size - 1 - i))) & 255n),
    );
  return mask === undefined
    ? { field: name, value: bytes(value) }
    : { field: name, value: bytes(BigInt(value) & BigInt(mask)), mask: bytes(mask) };
}

export const match = (...entries: readonly OxmEntry[]): Match => entries;
export const output = (port: number): Action => ({ type: "output", port, maxLength: 0xffff });
export const apply = (...actions: readonly Action[]): Instruction => ({ type: "apply_actions", actions });
export const write = (...actions: readonly Action[]): Instruction => ({ type: "write_actions", actions });
export const goto = (tableId: number): Instruction => ({ type: "goto_table", tableId });

/** The code of the error with which `run` is refused, or "accepted". */
export function codeOf(run: () => void): string {
  try {
    run();
    return "accepted";
  } catch (thrown) {
    return (thrown as { code: string }).code;
  }
}
