// Two TCP ends with an FTP conversation between them, over a path that loses, doubles and reorders, through a switch
// that translates one of them and changes what they say. Whatever happens each end sees one stream without a hole, in
// which every line is what the other said or what the helper may make of it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CtAction } from "../../base/openflow/index.js";
import { ACK, A as HTTP, natTo, readTcp, SYN, turn } from "../testing/conversation.js";
import { type Ends, tcpFrame } from "../testing/frames.js";
import { helperRig } from "../testing/helper-rig.js";
import type { Rig } from "../testing/rig.js";

/** A datapath per example takes its time on a busy machine. */
const DEADLINE_MS = 240_000;
const A: Required<Ends> = { ...HTTP, destinationPort: 21 };
const SEGMENT_MAX = 60;
const nothing = new Uint8Array(0);
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** One end: a sender of `says` that sends again, and a receiver that puts together what it gets. */
class End {
  readonly heard: (number | undefined)[] = [];
  /** Octets that the other end has said it has, and that have been sent at least once. */
  acknowledged = 0;
  sent = 0;
  otherFirst = 0;
  readonly says: Uint8Array;
  readonly first: number;
  readonly port: number;
  readonly ends: Required<Ends>;

  constructor(says: Uint8Array, first: number, port: number, ends: Required<Ends>) {
    this.says = says;
    this.first = first >>> 0;
    this.port = port;
    this.ends = ends;
  }

  get has(): number {
    const hole = this.heard.indexOf(undefined);
    return hole < 0 ? this.heard.length : hole;
  }

  segment(start: number, size: number): Uint8Array {
    const end = Math.min(start + size, this.says.byteLength);
    this.sent = Math.max(this.sent, end);
    return tcpFrame(this.ends, ACK, this.says.slice(start, end), {
      sequence: (this.first + 1 + start) >>> 0,
      acknowledgment: (this.otherFirst + 1 + this.has) >>> 0,
    });
  }

  receive(frame: Uint8Array): void {
    const { segment, ends } = readTcp(frame);
    expect(ends).toEqual(turn(this.ends));
    const acknowledged = (segment.acknowledgment - this.first - 1) | 0;
    // Nobody has what was never sent.
    expect(acknowledged).toBeLessThanOrEqual(this.sent);
    this.acknowledged = Math.max(this.acknowledged, acknowledged);
    const at = (segment.sequence - this.otherFirst - 1) | 0;
    expect(at).toBeGreaterThanOrEqual(0);
    segment.payload.forEach((byte, i) => {
      while (this.heard.length <= at + i) this.heard.push(undefined);
      // What was there once stays what it is.
      expect([undefined, byte]).toContain(this.heard[at + i]);
      this.heard[at + i] = byte;
    });
  }
}

interface Case {
  readonly nat: CtAction["actions"];
  readonly client: Required<Ends>;
  readonly server: Required<Ends>;
  /** What a line may become, a `#` for each digit of a port. */
  readonly becomes: (line: string) => readonly RegExp[];
}

const exactly = (line: string): RegExp => new RegExp(`^${line.replace(/[.|()$]/g, "\\$&")}$`);
const CASES: readonly Case[] = [
  {
    nat: natTo("source", "192.0.2.111"),
    client: A,
    server: turn({ ...A, source: "192.0.2.111" }),
    becomes: (line) => [
      exactly(line),
      /^PORT 10,/.test(line) ? /^PORT 192,0,2,111,\d+,\d+$/ : exactly(line),
      /^EPRT \|1\|10\./.test(line) ? /^EPRT \|1\|192\.0\.2\.111\|\d+\|$/ : exactly(line),
    ],
  },
  {
    nat: natTo("destination", "10.0.0.250"),
    client: A,
    server: turn({ ...A, destination: "10.0.0.250" }),
    becomes: (line) => [
      exactly(line),
      /^227 .*10,0,0,250/.test(line) ? /^227 .*\(10,0,0,2,\d+,\d+\)$/ : exactly(line),
    ],
  },
];

const port = fc.integer({ min: 1024, max: 65_535 });
const six = (address: string, number: number): string =>
  `${address.replaceAll(".", ",")},${number >>> 8},${number & 255}`;
