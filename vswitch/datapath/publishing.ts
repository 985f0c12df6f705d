// The flow table that port workers forward by: what is known of the frames of a port is published to the worker that
// takes them in, as far as that can carry it out itself (fast-path.ts). What it has counted comes back from here.
//
//   upcall of a burst ─► one of its verdicts is published ─► the worker finishes such frames
//   change of anything that verdicts follow from ─► withdraw(): all is taken back, and counted, before the change
//
// So there is never more than one version of the tables: no frame is judged by what was before a change once the
// change is made, and counters are final when a flow goes. It costs the end of the burst that a worker is in, once for
// each change at most after which frames have come for a while.
// Thread: datapath worker. Hot: yes (of, wants).
import {
  type BurstRunner,
  type Fate,
  FlowKey,
  type FlowTables,
  isRowKey,
  isTagged,
  type Pipeline,
  retaggingOf,
  type ShortRewrite,
  type Station,
  V_AT,
  V_DROP,
  type Verdict,
  type VerdictListener,
} from "../flow/index.js";
import { sourceHigh } from "../learn/index.js";
import { RemotePort } from "../port/index.js";
import type { Forwarding } from "./forwarding.js";
import { PUBLISH_CALM_MS, REFUSALS_MAX } from "./limits.js";
import type { PortSlot } from "./port-slot.js";

/** V_AT and V_DROP with their operands. */
const DROP_WORDS = 5;
const TAG_SIZE = 4;

export interface PublishingModules {
  readonly tables: FlowTables;
  readonly pipeline: Pipeline;
  readonly bursts: BurstRunner;
  /** The bridge's ports; the array changes. */
  readonly slots: readonly PortSlot[];
  readonly find: (ofport: number) => PortSlot | null;
  readonly forwarding: Forwarding;
}

