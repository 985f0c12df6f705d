// The channel's state machine: hello, versions, framing, keepalive. Real hellos as ovs-ofctl 3.1 sends them.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromHex } from "../bytes/index.js";
import { type ChannelOutput, ChannelSession } from "./channel-session.js";
import { encodeMessage, parseMessage } from "./message-wire.js";
import type { OpenFlowMessage } from "./messages.js";

/** `ovs-ofctl -O OpenFlow13` (bitmap 1.3), `-O OpenFlow13,OpenFlow15`, and a 1.0-only hello without a bitmap. */
const HELLO_13 = fromHex("0400001000000001000100080000 0010".replace(" ", ""));
const HELLO_13_15 = fromHex("060000100000000100010008 00000050".replace(" ", ""));
const HELLO_15_NO_BITMAP = fromHex("0600000800000001");
const HELLO_15_ONLY = fromHex("060000100000000100010008 00000040".replace(" ", ""));
const HELLO_10 = fromHex("0100000800000001");

function open(hello = HELLO_13): ChannelSession {
  const session = new ChannelSession({ answerMalformed: true });
  session.start(0);
  session.receive(hello, 0);
  return session;
}

const types = (outputs: readonly ChannelOutput[]): string[] => outputs.map((output) => output.type);

function sent(outputs: readonly ChannelOutput[]): OpenFlowMessage[] {
  return outputs.flatMap((output) => (output.type === "send" ? [parseMessage(output.bytes)] : []));
}