const commands = fc.oneof(
  fc.constantFrom("NOOP", "USER somebody", "STOR PORT 10,0,0,1,5,1", ""),
  port.map((number) => `PORT ${six("10.0.0.1", number)}`),
  port.map((number) => `EPRT |1|10.0.0.1|${number}|`),
);
const replies = fc.oneof(
  fc.constantFrom("200 OK", "230-hello", "550 227 (10,0,0,250,9,9)"),
  port.map((number) => `227 Entering (${six("10.0.0.250", number)})`),
  port.map((number) => `229 Entering (|||${number}|)`),
);
const step = fc.record({
  fromClient: fc.boolean(),
  back: fc.nat(30),
  size: fc.integer({ min: 1, max: SEGMENT_MAX }),
  lost: fc.boolean(),
  late: fc.boolean(),
  /** Whole lines, as real ends send them. */
  lines: fc.boolean(),
});

function open(rig: Rig, client: End, server: End): void {
  client.otherFirst = server.first;
  server.otherFirst = client.first;
  const opened = rig.send(1, tcpFrame(client.ends, SYN, nothing, { sequence: client.first }));
  expect(readTcp(opened.get(2)?.[0]).ends).toEqual(turn(server.ends));
  const acknowledgment = (client.first + 1) >>> 0;
  rig.send(2, tcpFrame(server.ends, SYN | ACK, nothing, { sequence: server.first, acknowledgment }));
  rig.send(1, client.segment(0, 0));
}

describe("FTP under translation", () => {
  it(
    "gives each end one stream, its lines told truly or as they must be, and never acknowledges what is not there",
    () => {
      let changed = 0;
      fc.assert(
        fc.property(
          fc.constantFrom(...CASES),
          fc.array(commands, { minLength: 1, maxLength: 12 }),
          fc.array(replies, { minLength: 1, maxLength: 12 }),
          fc.array(step, { maxLength: 60 }),
          fc.integer(),
          fc.integer(),
          (one, said, answered, steps, clientFirst, serverFirst) => {
            const rig = helperRig(A, { nat: one.nat });
            const lines = (all: readonly string[]) => encode(all.map((line) => `${line}\r\n`).join(""));
            const client = new End(lines(said), clientFirst, 1, one.client);
            const server = new End(lines(answered), serverFirst, 2, one.server);
            open(rig, client, server);
            const late: { readonly to: End; readonly frame: Uint8Array }[] = [];
            const send = (from: End, frame: Uint8Array, lost = false, isLate = false): void => {
              const to = from === client ? server : client;
              const out = rig.send(from.port, frame).get(to.port)?.[0];
              if (out === undefined) throw new Error("the switch keeps a segment");
              if (isLate) late.push({ to, frame: out });
              else if (!lost) to.receive(out);
            };
            for (const { fromClient, back, size, lost, late: isLate, lines: whole } of steps) {
              const from = fromClient ? client : server;
              const start = whole ? from.acknowledged : Math.max(from.acknowledged, from.sent - back);
              const lineEnd = from.says.indexOf(10, start + size - 1) + 1;
              send(from, from.segment(start, whole ? lineEnd - start : size), lost, isLate);
            }
            for (const { to, frame } of late) to.receive(frame);
            // Nothing is lost any more.
            for (let n = 0; n < 400 && client.acknowledged + server.acknowledged < 1e9; n++) {
              for (const from of [client, server]) send(from, from.segment(from.acknowledged, SEGMENT_MAX));
              if (client.acknowledged === client.says.byteLength)
                if (server.acknowledged === server.says.byteLength) break;
            }
            expect(client.acknowledged).toBe(client.says.byteLength);
            expect(server.acknowledged).toBe(server.says.byteLength);
            changed += check(server, said, one) + check(client, answered, one);
          },
        ),
        { numRuns: 150 },
      );
      expect(changed).toBeGreaterThan(50);
    },
    DEADLINE_MS,
  );
});

/** How many lines have been changed. */
function check(hearer: End, said: readonly string[], one: Case): number {
  const heard = new TextDecoder().decode(Uint8Array.from(hearer.heard as number[])).split("\r\n");
  expect(heard).toHaveLength(said.length + 1);
  let changed = 0;
  said.forEach((line, n) => {
    const read = heard[n] as string;
    const fits = one.becomes(line).some((allowed) => allowed.test(read));
    // A port that is taken already is another in what is told of it.
    const other = /^229 /.test(line) && /^229 Entering \(\|\|\|\d+\|\)$/.test(read);
    expect(fits || other, `${line} became ${read}`).toBe(true);
    if (read !== line) changed++;
  });
  return changed;
}
