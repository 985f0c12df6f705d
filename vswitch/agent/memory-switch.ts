// A switch model of values in memory, without a datapath: linear scans, no packets forwarded. For tests of the agent
// and of controllers, and a readable statement of what the flow tables must do (OpenFlow 1.3.5, 6.4 and 7.3.4.1).

import {
  type Action,
  type AggregateStats,
  type FlowMod,
  type FlowRemovedReason,
  type FlowStats,
  type FlowStatsFilter,
  type GroupDescription,
  type GroupFeatures,
  type GroupMod,
  type GroupStats,
  type Instruction,
  type Match,
  type MeterConfig,
  type MeterFeatures,
  type MeterStats,
  OFPCML_NO_BUFFER,
  OFPFF_CHECK_OVERLAP,
  OFPFF_SEND_FLOW_REM,
  OFPG_ALL,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPTT_ALL,
  type OfpErrorName,
  OXM_FIELDS,
  type OxmEntry,
  type PacketOut,
  type PacketQueue,
  type PortDescription,
  type PortStats,
  parseMessage,
  type QueueStats,
  type TableFeatures,
  type TableStats,
  WireError,
} from "../../base/openflow/index.js";
import type { ConnectionFilter } from "../conntrack/index.js";
import { TunnelOptions } from "../flow/index.js";
import { describeGroups, describeTables, NO_METERS } from "./capabilities.js";
import type {
  AtomicRefusal,
  ChangeRefusal,
  EncodedFlowMod,
  SwitchChange,
  SwitchEvent,
  SwitchModel,
} from "./switch-model.js";

const TABLE_COUNT = 254;
const FIELDS = [
  "in_port",
  "eth_dst",
  "eth_src",
  "eth_type",
  "vlan_vid",
  "ip_proto",
  "ipv4_src",
  "ipv4_dst",
] as const;

class Refused extends Error {
  readonly error: OfpErrorName;
  constructor(error: OfpErrorName) {
    super(error);
    this.error = error;
  }
}

export class MemorySwitch implements SwitchModel {
  readonly datapathId = 0x0000_0200_0000_0001n;
  readonly description = {
    manufacturer: "Plinth",
    hardware: "memory",
    software: "test",
    serialNumber: "None",
    datapath: "memory",
  };
  readonly groupFeatures: GroupFeatures = describeGroups({
    types: ["all", "indirect"],
    maxGroups: 1000,
    actions: ["output", "group"],
    canChain: true,
  });
  readonly meterFeatures: MeterFeatures = NO_METERS;
  readonly tablesAtMost: readonly TableFeatures[] = describeTables({
    tableCount: TABLE_COUNT,
    maxEntries: 1_000_000,
    matchFields: FIELDS,
    setFields: ["eth_dst", "eth_src"],
    actions: ["output", "group", "set_field"],
    instructions: ["apply_actions", "write_actions", "clear_actions", "goto_table", "write_metadata"],
  });

  tableFeatures = this.tablesAtMost;

  async configureTables(tables: readonly TableFeatures[]): Promise<void> {
    this.tableFeatures = tables;
  }

  readonly packetOuts: PacketOut[] = [];
  /** While set, changes and barriers wait for it: a slow datapath. */
  gate: Promise<void> = Promise.resolve();
  fragmentHandling = 0;
  flows: FlowStats[] = [];
  groups: GroupDescription[] = [];
  portList: PortDescription[] = [];
  /** While a bundle is being applied: what is told when it succeeded. */
  #held: SwitchEvent[] | undefined;
  readonly #listeners = new Set<(event: SwitchEvent) => void>();

  get flowCount(): number {
    return this.flows.length;
  }