describe("ChannelSession", () => {
  it("says hello with a bitmap of 1.3 when it starts", () => {
    const session = new ChannelSession({ answerMalformed: true });
    expect(sent(session.start(0))).toEqual([{ type: "hello", xid: 1, version: 4, versions: [4] }]);
  });

  it.each([
    ["1.3", HELLO_13],
    ["1.3 and 1.5", HELLO_13_15],
    ["up to 1.5 without a bitmap", HELLO_15_NO_BITMAP],
  ])("agrees on 1.3 with a peer that speaks %s", (_what, hello) => {
    const session = new ChannelSession({ answerMalformed: true });
    session.start(0);
    expect(types(session.receive(hello, 0))).toEqual(["established"]);
    expect(session.isEstablished).toBe(true);
  });

  it.each([
    ["only 1.0", HELLO_10, 1],
    ["only 1.5", HELLO_15_ONLY, 4],
  ])("refuses a peer that speaks %s", (_what, hello, version) => {
    const session = new ChannelSession({ answerMalformed: true });
    session.start(0);
    const outputs = session.receive(hello, 0);
    expect(types(outputs)).toEqual(["send", "close"]);
    expect(outputs[0]?.type === "send" && outputs[0].bytes[0]).toBe(version);
    expect(sent(outputs)[0]).toMatchObject({ type: "error", errorType: 0, code: 0 });
    expect(session.receive(HELLO_13, 0)).toEqual([]);
  });

  it("refuses a peer whose first message is not a hello", () => {
    const session = new ChannelSession({ answerMalformed: true });
    session.start(0);
    const outputs = session.receive(encodeMessage({ type: "features_request", xid: 3 }), 0);
    expect(types(outputs)).toEqual(["send", "close"]);
    expect(sent(outputs)[0]).toMatchObject({ type: "error", xid: 3, errorType: 0, code: 0 });
  });

  it("closes when the peer refuses our version", () => {
    const session = new ChannelSession({ answerMalformed: true });
    session.start(0);
    const data = Uint8Array.from(Buffer.from("too new"));
    const outputs = session.receive(encodeMessage({ type: "error", xid: 1, errorType: 0, code: 0, data }), 0);
    expect(outputs).toEqual([{ type: "close", reason: "the peer refused us: too new" }]);
  });

  it("closes when no hello comes in time", () => {
    const session = new ChannelSession({ answerMalformed: true, helloTimeoutMs: 1000 });
    session.start(5);
    expect(session.tick(1004)).toEqual([]);
    expect(types(session.tick(1005))).toEqual(["close"]);
  });

  it("answers an echo with its own data and delivers nothing", () => {
    const outputs = open().receive(
      encodeMessage({ type: "echo_request", xid: 7, data: Uint8Array.of(1, 2) }),
      1,
    );
    expect(types(outputs)).toEqual(["send"]);
    expect(sent(outputs)).toEqual([{ type: "echo_reply", xid: 7, data: Uint8Array.of(1, 2) }]);
  });

  it("probes a silent peer, is content with any byte, and gives up on a dead one", () => {
    const session = open();
    expect(session.nextDeadlineMs()).toBe(5000);
    expect(sent(session.tick(5000))).toMatchObject([{ type: "echo_request" }]);
    session.receive(Uint8Array.of(4), 5001);
    expect(session.tick(10_000)).toEqual([]);
    expect(sent(session.tick(10_001))).toMatchObject([{ type: "echo_request" }]);
    expect(session.tick(15_000)).toEqual([]);
    expect(types(session.tick(15_001))).toEqual(["close"]);
  });

  it("gives a peer its whole time to answer, however late it was asked", () => {
    const session = open();
    expect(sent(session.tick(60_000))).toMatchObject([{ type: "echo_request" }]);
    expect(session.isProbing).toBe(true);
    expect(session.tick(64_999)).toEqual([]);
    expect(session.nextDeadlineMs()).toBe(65_000);
    session.receive(Uint8Array.of(4), 64_999);
    expect(session.isProbing).toBe(false);
    expect(session.tick(65_000)).toEqual([]);
  });

  it("answers a malformed message with the error it deserves and goes on", () => {
    const outputs = open().receive(fromHex(`0463000800000009${"0414000800000005"}`), 1);
    expect(types(outputs)).toEqual(["malformed", "send", "message"]);
    expect(sent(outputs)).toEqual([
      { type: "error", xid: 9, errorType: 1, code: 1, data: fromHex("0463000800000009") },
    ]);
  });

  it("only reports a malformed message when it is the controller's end", () => {
    const session = new ChannelSession({ answerMalformed: false });
    session.start(0);
    session.receive(HELLO_13, 0);
    expect(types(session.receive(fromHex("0463000800000009"), 1))).toEqual(["malformed"]);
  });

  it("closes a stream whose framing is lost", () => {
    const session = open();
    const outputs = session.receive(fromHex("0414000700000005"), 1);
    expect(types(outputs)).toEqual(["send", "close"]);
    expect(sent(outputs)[0]).toMatchObject({ type: "error", errorType: 1, code: 6 });
  });

  it("delivers the same messages however the stream is cut", () => {
    const messages: OpenFlowMessage[] = [
      { type: "features_request", xid: 1 },
      { type: "experimenter", xid: 2, experimenter: 9, expType: 1, data: new Uint8Array(3000).fill(7) },
      { type: "barrier_request", xid: 3 },
    ];
    const stream = Buffer.concat(messages.map((message) => encodeMessage(message)));
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: stream.length })),
        fc.boolean(),
        (cuts, isInputStable) => {
          const session = new ChannelSession({ answerMalformed: true, isInputStable });
          session.start(0);
          session.receive(HELLO_13, 0);
          const got: OpenFlowMessage[] = [];
          const edges = [0, ...cuts.sort((a, b) => a - b), stream.length];
          for (let i = 1; i < edges.length; i++) {
            for (const output of session.receive(stream.subarray(edges[i - 1], edges[i]), 1)) {
              if (output.type === "message") got.push(output.message);
            }
          }
          expect(got).toEqual(messages);
        },
      ),
    );
  });

  it("never throws on arbitrary bytes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 10 }),
        fc.boolean(),
        (chunks, hello) => {
          const session = new ChannelSession({ answerMalformed: true });
          session.start(0);
          if (hello) session.receive(HELLO_13, 0);
          for (const chunk of chunks) session.receive(chunk, 1);
        },
      ),
    );
  });
});
