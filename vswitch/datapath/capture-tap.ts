// One capture in the datapath: chooses packets, holds them to a rate, and writes them into its ring.
// Thread: datapath worker. Hot: yes, while something is captured; else no packet comes near it.
import { type FlowStatsFilter, type Match, OFPTT_ALL } from "../../base/openflow/index.js";
import type { Batch, PacketPool } from "../../base/packet/index.js";
import {
  compileMatch,
  covers,
  DROP_REASONS,
  type DropReason,
  type Flow,
  FlowKey,
  Headers,
  isSentTo,
  KEY_WORDS,
  type MaskedKey,
} from "../flow/index.js";
import { CAPTURED_DROP, CAPTURED_HIT, CAPTURED_IN, CAPTURED_OUT, CaptureRingWriter } from "./capture-ring.js";

/** Where packets are taken: as they pass ports, as they meet flows, or as they are dropped. */
export type CapturePoint =
  | { readonly at: "ports"; readonly direction: "in" | "out" | "both" }
  | { readonly at: "flows"; readonly flows: FlowStatsFilter }
  /** For any reason when none is named. */
  | { readonly at: "drops"; readonly reasons: readonly DropReason[] };

export interface CaptureSpec {
  readonly point: CapturePoint;
  /** Names of the ports; of flows and drops, the ports by which packets came in. All when undefined. */
  readonly ports: readonly string[] | undefined;
  /** What else the packet must match; at ports only what its bytes say. */
  readonly match: Match;
  /** Bytes of a frame that are kept at most. */
  readonly snapLength: number;
  /** Frames a second at most; Infinity for no bound. */
  readonly rate: number;
  readonly ring: SharedArrayBuffer;
}

/** What came by one port, OpenFlow number 0 for none. */
export interface CaptureCount {
  readonly port: number;
  readonly matched: number;
  /** Of those: no room in the ring, more than the rate. */
  readonly lost: number;
  readonly limited: number;
}

export interface CaptureTapModules {
  readonly pool: PacketPool;
  /** Time for people, since the epoch. */
  readonly wallMs: () => number;
}

type Count = { -readonly [K in keyof CaptureCount]: CaptureCount[K] };

export class CaptureTap {
  readonly spec: CaptureSpec;
  readonly #pool: PacketPool;
  readonly #wallMs: () => number;
  readonly #ring: CaptureRingWriter;
  readonly #wanted: MaskedKey;
  /** Words of the key where #wanted has bits. */
  readonly #words: Int32Array;
  readonly #key = new Int32Array(KEY_WORDS);
  readonly #headers = new Headers();
  readonly #flowsWanted: MaskedKey | null;
  /** What was decided of a flow stays: neither its match nor its cookie changes. */
  readonly #flows = new WeakMap<Flow, boolean>();
  readonly #reasons: Uint8Array;
  readonly #counts = new Map<number, Count>();
  #tokens: number;
  #tokensMs = 0;

  /** Throws as compileMatch. */
  constructor(spec: CaptureSpec, modules: CaptureTapModules) {
    this.spec = spec;
    this.#pool = modules.pool;
    this.#wallMs = modules.wallMs;
    this.#ring = new CaptureRingWriter(spec.ring);
    this.#wanted = compileMatch(spec.match);
    const { mask } = this.#wanted;
    this.#words = Int32Array.from([...mask.keys()].filter((word) => mask[word] !== 0));
    const { point } = spec;
    this.#flowsWanted = point.at === "flows" ? compileMatch(point.flows.match) : null;
    this.#reasons = Uint8Array.from(DROP_REASONS, (reason) =>
      point.at === "drops" && (point.reasons.length === 0 || point.reasons.includes(reason)) ? 1 : 0,
    );
    this.#tokens = burstOf(spec.rate);
  }

  /** Every packet of the batch passes the port now. */
  burst(batch: Batch, port: number, outbound: boolean): void {
    const wallMs = this.#wallMs();
    const what = outbound ? CAPTURED_OUT : CAPTURED_IN;
    const count = this.#count(port);
    for (let i = 0; i < batch.length; i++) {
      const packet = batch.packets[i]!;
      if (this.#words.length > 0 && !this.#matchesBytes(packet)) continue;
      this.#write(what, count, packet, wallMs, -1, -1, null);
    }
    this.#ring.publish();
  }

  /** The packet that `key` describes has met the flow. */
  hit(packet: number, key: Int32Array, tableId: number, flow: Flow): void {
    let wanted = this.#flows.get(flow);
    if (wanted === undefined) {
      wanted = this.#wantsFlow(flow);
      this.#flows.set(flow, wanted);
    }
    if (wanted) this.#event(CAPTURED_HIT, packet, key, -1, tableId, flow);
  }

  /** The packet was dropped; `flow` is the last that it had met. */
  dropped(packet: number, key: Int32Array, reason: number, tableId: number, flow: Flow | null): void {
    if (this.#reasons[reason] === 1) this.#event(CAPTURED_DROP, packet, key, reason, tableId, flow);
  }

  /** By port, what was captured and what was not. */
  counts(): CaptureCount[] {
    return [...this.#counts.values()];
  }

  #event(
    what: number,
    packet: number,
    key: Int32Array,
    reason: number,
    tableId: number,
    flow: Flow | null,
  ): void {
    if (!this.#matches(key)) return;
    const count = this.#count(key[FlowKey.K_IN_PORT]! >>> 0);
    this.#write(what, count, packet, this.#wallMs(), reason, tableId, flow);
    this.#ring.publish();
  }

  #write(
    what: number,
    count: Count,
    packet: number,
    wallMs: number,
    reason: number,
    tableId: number,
    flow: Flow | null,
  ): void {
    count.matched++;
    if (!this.#take(wallMs)) {
      count.limited++;
      return;
    }
    const { snapLength } = this.spec;
    const port = count.port;
    if (!this.#ring.write(what, port, this.#pool, packet, snapLength, wallMs, reason, tableId, flow))
      count.lost++;
  }

  /** A token bucket that holds a tenth of a second's frames. */
  #take(wallMs: number): boolean {
    const { rate } = this.spec;
    if (rate === Number.POSITIVE_INFINITY) return true;
    const passedMs = wallMs - this.#tokensMs;
    this.#tokensMs = wallMs;
    if (passedMs > 0) this.#tokens = Math.min(burstOf(rate), this.#tokens + (passedMs * rate) / 1000);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  #count(port: number): Count {
    let count = this.#counts.get(port);
    if (count === undefined) {
      count = { port, matched: 0, lost: 0, limited: 0 };
      this.#counts.set(port, count);
    }
    return count;
  }

  #matchesBytes(packet: number): boolean {
    this.#headers.parse(this.#pool, packet, this.#key);
    return this.#matches(this.#key);
  }

  #matches(key: Int32Array): boolean {
    const { value, mask } = this.#wanted;
    for (let i = 0; i < this.#words.length; i++) {
      const word = this.#words[i]!;
      if ((key[word]! & mask[word]!) !== value[word]!) return false;
    }
    return true;
  }

  #wantsFlow(flow: Flow): boolean {
    const { point } = this.spec;
    if (point.at !== "flows" || this.#flowsWanted === null) return false;
    const { tableId, cookie, cookieMask, outPort, outGroup } = point.flows;
    return (
      (tableId === flow.tableId || tableId === OFPTT_ALL) &&
      (flow.cookie & cookieMask) === (cookie & cookieMask) &&
      covers(this.#flowsWanted, flow.key) &&
      isSentTo(flow.instructions, outPort, outGroup)
    );
  }
}

function burstOf(rate: number): number {
  return Math.max(1, rate / 10);
}