export class Publishing implements VerdictListener {
  readonly #modules: PublishingModules;
  #nowMs = 0;
  /** Nothing is published before. */
  #calmMs = Number.NEGATIVE_INFINITY;
  /** The port that frames come in by now. */
  #slot: PortSlot | null = null;
  /** Of the verdict in hand: most are published already. */
  readonly #fate: { -readonly [K in keyof Fate]: Fate[K] } = {
    lane: 0,
    sizeMax: Number.POSITIVE_INFINITY,
    rewrite: null,
    station: null,
  };
  /** Of such frames, and the bits by which they are known, when an ordinary switch forwards them. */
  readonly #station = { high: 0, low16: 0, vlan: 0, port: 0 };
  readonly #bits = new Int32Array(FlowKey.K_WIDE);
  /** What retaggingOf() said of verdicts. */
  readonly #retaggings = {
    tagged: new WeakMap<Verdict, ShortRewrite | null>(),
    untagged: new WeakMap<Verdict, ShortRewrite | null>(),
  };
  readonly #counted = (
    verdict: Verdict,
    packets: number,
    sizeBytes: number,
    usedMs: number,
    station: Station | null,
  ): void => this.#count(verdict, packets, sizeBytes, usedMs, station);

  constructor(modules: PublishingModules) {
    this.#modules = modules;
  }

  /** Who is to be told of verdicts on what has come in by the port; null: nobody. */
  of(slot: PortSlot, nowMs: number): VerdictListener | null {
    if (slot.published === null) return null;
    this.#nowMs = nowMs;
    if (nowMs < this.#calmMs || slot.tapIn !== null || !this.#modules.bursts.isUnattended) return null;
    this.#slot = slot;
    return this;
  }

  wants(verdict: Verdict): boolean {
    const { isNormal } = verdict;
    return isNormal || isDrop(verdict) || this.#target(numberOf(verdict)) !== null || mayRetag(verdict);
  }

  learn(key: Int32Array, bits: Int32Array, verdict: Verdict): void {
    if (verdict.isNormal) {
      this.#learnNormal(key, bits, verdict);
      return;
    }
    if (isDrop(verdict)) {
      this.#publish(key, bits, verdict, null, null, null);
      return;
    }
    const rewrite = verdict.rewrite ?? (verdict.onlyPort >= 0 ? null : this.#retagging(verdict, key));
    const target = this.#target(rewrite === null ? verdict.onlyPort : rewrite.port);
    if (target !== null) this.#publish(key, bits, verdict, rewrite, target, null);
  }

  /** It holds for the two stations, as long as both stay where they are. */
  #learnNormal(key: Int32Array, bits: Int32Array, verdict: Verdict): void {
    const { normal, macs } = this.#modules.forwarding;
    const { ofport } = this.#slot!;
    if (!isRowKey(key)) return;
    const target = this.#target(normal.foresee(key, ofport, this.#nowMs));
    if (target === null) return;
    const station = this.#station;
    const vlan = normal.foreseenVlan;
    station.high = sourceHigh(key);
    station.low16 = key[FlowKey.K_ETH_SRC_LOW]! & 0xffff;
    station.vlan = vlan;
    station.port = ofport;
    macs.relyOn(station.high, station.low16, vlan, this.#nowMs);
    macs.relyOn(key[FlowKey.K_ETH_DST]!, key[FlowKey.K_ETH_DST + 1]! >>> 16, vlan, this.#nowMs);
    const all = this.#bits;
    for (let i = 0; i < all.length; i++) all[i] = bits[i]!;
    for (let i = FlowKey.K_ETH_DST; i <= FlowKey.K_ETH_SRC_LOW; i++) all[i] = -1;
    this.#publish(key, all, verdict, null, target, station);
  }

  /** What the verdict does to the tag of such frames, and else, before it sends them to one port; null: more than that. */
  #retagging(verdict: Verdict, key: Int32Array): ShortRewrite | null {
    const known = isTagged(key) ? this.#retaggings.tagged : this.#retaggings.untagged;
    let rewrite = known.get(verdict);
    if (rewrite === undefined) {
      rewrite = retaggingOf(verdict.code, isTagged(key));
      known.set(verdict, rewrite);
    }
    return rewrite;
  }

  #publish(
    key: Int32Array,
    bits: Int32Array,
    verdict: Verdict,
    rewrite: ShortRewrite | null,
    target: PortSlot | null,
    station: Station | null,
  ): void {
    const fate = this.#fate;
    fate.lane = target === null ? 0 : (target.port as RemotePort).laneId;
    // One tag more is always allowed (PortSlot.fits); a tag that comes is that one, and one that goes is none.
    const spare = isTagged(key) ? TAG_SIZE : 0;
    fate.sizeMax = target === null ? Number.POSITIVE_INFINITY : target.sizeMax + spare;
    fate.rewrite = rewrite;
    fate.station = station;
    this.#slot!.published!.publish(key, bits, verdict, fate);
  }

  /** The port with this number when frames may leave by it without more ado, and a port worker serves it. */
  #target(number: number): PortSlot | null {
    const { ofport } = this.#slot!;
    if (number < 0 || number === ofport) return null;
    const target = this.#modules.find(number);
    if (target === null || !target.forwards || !target.takesRuns || target.tapOut !== null) return null;
    return target.port instanceof RemotePort ? target : null;
  }

  /** Takes all back that is published, and waits until no worker acts by it: then something may change. */
  withdraw(): void {
    const { slots } = this.#modules;
    let count = 0;
    for (let i = 0; i < slots.length; i++) {
      const { published } = slots[i]!;
      if (published === null || published.count === 0) continue;
      published.close();
      count++;
    }
    this.#calmMs = this.#nowMs + PUBLISH_CALM_MS;
    if (count === 0) return;
    for (let i = 0; i < slots.length; i++) this.#takeBack(slots[i]!);
    this.#modules.forwarding.macs.relyNoMore();
  }

  #takeBack({ published }: PortSlot): void {
    if (published === null || published.count === 0) return;
    published.takeBack(this.#counted);
  }

  /** Counts what workers have finished so far. */
  fold(): void {
    const { slots } = this.#modules;
    for (let i = 0; i < slots.length; i++) slots[i]!.published?.fold(this.#counted);
  }

  /** What has had its time gives way to what finds no place. Call about once a second. */
  sweep(): void {
    this.fold();
    const { slots } = this.#modules;
    for (let i = 0; i < slots.length; i++) {
      const { published } = slots[i]!;
      if (published === null || published.refused < REFUSALS_MAX) continue;
      published.close();
      this.#takeBack(slots[i]!);
    }
  }

  #count(verdict: Verdict, packets: number, bytes: number, usedMs: number, station: Station | null): void {
    const { tables, pipeline, bursts, forwarding } = this.#modules;
    const { id, tables: ids, flows, code } = verdict;
    if (packets > 0 && bursts.cache.verdicts[id] === verdict)
      bursts.cache.origins.count(id, packets, bytes, usedMs);
    if (station !== null) {
      const { high, low16, vlan, port } = station;
      forwarding.macs.learn(high, low16, vlan, port, usedMs);
    }
    const { lastUsedMs } = tables.counters;
    for (let i = 0; i < flows.length; i++) {
      const flow = flows[i]!;
      const last = flow === null ? usedMs : Math.max(usedMs, lastUsedMs[flow.slot]!);
      tables.countMany(ids[i]!, flow, packets, bytes, last);
    }
    if (!isDrop(verdict)) return;
    const index = code[2]!;
    pipeline.dropCounters.countMany(code[4]!, packets, code[1]!, index < 0 ? null : flows[index]!);
  }
}

/** The port that frames leave by as they are, or changed a little; −1 when that is not all. */
function numberOf({ onlyPort, rewrite }: Verdict): number {
  return rewrite === null ? onlyPort : rewrite.port;
}

/** Whether it leaves by one port with changes that retaggingOf() may know. */
function mayRetag({ onlyPort, rewrite, needsKey, tracks, isMetered, groups }: Verdict): boolean {
  return onlyPort < 0 && rewrite === null && needsKey && !tracks && !isMetered && groups.length === 0;
}

function isDrop({ code }: Verdict): boolean {
  return code.length === DROP_WORDS && code[0] === V_AT && code[3] === V_DROP;
}