  onEvent(listener: (event: SwitchEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: SwitchEvent): void {
    if (this.#held !== undefined) this.#held.push(event);
    else for (const listener of this.#listeners) listener(event);
  }

  async change(
    changes: readonly (SwitchChange | EncodedFlowMod)[],
  ): Promise<readonly (ChangeRefusal | undefined)[]> {
    await this.gate;
    return changes.map((change) => {
      try {
        const isEncoded = change.type === "encoded_flow_mod";
        this.#apply(isEncoded ? (parseMessage(change.bytes, change.dialect) as FlowMod) : change);
        return undefined;
      } catch (thrown) {
        if (thrown instanceof Refused || thrown instanceof WireError)
          return { error: thrown.error, message: thrown.message };
        throw thrown;
      }
    });
  }

  async changeAtomically(changes: readonly SwitchChange[]): Promise<AtomicRefusal | undefined> {
    await this.gate;
    const before = { flows: this.flows, groups: this.groups, packetOuts: this.packetOuts.length };
    const held: SwitchEvent[] = [];
    this.#held = held;
    for (const [index, change] of changes.entries()) {
      try {
        this.#apply(change);
      } catch (thrown) {
        if (!(thrown instanceof Refused)) throw thrown;
        this.#held = undefined;
        this.flows = before.flows;
        this.groups = before.groups;
        this.packetOuts.length = before.packetOuts;
        return { index, error: thrown.error, message: thrown.message };
      }
    }
    this.#held = undefined;
    for (const event of held) this.emit(event);
    return undefined;
  }

  /** Nobody can watch: tests of monitors use a real datapath. */
  async watchFlows(): Promise<void> {}

  /** No packet is ever looked up. */
  async tellMisses(_isWanted: boolean): Promise<void> {}

  /** What flushConnections() was told. */
  readonly flushes: ConnectionFilter[] = [];

  async flushConnections(filter: ConnectionFilter): Promise<void> {
    this.flushes.push(filter);
  }

  readonly #options = new TunnelOptions();

  async changeTunnelOptions(mod: Uint8Array): Promise<OfpErrorName | undefined> {
    return this.#options.change(mod, () => false);
  }

  async tunnelOptions(): Promise<Uint8Array> {
    return this.#options.describe();
  }

  async barrier(): Promise<void> {
    await this.gate;
  }

  async handleFragments(flags: number): Promise<void> {
    this.fragmentHandling = flags;
  }

  async flowStats(filter: FlowStatsFilter): Promise<readonly FlowStats[]> {
    await this.gate;
    return this.flows.filter((flow) => isSelected(flow, filter));
  }

  async aggregateStats(filter: FlowStatsFilter): Promise<AggregateStats> {
    const flows = await this.flowStats(filter);
    return { packetCount: 0n, byteCount: 0n, flowCount: flows.length };
  }

  async tableStats(): Promise<readonly TableStats[]> {
    return Array.from({ length: TABLE_COUNT }, (_, tableId) => ({
      tableId,
      activeCount: this.flows.filter((flow) => flow.tableId === tableId).length,
      lookupCount: 0n,
      matchedCount: 0n,
    }));
  }

  async ports(): Promise<readonly PortDescription[]> {
    return this.portList;
  }

  async portStats(): Promise<readonly PortStats[]> {
    return this.portList.map(({ port }) => ({
      port,
      rxPackets: 1n,
      txPackets: 2n,
      rxBytes: 3n,
      txBytes: 4n,
      rxDropped: 0n,
      txDropped: 0n,
      rxErrors: 0n,
      txErrors: 0n,
      rxFrameErrors: 0n,
      rxOverErrors: 0n,
      rxCrcErrors: 0n,
      collisions: 0n,
      durationSeconds: 1,
      durationNanoseconds: 0,
    }));
  }

  async groupStats(): Promise<readonly GroupStats[]> {
    return this.groups.map((group) => ({
      groupId: group.groupId,
      referenceCount: 0,
      packetCount: 0n,
      byteCount: 0n,
      durationSeconds: 0,
      durationNanoseconds: 0,
      buckets: group.buckets.map(() => ({ packetCount: 0n, byteCount: 0n })),
    }));
  }

  async groupDescriptions(): Promise<readonly GroupDescription[]> {
    await this.gate;
    return this.groups;
  }

  async meterStats(): Promise<readonly MeterStats[]> {
    return [];
  }

  async meterConfigs(): Promise<readonly MeterConfig[]> {
    return [];
  }

  async queueStats(): Promise<readonly QueueStats[]> {
    return [];
  }

  async queues(): Promise<readonly PacketQueue[]> {
    return [];
  }

  #apply(change: SwitchChange): void {
    switch (change.type) {
      case "flow_mod":
        this.#flowMod(change);
        return;
      case "group_mod":
        this.#groupMod(change);
        return;
      case "packet_out":
        this.#packetOut(change);
        return;
      case "meter_mod":
        throw new Refused("OFPMMFC_OUT_OF_METERS");
      case "port_mod":
        throw new Refused("OFPPMFC_BAD_PORT");
      case "resume":
        throw new Refused("NXR_NOT_SUPPORTED");
    }
  }

  #flowMod(mod: FlowMod): void {
    const isDelete = mod.command === "delete" || mod.command === "delete_strict";
    if (mod.tableId === OFPTT_ALL ? !isDelete : mod.tableId >= TABLE_COUNT)
      throw new Refused("OFPFMFC_BAD_TABLE_ID");
    if (!isDelete) checkInstructions(mod);
    if (mod.command === "add") {
      this.#add(mod);
    } else if (isDelete) {
      const gone = this.flows.filter((flow) => isTarget(flow, mod));
      this.flows = this.flows.filter((flow) => !gone.includes(flow));
      for (const flow of gone) this.#removed(flow, "delete");
    } else {
      const { instructions } = mod;
      this.flows = this.flows.map((flow) => (isTarget(flow, mod) ? { ...flow, instructions } : flow));
    }
  }

  #add(mod: FlowMod): void {
    const rivals = this.flows.filter(
      (flow) => flow.tableId === mod.tableId && flow.priority === mod.priority,
    );
    const same = rivals.find((flow) => isSameMatch(flow.match, mod.match));
    const overlaps = rivals.some((flow) => overlap(flow.match, mod.match));
    if ((mod.flags & OFPFF_CHECK_OVERLAP) !== 0 && overlaps) throw new Refused("OFPFMFC_OVERLAP");
    const added: FlowStats = {
      tableId: mod.tableId,
      durationSeconds: 0,
      durationNanoseconds: 0,
      priority: mod.priority,
      idleTimeoutSeconds: mod.idleTimeoutSeconds,
      hardTimeoutSeconds: mod.hardTimeoutSeconds,
      flags: mod.flags,
      cookie: mod.cookie,
      packetCount: 0n,
      byteCount: 0n,
      match: mod.match,
      instructions: mod.instructions,
    };
    this.flows = [...this.flows.filter((flow) => flow !== same), added];
  }

