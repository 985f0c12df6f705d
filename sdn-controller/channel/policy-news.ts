// What switches tell of policy at work: pairs whose packets are dropped, connections that were cut, decisions that are to
// be logged. Everything is bounded: the oldest goes, or for pairs, nobody new is told any more.
// Thread: the controller's.
import type { FlowStats, OxmEntry, PacketIn } from "../../base/openflow/index.js";
import { type DroppedPair, newPairFlow, pairFlow, pairResource } from "../apps/drops/drop-flows.js";
import type { Compiler } from "../compiler.js";
import { POLICY_NEWS_MAX, POLICY_PAIRS_MAX } from "../limits.js";
import { hash32 } from "../network/hash.js";
import { type CookieParts, parseCookie } from "../pipeline/cookie.js";
import { FLAG_LOGGED, TABLES } from "../pipeline/tables.js";
import { endName } from "./packet-ends.js";
import { pipelineField, readPacket, type ToldPacket } from "./told-packet.js";

export interface PairDrops {
  readonly source: string;
  readonly destination: string;
  /** The policies that isolate, or the one whose rule denies. */
  readonly policies: readonly string[];
  readonly direction: "Egress" | "Ingress";
  readonly packets: number;
  /** Protocol and port of the packet that was seen first. */
  readonly example: ToldPacket;
}

export interface PolicyNews extends ToldPacket {
  readonly time: string;
  readonly kind: "allowed" | "denied" | "cut";
  readonly from: string;
  readonly to: string;
  readonly policies: readonly string[];
}

interface Pair extends Omit<PairDrops, "packets"> {
  readonly key: DroppedPair;
  told: number;
}

const OWNER = "Pairs";

export class PolicyNewsDesk {
  readonly #compiler: Compiler;
  /** By hash of the resource, as in the cookies of the flows that count them. */
  readonly #pairs = new Map<number, Pair>();
  readonly #news: PolicyNews[] = [];
  #count = 0;

  constructor(compiler: Compiler) {
    this.#compiler = compiler;
    this.#install();
  }

  /** Everything told so far, oldest first; `total` counts what is forgotten, too. */
  get news(): { readonly items: readonly PolicyNews[]; readonly total: number } {
    return { items: this.#news, total: this.#count };
  }

  /** Flows that count pairs are kept over a restart of the controller. */
  adopt(flows: readonly FlowStats[]): boolean {
    let changed = false;
    for (const flow of flows) {
      const parts = parseCookie(flow.cookie);
      if (parts?.table !== "dropped" || parts.reason === undefined || flow.priority !== 100) continue;
      const number = (field: OxmEntry["field"]): number => {
        const value = flow.match.find((entry) => entry.field === field)?.value ?? new Uint8Array(1);
        return Buffer.from(value).readUIntBE(0, value.byteLength);
      };
      const key = {
        inPort: number("in_port"),
        source: number("reg2"),
        outPort: number("reg4"),
        cause: number("reg7"),
        reason: parts.reason,
      };
      if (!this.#learn(key, {})) continue;
      changed = true;
    }
    if (changed) this.#install();
    return changed;
  }

  /** The name to count the packet-in under; undefined when it is no news of policy. */
  take(message: PacketIn, parts: CookieParts, nowIso: string): string | undefined {
    const inPort = pipelineField(message, "in_port");
    const outPort = pipelineField(message, "reg4");
    const packet = readPacket(message.data);
    const source = pipelineField(message, "reg2");
    const sender = { inPort, identity: source };
    if (parts.table === "commit") {
      const rules = (["reg8", "reg9"] as const).flatMap(
        (register) => this.#compiler.policies.keyOfHash(pipelineField(message, register)) ?? [],
      );
      this.#tell("allowed", sender, outPort, rules, packet, nowIso);
      return "policy-allowed";
    }
    const cause = pipelineField(message, "reg7");
    const { direction = "Egress", policies = [] } = this.#compiler.policies.causeOf(cause) ?? {};
    if (parts.table === "denied") {
      this.#tell("cut", sender, outPort, policies, packet, nowIso);
      return "policy-cut";
    }
    if (parts.table !== "dropped") return undefined;
    if ((pipelineField(message, "reg6") & FLAG_LOGGED) !== 0)
      this.#tell("denied", sender, outPort, policies, packet, nowIso);
    const reason = direction === "Egress" ? "egress-policy" : "ingress-policy";
    const key = { inPort, source, outPort, cause, reason } as const;
    if (this.#learn(key, packet)) this.#install();
    const pair = this.#pairs.get(hash32(pairResource(key)));
    if (pair !== undefined) pair.told++;
    return "policy-dropped";
  }

  /** `counted`: packets by hash of the pair's resource. */
  pairs(counted: ReadonlyMap<number, number>): PairDrops[] {
    return [...this.#pairs]
      .map(([hash, { key: _key, told, ...pair }]) => ({ ...pair, packets: told + (counted.get(hash) ?? 0) }))
      .sort((a, b) => b.packets - a.packets || (a.source < b.source ? -1 : 1));
  }

  /** Forgets pairs of which an end has gone; their port numbers may be given to others. */
  keep(ofports: ReadonlySet<number>): void {
    let changed = false;
    for (const [hash, { key }] of this.#pairs) {
      if (ofports.has(key.inPort) && ofports.has(key.outPort)) continue;
      this.#pairs.delete(hash);
      changed = true;
    }
    if (changed) this.#install();
  }

  #learn(key: DroppedPair, example: ToldPacket): boolean {
    const hash = hash32(pairResource(key));
    if (this.#pairs.has(hash) || this.#pairs.size >= POLICY_PAIRS_MAX) return false;
    this.#pairs.set(hash, {
      key,
      source: endName(this.#compiler, key.inPort, { identity: key.source }),
      destination: endName(this.#compiler, key.outPort),
      policies: this.#compiler.policies.causeOf(key.cause)?.policies ?? [],
      direction: key.reason === "egress-policy" ? "Egress" : "Ingress",
      example,
      told: 0,
    });
    return true;
  }

  #install(): void {
    const flows = [...this.#pairs.values()].map(({ key }) => pairFlow(key));
    this.#compiler.flows.set(OWNER, [...flows, newPairFlow(this.#pairs.size < POLICY_PAIRS_MAX)]);
  }

  #tell(
    kind: PolicyNews["kind"],
    sender: { readonly inPort: number; readonly identity: number },
    outPort: number,
    policies: readonly string[],
    packet: ToldPacket,
    time: string,
  ): void {
    const ends = {
      from: endName(this.#compiler, sender.inPort, { identity: sender.identity, address: packet.source }),
      to: endName(this.#compiler, outPort),
    };
    this.#news.push({ time, kind, ...ends, ...packet, policies: [...new Set(policies)] });
    this.#count++;
    if (this.#news.length > POLICY_NEWS_MAX) this.#news.shift();
  }
}

/** Whether a packet-in through a flow of this table is about policy. */
export function isPolicyTable(parts: CookieParts): boolean {
  return [TABLES.commit.id, TABLES.denied.id, TABLES.dropped.id].includes(TABLES[parts.table].id);
}
