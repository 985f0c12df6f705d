// Traces a packet on a bridge as it stands: its tables, its ports, its mirrors, and NORMAL, which learns only if asked to.
// Thread: datapath worker, between breaths.
import { OFPP_ANY, OFPPC_NO_RECV } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { formatMac } from "../../base/wire/index.js";
import {
  DROP_REASONS,
  DROP_VLAN,
  type DropReason,
  type NormalTrace,
  type TraceNode,
  type TraceOptions,
  type TraceRequest,
  type TraceRun,
  type TraceSend,
  type Tracker,
  traceFrame,
} from "../flow/index.js";
import { comesFromNowhere } from "../learn/index.js";
import { PatchPort } from "../port/index.js";
import type { Bridge } from "./bridge.js";
import { withDscp } from "./dscp-mark.js";
import type { PortSlot } from "./port-slot.js";

interface TraceModules {
  readonly pool: PacketPool;
  readonly tracker: Tracker;
  /** All of the datapath, which patch ports lead to. */
  readonly bridges: readonly Bridge[];
}

export function traceOnBridge(
  bridge: Bridge,
  modules: TraceModules,
  request: TraceRequest,
  nowMs: number,
): readonly TraceRun[] {
  return traceFrame(optionsOf(bridge, modules, nowMs), request, nowMs);
}

function optionsOf(bridge: Bridge, modules: TraceModules, nowMs: number): TraceOptions {
  const { pool, tracker } = modules;
  return {
    name: bridge.name,
    pool,
    tracker,
    tables: bridge.tables,
    fragmentHandling: bridge.pipeline.fragments.mode,
    headers: bridge.pipeline.headers,
    wantsMisses: bridge.wantsMisses,
    isLive: (port: number) => bridge.isLive(port),
    closed: (port: number) => {
      // What a bundle without a live member gives.
      if (port === OFPP_ANY) return "";
      const output = bridge.slot(port);
      if (output === null) return "Nonexistent output port";
      if (output.forwards) return undefined;
      return bridge.isLive(port) ? "OFPPC_NO_FWD set, skipping output" : "Port down, skipping output";
    },
    beyond: (port: number) => beyond(bridge.slot(port), modules, nowMs),
    datapathPort: (port: number) => bridge.slot(port)?.datapathPort ?? port,
    marked: (packet, port, queueId) => {
      const dscp = bridge.slot(port)?.queues?.dscpOf(queueId) ?? -1;
      if (dscp < 0) return -1;
      pool.retain(packet);
      return withDscp(pool, packet, dscp);
    },
    ports: () => bridge.slots.filter(({ forwards }) => forwards).map(({ ofport }) => ofport),
    normal: (...args) => traceNormal(bridge, nowMs, ...args),
    refusal: (inPort) => {
      const input = bridge.slot(inPort);
      if (input !== null && (input.config & OFPPC_NO_RECV) !== 0) return "";
      return input?.isMirrorOutput === true
        ? `dropping packet received on port ${input.port.name}, which is reserved exclusively for mirroring`
        : undefined;
    },
    bar: (inPort, port) =>
      bridge.slot(inPort)?.isProtected === true && bridge.slot(port)?.isProtected === true
        ? BETWEEN_PROTECTED
        : undefined,
    mirrors: traceMirrors(bridge),
  };
}

/** The bridge that a patch port leads to, and the port by which packets come in there. */
function beyond(
  slot: PortSlot | null,
  modules: TraceModules,
  nowMs: number,
): { readonly options: TraceOptions; readonly inPort: number } | undefined {
  const peer = slot?.port instanceof PatchPort ? slot.port.peer : undefined;
  if (peer === undefined) return undefined;
  for (const bridge of modules.bridges) {
    const there = bridge.slots.find(({ port }) => port === peer);
    if (there !== undefined) return { options: optionsOf(bridge, modules, nowMs), inPort: there.ofport };
  }
  return undefined;
}