  #removed(flow: FlowStats, reason: FlowRemovedReason): void {
    if ((flow.flags & OFPFF_SEND_FLOW_REM) === 0) return;
    const { flags: _flags, instructions: _instructions, ...rest } = flow;
    this.emit({ type: "flow_removed", reason, ...rest });
  }

  #groupMod(mod: GroupMod): void {
    const { groupId, groupType, buckets } = mod;
    const exists = this.groups.some((group) => group.groupId === groupId);
    if (mod.command === "delete") {
      this.groups = groupId === OFPG_ALL ? [] : this.groups.filter((group) => group.groupId !== groupId);
      this.flows = this.flows.filter(
        (flow) => !actionsOf(flow.instructions).some((action) => isGroup(action, groupId)),
      );
      return;
    }
    if (mod.command === "add" && exists) throw new Refused("OFPGMFC_GROUP_EXISTS");
    if (mod.command === "modify" && !exists) throw new Refused("OFPGMFC_UNKNOWN_GROUP");
    if (groupType === "indirect" && buckets.length !== 1) throw new Refused("OFPGMFC_INVALID_GROUP");
    this.groups = [
      ...this.groups.filter((group) => group.groupId !== groupId),
      { groupId, groupType, buckets },
    ];
  }

  /** A packet-out to the controller comes back as a packet-in; everything else is only kept. */
  #packetOut(message: PacketOut): void {
    this.packetOuts.push(message);
    for (const action of message.actions) {
      if (action.type !== "output" || action.port !== OFPP_CONTROLLER) continue;
      const value = new Uint8Array(4);
      new DataView(value.buffer).setUint32(0, message.inPort);
      this.emit({
        type: "packet_in",
        bufferId: 0xffffffff,
        totalLength: message.data.byteLength,
        reason: "action",
        tableId: 0,
        cookie: 0xffffffffffffffffn,
        match: [{ field: "in_port", value }],
        data: message.data,
        maxLength: OFPCML_NO_BUFFER,
        controllerId: 0,
      });
    }
  }
}

