// FTP control connections under translation, packet by packet: what the other end reads, and the numbers of both.
import { describe, expect, it } from "vitest";
import type { CtAction } from "../../base/openflow/index.js";
import {
  ACK,
  FIN,
  A as HTTP,
  A6 as HTTP6,
  NAT_EXISTING,
  natTo,
  readTcp,
  SYN,
  turn,
} from "../testing/conversation.js";
import { type Ends, icmpFrame, tcpFrame } from "../testing/frames.js";
import { helperRig, openControl } from "../testing/helper-rig.js";
import { apply, field, match, type Rig } from "../testing/rig.js";
import { trackAction } from "../testing/track-rig.js";

const A: Required<Ends> = { ...HTTP, destinationPort: 21 };
const A6: Required<Ends> = { ...HTTP6, destinationPort: 21 };
const nothing: Uint8Array = new Uint8Array(0);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A control connection of which the client says `client` and the server `server`, as each knows the other. */
class Control {
  readonly rig: Rig;
  readonly ends: Required<Ends>;
  readonly seen: Required<Ends>;

  constructor(
    ends: Required<Ends>,
    seen: Required<Ends>,
    nat: CtAction["actions"],
    rig: Rig = helperRig(ends, { nat }),
  ) {
    this.rig = rig;
    this.ends = ends;
    this.seen = seen;
    openControl(rig, ends, seen);
  }

  client(
    words: string,
    sequence: number,
    acknowledgment = 501,
    options: Uint8Array = nothing,
    flags: number = ACK,
  ) {
    return this.#say(1, this.ends, words, { sequence, acknowledgment, options }, flags);
  }

  server(words: string, sequence: number, acknowledgment: number, options: Uint8Array = nothing) {
    return this.#say(2, turn(this.seen), words, { sequence, acknowledgment, options }, ACK);
  }

  #say(
    port: number,
    ends: Required<Ends>,
    words: string,
    more: { sequence: number; acknowledgment: number; options: Uint8Array },
    flags: number,
  ) {
    const frame = tcpFrame(ends, flags, new TextEncoder().encode(words), more);
    const { segment } = readTcp(this.rig.send(port, frame).get(3 - port)?.[0]);
    return {
      text: text(segment.payload),
      sequence: segment.sequence,
      acknowledgment: segment.acknowledgment,
      segment,
    };
  }

  /** A SYN from `port`, and its ends as they come out; undefined when it does not. */
  data(port: number, ends: Required<Ends>): Required<Ends> | undefined {
    const frame = this.rig.send(port, tcpFrame(ends, SYN)).get(3 - port)?.[0];
    return frame === undefined ? undefined : readTcp(frame).ends;
  }
}

const behindSource = (): Control =>
  new Control(A, { ...A, source: "192.0.2.111" }, natTo("source", "192.0.2.111"));
const behindDestination = (): Control =>
  new Control(A, { ...A, destination: "10.0.0.50" }, natTo("destination", "10.0.0.50"));