/** Mirrors that send nothing but to the trace, and count nothing. */
function traceMirrors(bridge: Bridge): TraceOptions["mirrors"] {
  let sendNow: TraceSend = () => {};
  const mirrors = bridge.forwarding.dryMirrors((copy, slot, cut) => sendNow(copy, slot.ofport, cut));
  mirrors?.begin();
  const offer = (way: "ingress" | "egress", packet: number, port: number, send: TraceSend): boolean => {
    const slot = bridge.slot(port);
    if (mirrors === undefined || slot === null) return false;
    sendNow = send;
    mirrors[way](packet, slot);
    return mirrors.looksAtVlans(way === "ingress" ? slot.mirrorsIn : slot.mirrorsOut);
  };
  return {
    ingress: (packet, inPort, send) => offer("ingress", packet, inPort, send),
    egress: (packet, port, send) => offer("egress", packet, port, send),
  };
}

/** What NORMAL decides, in words. */
function traceNormal(
  bridge: Bridge,
  nowMs: number,
  ...[packet, key, inPort, teaches, send, add]: Parameters<NormalTrace>
): void {
  const tell = (text: string): void => add({ kind: "detail", text });
  const warn = (text: string): void => add({ kind: "warning", text });
  const input = bridge.slot(inPort);
  let isKnown = false;
  let isDecided = false;
  const { macs } = bridge.forwarding;
  const forwarder = bridge.forwarding.dryNormal({
    macs: {
      find: (high, low, vlan, now) => {
        const port = macs.find(high, low, vlan, now);
        isKnown = port >= 0;
        return port;
      },
      learn: (high, low, vlan, port, now) => {
        const isNews = teaches && macs.learn(high, low, vlan, port, now);
        if (isNews)
          tell(`learned that ${macText(high, low)} is on port ${input?.port.name ?? port} in VLAN ${vlan}`);
        return isNews;
      },
    },
    send: (copy, slot) => send(copy, slot.ofport),
    drop: (reason) => {
      const text = isDecided ? undefined : refusalOf(bridge, packet, input, reason);
      if (text !== undefined) add({ kind: "error", text });
      if (isDecided && reason === DROP_VLAN) warn("learned port is not in this VLAN, dropping");
      else add(inWords(DROP_REASONS[reason] as DropReason));
    },
    onDecided: () => {
      isDecided = true;
      tell(isKnown ? "forwarding to learned port" : "no learned MAC for destination, flooding");
    },
    onSpared: () => warn(BETWEEN_PROTECTED),
  });
  if (input === null && !comesFromNowhere(inPort)) {
    add({ kind: "error", text: `received packet on unknown port ${inPort}` });
    warn("no input bundle, dropping");
  } else forwarder.forward(packet, key, inPort, nowMs);
}

const BETWEEN_PROTECTED = "Flow is between protected ports, skipping output.";

/** Why a frame may not come in by its port, if the reason is one of VLANs. */
function refusalOf(
  bridge: Bridge,
  packet: number,
  input: PortSlot | null,
  reason: number,
): string | undefined {
  if (reason !== DROP_VLAN || input === null) return undefined;
  const vlan = bridge.forwarding.vlanOf(packet);
  const { mode, tag } = input.vlan.config;
  const { name } = input.port;
  if (vlan === undefined) return undefined;
  if (mode === "access")
    return `dropping VLAN ${vlan} tagged packet received on port ${name} configured as VLAN ${tag} access port`;
  if (mode === "dot1q-tunnel")
    return `dropping VLAN ${vlan} packet received on dot1q-tunnel port ${name} that excludes this VLAN`;
  return `dropping VLAN ${vlan} packet received on port ${name} not configured for trunking VLAN ${vlan}`;
}

function inWords(reason: DropReason): TraceNode {
  if (reason === "output-to-input") return { kind: "detail", text: "learned port is input port, dropping" };
  return reason === "protected-port"
    ? { kind: "warning", text: BETWEEN_PROTECTED }
    : { kind: "drop", reason };
}

function macText(high: number, low16: number): string {
  const mac = new Uint8Array(6);
  const view = new DataView(mac.buffer);
  view.setInt32(0, high);
  view.setUint16(4, low16);
  return formatMac(mac);
}