function checkInstructions(mod: FlowMod): void {
  for (const instruction of mod.instructions) {
    if (instruction.type === "goto_table" && instruction.tableId <= mod.tableId) {
      throw new Refused("OFPBIC_BAD_TABLE_ID");
    }
  }
}

// --- Which flows a message means

function isTarget(flow: FlowStats, mod: FlowMod): boolean {
  const isStrict = mod.command === "modify_strict" || mod.command === "delete_strict";
  if (isStrict && (flow.priority !== mod.priority || !isSameMatch(flow.match, mod.match))) return false;
  const isDelete = mod.command === "delete" || mod.command === "delete_strict";
  const { outPort, outGroup } = isDelete ? mod : { outPort: OFPP_ANY, outGroup: OFPG_ANY };
  return isSelected(flow, { ...mod, outPort, outGroup });
}

/** The non-strict rule: the flow is at least as specific as the filter. */
function isSelected(flow: FlowStats, filter: FlowStatsFilter): boolean {
  if (filter.tableId !== OFPTT_ALL && filter.tableId !== flow.tableId) return false;
  if (((flow.cookie ^ filter.cookie) & filter.cookieMask) !== 0n) return false;
  const actions = actionsOf(flow.instructions);
  if (filter.outPort !== OFPP_ANY && !actions.some((action) => isOutput(action, filter.outPort)))
    return false;
  if (filter.outGroup !== OFPG_ANY && !actions.some((action) => isGroup(action, filter.outGroup)))
    return false;
  return filter.match.every((entry) => {
    const other = flow.match.find(({ field }) => field === entry.field);
    return other !== undefined && covers(entry, other);
  });
}

function actionsOf(instructions: readonly Instruction[]): readonly Action[] {
  return instructions.flatMap((instruction) => ("actions" in instruction ? instruction.actions : []));
}

const isOutput = (action: Action, port: number): boolean => action.type === "output" && action.port === port;
const isGroup = (action: Action, groupId: number): boolean =>
  action.type === "group" && (groupId === OFPG_ALL || action.groupId === groupId);

function bytesOf(entry: OxmEntry): readonly (readonly [value: number, mask: number])[] {
  const { size } = OXM_FIELDS[entry.field];
  return Array.from({ length: size }, (_, i) => [entry.value[i] ?? 0, entry.mask?.[i] ?? 0xff]);
}

/** Everything that `narrow` matches, `wide` matches too. */
function covers(wide: OxmEntry, narrow: OxmEntry): boolean {
  const others = bytesOf(narrow);
  return bytesOf(wide).every(([value, mask], i) => {
    const [otherValue, otherMask] = others[i] as readonly [number, number];
    return (mask & ~otherMask) === 0 && ((value ^ otherValue) & mask) === 0;
  });
}

function isSameMatch(a: Match, b: Match): boolean {
  return (
    a.length === b.length &&
    a.every((entry) => {
      const other = b.find(({ field }) => field === entry.field);
      return other !== undefined && covers(entry, other) && covers(other, entry);
    })
  );
}

/** Some packet could match both. */
function overlap(a: Match, b: Match): boolean {
  return a.every((entry) => {
    const other = b.find(({ field }) => field === entry.field);
    if (other === undefined) return true;
    const others = bytesOf(other);
    return bytesOf(entry).every(([value, mask], i) => {
      const [otherValue, otherMask] = others[i] as readonly [number, number];
      return ((value ^ otherValue) & mask & otherMask) === 0;
    });
  });
}