describe("FTP behind a translated source", () => {
  it.each([
    ["PORT", A, "192.0.2.111", "PORT 10,0,0,1,5,1\r\n", "PORT 192,0,2,111,5,1\r\n"],
    ["EPRT", A, "192.0.2.111", "EPRT |1|10.0.0.1|1281|\r\n", "EPRT |1|192.0.2.111|1281|\r\n"],
    ["EPRT over IPv6", A6, "fd01:2:3::1111", "EPRT |2|fd00::1|1281|\r\n", "EPRT |2|fd01:2:3::1111|1281|\r\n"],
    ["a strange delimiter", A, "192.0.2.111", "eprt $1$10.0.0.1$1281$\r\n", "eprt $1$192.0.2.111$1281$\r\n"],
    ["an address that shrinks", A, "1.1.1.1", "PORT 10,0,0,1,5,1\r\n", "PORT 1,1,1,1,5,1\r\n"],
  ] as const)("gives the server the outside address: %s", (_name, ends, outside, said, read) => {
    const control = new Control(ends, { ...ends, source: outside }, natTo("source", outside));
    expect(control.client(said, 101)).toMatchObject({ text: read, sequence: 101, acknowledgment: 501 });
    const [more, less] = [101 + said.length, 101 + read.length];
    // The server has everything; the client hears so in its own numbers, and goes on in them.
    const answer = control.server("200 OK\r\n", 501, less);
    expect(answer).toMatchObject({ text: "200 OK\r\n", sequence: 501, acknowledgment: more });
    expect(control.client("NOOP\r\n", more, 509)).toMatchObject({ text: "NOOP\r\n", sequence: less });
    const data = {
      source: ends.destination,
      sourcePort: 20,
      destination: outside,
      destinationPort: 1281,
    };
    expect(control.data(2, data)).toEqual({ ...data, destination: ends.source });
    const back = tcpFrame(turn({ ...data, destination: ends.source }), SYN | ACK, nothing, {
      acknowledgment: 2,
    });
    expect(readTcp(control.rig.send(1, back).get(2)?.[0]).ends).toEqual(turn(data));
    expect(control.data(2, { ...data, sourcePort: 21 })).toBeUndefined();
  });

  it("says the same when the client does, however it cuts it, and forgets nothing for it", () => {
    const control = behindSource();
    const said = "PORT 10,0,0,1,5,1\r\n";
    const read = "PORT 192,0,2,111,5,1\r\n";
    control.client(said, 101);
    expect(control.client(said, 101).text).toBe(read);
    const head = control.client(said.slice(0, 9), 101);
    const tail = control.client(said.slice(9), 110);
    expect(head.text + tail.text).toBe(read);
    expect(tail.sequence).toBe(101 + head.text.length);
    // A keep-alive lies one octet before what comes next.
    expect(control.client("", 101 + said.length - 1).sequence).toBe(101 + read.length - 1);
    expect(control.rig.datapath.conntrack.expectations.count).toBe(1);
  });

  it("adds up what several commands change, also in one segment", () => {
    const control = behindSource();
    const said = "NOOP\r\nPORT 10,0,0,1,5,1\r\nEPRT |1|10.0.0.1|1282|\r\nLIST\r\n";
    const read = "NOOP\r\nPORT 192,0,2,111,5,1\r\nEPRT |1|192.0.2.111|1282|\r\nLIST\r\n";
    expect(control.client(said, 101).text).toBe(read);
    const next = 101 + said.length;
    expect(control.client("PORT 10,0,0,1,5,3\r\n", next)).toMatchObject({
      text: "PORT 192,0,2,111,5,3\r\n",
      sequence: 101 + read.length,
    });
    expect(control.server("", 501, 101 + read.length).acknowledgment).toBe(next);
    expect(control.rig.datapath.conntrack.expectations.count).toBe(3);
  });

  it("leaves a command alone that does not come whole, and one of which something has passed", () => {
    const control = behindSource();
    const said = "PORT 10,0,0,1,5,1\r\n";
    expect(control.client(said.slice(0, 12), 101).text).toBe(said.slice(0, 12));
    expect(control.client(said.slice(12), 113).text).toBe(said.slice(12));
    expect(control.client(said, 101).text).toBe(said);
    expect(control.rig.datapath.conntrack.expectations.count).toBe(0);
    // A hole is filled: what lies behind it has passed with the numbers that it had.
    const next = 101 + said.length;
    control.client("NOOP\r\n", next + said.length);
    expect(control.client(said, next).text).toBe(said);
    expect(control.rig.datapath.conntrack.expectations.count).toBe(0);
  });

  it("believes no command in the middle of a line, wherever a segment begins", () => {
    const control = behindSource();
    control.client("STOR ", 101);
    expect(control.client("PORT 10,0,0,1,5,1\r\n", 106).text).toBe("PORT 10,0,0,1,5,1\r\n");
    expect(control.rig.datapath.conntrack.expectations.count).toBe(0);
    expect(control.client("PORT 10,0,0,1,5,2\r\n", 125).text).toBe("PORT 192,0,2,111,5,2\r\n");
  });

  it("gives two clients that name one port two ports of the address they share", () => {
    const first = behindSource();
    const ends = { ...A, source: "10.0.0.9", sourcePort: 40001 };
    const second = new Control(ends, { ...ends, source: "192.0.2.111" }, [], first.rig);
    expect(first.client("PORT 10,0,0,1,5,1\r\n", 101).text).toBe("PORT 192,0,2,111,5,1\r\n");
    expect(second.client("PORT 10,0,0,9,5,1\r\n", 101).text).toBe("PORT 192,0,2,111,5,2\r\n");
    const data = { source: A.destination, sourcePort: 20, destination: "192.0.2.111", destinationPort: 1281 };
    expect(second.data(2, data)?.destination).toBe("10.0.0.1");
    expect(second.data(2, { ...data, destinationPort: 1282 })).toMatchObject({
      destination: "10.0.0.9",
      destinationPort: 1281,
    });
    // The port is in use now, by a connection; its own client may have it again.
    expect(second.client("PORT 10,0,0,9,5,1\r\n", 120).text).toBe("PORT 192,0,2,111,5,2\r\n");
    expect(first.client("PORT 10,0,0,1,5,1\r\n", 120).text).toBe("PORT 192,0,2,111,5,1\r\n");
  });

  it("believes the outside address too, of a client that knows it", () => {
    const control = behindSource();
    expect(control.client("PORT 192,0,2,111,5,1\r\n", 101).text).toBe("PORT 192,0,2,111,5,1\r\n");
    const data = { source: A.destination, sourcePort: 20, destination: "192.0.2.111", destinationPort: 1281 };
    expect(control.data(2, data)?.destination).toBe("10.0.0.1");
  });

  it("translates the blocks of SACK, and what ICMP errors quote", () => {
    const control = behindSource();
    const said = "PORT 10,0,0,1,5,1\r\n";
    const added = "PORT 192,0,2,111,5,1\r\n".length - said.length;
    control.client(said, 101);
    const next = 101 + said.length;
    const block = (start: number, end: number): Uint8Array => {
      const option = new Uint8Array(12);
      option.set([1, 1, 5, 10]);
      new DataView(option.buffer).setUint32(4, start);
      new DataView(option.buffer).setUint32(8, end);
      return option;
    };
    const sent = control.server("", 501, 101, block(next + added, next + added + 6));
    expect([...sent.segment.options]).toEqual([...block(next, next + 6)]);
    const outside = tcpFrame(control.seen, ACK, nothing, { sequence: next + added, acknowledgment: 501 });
    const error = icmpFrame(
      { source: "10.0.0.77", destination: "192.0.2.111" },
      3,
      0,
      Uint8Array.from(outside.subarray(14)),
    );
    control.rig.flow({
      match: match(field("eth_type", 0x0800), field("ip_proto", 1)),
      instructions: [apply(trackAction({ actions: NAT_EXISTING, tableId: 2 }))],
    });
    const told = control.rig.send(2, error).get(1)?.[0] as Uint8Array;
    expect(new DataView(told.buffer, told.byteOffset).getUint32(14 + 20 + 8 + 20 + 4)).toBe(next);
  });

  it("lets a segment grow to 1280 bytes and no further; the rest and its FIN come again", () => {
    const control = behindSource();
    const line = "PORT 10,0,0,1,5,1\r\n";
    const said = line + "X".repeat(1240 - line.length);
    const first = control.client(said, 101, 501, nothing, ACK | FIN);
    expect(first.text).toHaveLength(1240);
    expect(first.segment.flags & FIN).toBe(0);
    const acknowledged = control.server("", 501, 101 + 1240).acknowledgment;
    expect(acknowledged).toBe(101 + 1237);
    const rest = control.client(said.slice(1237), acknowledged, 501, nothing, ACK | FIN);
    expect(rest).toMatchObject({ text: "XXX", sequence: 101 + 1240 });
    expect(rest.segment.flags & FIN).toBe(FIN);
  });

  it("expects nothing for a line that it may not change any more, and helps no more than it may", () => {
    const control = behindSource();
    let at = 101;
    let changed = 0;
    for (let n = 0; n < 12; n++) {
      const said = `PORT 10,0,0,1,5,${n + 10}\r\n`;
      if (control.client(said, at).text !== said) changed++;
      at += said.length;
    }
    // Nobody has acknowledged anything yet.
    expect(changed).toBe(8);
    expect(control.rig.datapath.conntrack.expectations.count).toBe(8);
  });
});

