// Traces a packet on a bridge as it stands: its tables, its ports, and NORMAL without learning.
// Thread: datapath worker, between breaths.
import type { PacketPool } from "../../base/packet/index.js";
import {
  DROP_REASONS,
  FlowKey,
  type TraceNode,
  type TraceOptions,
  type TraceRequest,
  type TraceRun,
  type Tracker,
  traceFrame,
} from "../flow/index.js";
import { PatchPort } from "../port/index.js";
import type { Bridge } from "./bridge.js";
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
    exists: (port: number) => bridge.slot(port) !== null,
    isLive: (port: number) => bridge.slot(port)?.forwards === true,
    beyond: (port: number) => beyond(bridge.slot(port), modules, nowMs),
    datapathPort: (port: number) => bridge.slot(port)?.datapathPort ?? port,
    ports: () => bridge.slots.filter(({ forwards }) => forwards).map(({ ofport }) => ofport),
    normal: (
      packet: number,
      key: Int32Array,
      _headers: unknown,
      inPort: number,
      send: (packet: number, port: number) => void,
    ) => traceNormal(bridge, packet, key, inPort, send, nowMs),
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

/** What NORMAL decides, in words. */
function traceNormal(
  bridge: Bridge,
  packet: number,
  key: Int32Array,
  inPort: number,
  send: (packet: number, port: number) => void,
  nowMs: number,
): readonly TraceNode[] {
  const ends: TraceNode[] = [];
  const sent: number[] = [];
  const forwarder = bridge.forwarding.dryNormal(
    (copy, slot) => {
      sent.push(slot.ofport);
      send(copy, slot.ofport);
    },
    (reason) => ends.push({ kind: "drop", reason: DROP_REASONS[reason] as (typeof DROP_REASONS)[number] }),
  );
  forwarder.forward(packet, key, inPort, nowMs);
  if (ends.length > 0) return ends.map(inWords);
  const isGroup = ((key[FlowKey.K_ETH_DST] as number) & 0x01000000) !== 0;
  const isKnown = !isGroup && knows(bridge, key, nowMs);
  return [
    {
      kind: "detail",
      text: isKnown ? "forwarding to learned port" : "no learned MAC for destination, flooding",
    },
  ];
}

function inWords(node: TraceNode): TraceNode {
  return node.kind === "drop" && node.reason === "output-to-input"
    ? { kind: "detail", text: "learned port is input port, dropping" }
    : node;
}

/** Whether the destination was seen in any VLAN: the forwarder has found the right one. */
function knows(bridge: Bridge, key: Int32Array, nowMs: number): boolean {
  const mac = [0, 1, 2, 3, 4, 5].map(
    (i) => ((key[FlowKey.K_ETH_DST + (i >> 2)] as number) >>> (24 - 8 * (i & 3))) & 0xff,
  );
  return bridge.forwarding.macs.entries(nowMs).some((entry) => entry.mac.every((byte, i) => byte === mac[i]));
}
