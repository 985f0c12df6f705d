import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CT_STATE_EST,
  CT_STATE_NEW,
  CT_STATE_RPL,
  CT_STATE_TRK,
  type CtAction,
} from "../../base/openflow/index.js";
import { formatIpv4Address, parseEthernet, parseIpv4, parseUdp } from "../../base/wire/index.js";
import { type Ends, udpFrame } from "../testing/frames.js";
import { apply, field, match, output, Rig } from "../testing/rig.js";

/** A datapath per example takes its time on a busy machine. */
const DEADLINE_MS = 240_000;

const IP = field("eth_type", 0x0800);

const host = fc.integer({ min: 1, max: 3 }).map((n) => `10.0.0.${n}`);
const port = fc.integer({ min: 5000, max: 5002 });
const ends = fc.record({ source: host, destination: host, sourcePort: port, destinationPort: port });
const ct: CtAction = { type: "ct", commit: false, force: false, zone: 3, alg: 0, actions: [] };

const nameOf = (one: Required<Ends>): string =>
  `${one.source}:${one.sourcePort}>${one.destination}:${one.destinationPort}`;
const inverse = (one: Required<Ends>): Required<Ends> => ({
  source: one.destination,
  destination: one.source,
  sourcePort: one.destinationPort,
  destinationPort: one.sourcePort,
});

/** UDP as a map: who opened, whether answered, until when. Packets from port 1 are committed, from port 2 not. */
class Model {
  readonly #connections = new Map<string, { answered: boolean; expiresMs: number }>();

  packet(one: Required<Ends>, commit: boolean, nowMs: number): number {
    for (const [name, { expiresMs }] of this.#connections)
      if (expiresMs <= nowMs) this.#connections.delete(name);
    const forward = this.#connections.get(nameOf(one));
    const backward = this.#connections.get(nameOf(inverse(one)));
    const connection = forward ?? backward;
    if (connection === undefined) {
      if (commit) this.#connections.set(nameOf(one), { answered: false, expiresMs: nowMs + 60_000 });
      return CT_STATE_TRK | CT_STATE_NEW;
    }
    if (forward === undefined) connection.answered = true;
    connection.expiresMs = nowMs + (connection.answered ? 30_000 : 60_000);
    const established = connection.answered ? CT_STATE_EST : CT_STATE_NEW;
    return CT_STATE_TRK | established | (forward === undefined ? CT_STATE_RPL : 0);
  }
}

describe("Conntrack", () => {
  it(
    "agrees with a map of connections on every packet's ct_state",
    () => {
      const step = fc.record({
        ends,
        commit: fc.boolean(),
        afterMs: fc.constantFrom(0, 10, 29_000, 31_000, 59_000, 70_000),
      });
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
          const rig = new Rig(2);
          const tell = { type: "controller", maxLength: 0xffff, controllerId: 0, reason: "action" } as const;
          rig.flow({ match: match(IP), instructions: [apply({ ...ct, tableId: 1 })] });
          rig.flow({ tableId: 1, match: match(IP), instructions: [apply(tell)] });
          rig.flow({
            tableId: 1,
            priority: 200,
            match: match(IP, field("in_port", 1)),
            instructions: [apply(tell, { ...ct, commit: true })],
          });
          const model = new Model();
          for (const one of steps) {
            rig.nowMs += one.afterMs;
            rig.events = [];
            // A conversation of a host with itself over one port is its own inverse; nobody opens it twice.
            if (nameOf(one.ends) === nameOf(inverse(one.ends))) continue;
            rig.send(one.commit ? 1 : 2, udpFrame(one.ends));
            const [event] = rig.events.filter(({ type }) => type === "packet_in");
            const state =
              event?.type === "packet_in"
                ? event.match.find((entry) => entry.field === "ct_state")
                : undefined;
            const bits = new DataView((state?.value ?? new Uint8Array(4)).buffer).getUint32(0);
            const expected = model.packet(one.ends, one.commit, rig.nowMs);
            expect(bits).toBe(expected);
          }
          expect(rig.pool.available).toBe(256);
        }),
        { numRuns: 50 },
      );
    },
    DEADLINE_MS,
  );

  it(
    "gives every translated connection an identity of its own and every answer back to its client",
    () => {
      fc.assert(
        fc.property(fc.uniqueArray(ends, { selector: nameOf, minLength: 1, maxLength: 30 }), (clients) => {
          const rig = new Rig(2);
          const nat: CtAction["actions"] = [
            {
              type: "nat",
              direction: "source",
              persistent: false,
              selection: "auto",
              addressMin: Uint8Array.of(192, 0, 2, 1),
            },
          ];
          const back: CtAction["actions"] = [
            { type: "nat", direction: "existing", persistent: false, selection: "auto" },
          ];
          rig.flow({
            match: match(IP, field("in_port", 1)),
            instructions: [apply({ ...ct, commit: true, actions: nat }, output(2))],
          });
          rig.flow({
            match: match(IP, field("in_port", 2)),
            instructions: [apply({ ...ct, actions: back, tableId: 1 })],
          });
          rig.flow({
            tableId: 1,
            match: match(IP, field("ct_state", CT_STATE_RPL, CT_STATE_RPL)),
            instructions: [apply(output(1))],
          });
          const seen = new Set<string>();
          for (const client of clients) {
            const outside = endsOf(rig.send(1, udpFrame(client)).get(2)?.[0]);
            expect(outside.source).toBe("192.0.2.1");
            expect(seen.has(nameOf(outside))).toBe(false);
            seen.add(nameOf(outside));
            const answer = endsOf(rig.send(2, udpFrame(inverse(outside))).get(1)?.[0]);
            expect(answer).toEqual(inverse(client));
          }
        }),
        { numRuns: 50 },
      );
    },
    DEADLINE_MS,
  );
});

/** Verifies the checksums too. */
function endsOf(frame: Uint8Array | undefined): Required<Ends> {
  const ip = parseIpv4(parseEthernet(frame as Uint8Array).payload);
  const udp = parseUdp(ip.payload, { source: ip.source, destination: ip.destination });
  return {
    source: formatIpv4Address(ip.source),
    destination: formatIpv4Address(ip.destination),
    sourcePort: udp.sourcePort,
    destinationPort: udp.destinationPort,
  };
}
