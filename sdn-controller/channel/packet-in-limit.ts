// A bound on what one port may send to the controller, so that a flooding machine cannot starve the others: a token
// bucket per switch port. Time is a parameter. Source: RFC 2697's bucket, one rate.
import { PACKET_IN_BURST, PACKET_IN_PER_SECOND } from "../limits.js";

export class PacketInLimit {
  readonly #buckets = new Map<number, { tokens: number; atMs: number }>();

  /** Whether a packet from `ofport` may pass now. */
  take(ofport: number, nowMs: number): boolean {
    const bucket = this.#buckets.get(ofport) ?? { tokens: PACKET_IN_BURST, atMs: nowMs };
    const refill = ((nowMs - bucket.atMs) / 1000) * PACKET_IN_PER_SECOND;
    bucket.tokens = Math.min(PACKET_IN_BURST, bucket.tokens + refill);
    bucket.atMs = nowMs;
    this.#buckets.set(ofport, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  /** Forgets ports that are gone. */
  keep(ofports: ReadonlySet<number>): void {
    for (const ofport of this.#buckets.keys()) if (!ofports.has(ofport)) this.#buckets.delete(ofport);
  }
}