describe("FTP behind a translated destination", () => {
  it("gives the client the address that it knows, and leads it to the server", () => {
    const control = behindDestination();
    const said = "227 Entering Passive Mode (10,0,0,50,20,1).\r\n";
    const read = "227 Entering Passive Mode (10,0,0,2,20,1).\r\n";
    expect(control.server(said, 501, 101).text).toBe(read);
    expect(control.client("LIST\r\n", 101, 501 + read.length).acknowledgment).toBe(501 + said.length);
    expect(control.server("150\r\n", 501 + said.length, 107).sequence).toBe(501 + read.length);
    const data = { ...A, sourcePort: 40001, destinationPort: 5121 };
    expect(control.data(1, data)).toEqual({ ...data, destination: "10.0.0.50" });
  });

  it.each([
    ["PORT 10,0,0,1,5,1\r\n", A, "10.0.0.50"],
    ["EPRT |2|fd00::1|1281|\r\n", A6, "fd00::50"],
  ] as const)(
    "lets the server open an active data connection, from the address that the client knows: %s",
    (said, ends, inside) => {
      const control = new Control(ends, { ...ends, destination: inside }, natTo("destination", inside));
      expect(control.client(said, 101).text).toBe(said);
      const data = { source: inside, sourcePort: 20, destination: ends.source, destinationPort: 1281 };
      const known = { ...data, source: ends.destination };
      expect(control.data(2, { ...data, destinationPort: 1282 })).toBeUndefined();
      expect(control.data(2, data)).toEqual(known);
      const back = tcpFrame(turn(known), SYN | ACK, nothing, { acknowledgment: 2 });
      expect(readTcp(control.rig.send(1, back).get(2)?.[0]).ends).toEqual(turn(data));
    },
  );

  it("lets a server announce the address by which it is known", () => {
    const control = behindDestination();
    const said = "227 Entering Passive Mode (10,0,0,2,20,1).\r\n";
    expect(control.server(said, 501, 101).text).toBe(said);
    const data = { ...A, sourcePort: 40001, destinationPort: 5121 };
    expect(control.data(1, data)).toEqual({ ...data, destination: "10.0.0.50" });
  });

  it("keeps apart by their ports two servers behind one address that announce the same to one client", () => {
    const first = behindDestination();

    const ends = { ...A, sourcePort: 40009, destinationPort: 2121 };

    const line = "229 Entering Extended Passive Mode (|||5121|)\r\n";
    expect(first.server(line, 501, 101).text).toBe(line);
    // By that port the client knows the control connection of another server.
    const control = new Control(
      ends,
      { ...ends, destination: "10.0.0.60" },
      [],
      controlRig(ends, natTo("destination", "10.0.0.60")),
    );
    const own = "229 Entering Extended Passive Mode (|||2121|)\r\n";
    expect(control.server(own, 501, 101).text).toBe("229 Entering Extended Passive Mode (|||2122|)\r\n");
    const data = { ...ends, sourcePort: 40010, destinationPort: 2122 };
    expect(control.data(1, data)).toEqual({ ...data, destination: "10.0.0.60", destinationPort: 2121 });
  });
});

/** A control port that is not 21. */
function controlRig(ends: Required<Ends>, nat: CtAction["actions"]): Rig {
  return helperRig(ends, { nat, port: ends.destinationPort });
}
