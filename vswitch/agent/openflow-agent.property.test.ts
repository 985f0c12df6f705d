// Whatever bytes come in on the management socket, the agent answers or closes, and serves the next client.
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { encodeMessage, parseHeader } from "../../base/openflow/index.js";
import { messageArbitrary } from "../../base/openflow/message-arbitrary.js";
import { systemClock } from "../../base/time/index.js";
import { MemorySwitch } from "./memory-switch.js";
import { OpenFlowAgent } from "./openflow-agent.js";

const HELLO = encodeMessage({ type: "hello", xid: 1, version: 4, versions: [4] });
const BARRIER = encodeMessage({ type: "barrier_request", xid: 0x0ba44e4 });
let directory: string;
let agent: OpenFlowAgent;

beforeAll(async () => {
  directory = mkdtempSync("/tmp/of-prop-");
  const modules = { model: new MemorySwitch(), clock: systemClock, log: silentLog };
  agent = await OpenFlowAgent.open({ managementSocket: join(directory, "br0.mgmt") }, modules);
});

afterAll(async () => {
  await agent.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Sends everything; resolves with the types of the answers when the barrier is answered or the switch hung up. */
function talk(chunks: readonly Uint8Array[]): Promise<{ hungUp: boolean; answers: number }> {
  return new Promise((resolve) => {
    const socket = connect(join(directory, "br0.mgmt"));
    let received = Buffer.alloc(0);
    let answers = 0;
    const end = (hungUp: boolean): void => {
      socket.destroy();
      resolve({ hungUp, answers });
    };
    socket.on("error", () => end(true));
    socket.on("close", () => end(true));
    socket.on("data", (bytes) => {
      received = Buffer.concat([received, bytes as Buffer]);
      for (
        let header = parseHeader(received);
        header && received.length >= header.length;
        header = parseHeader(received)
      ) {
        received = received.subarray(header.length);
        answers++;
        if (header.typeCode === 21 && header.xid === 0x0ba44e4) end(false);
      }
    });
    for (const chunk of chunks) socket.write(chunk);
  });
}

describe("OpenFlowAgent", () => {
  it("answers a barrier behind any well-framed messages", async () => {
    const bodies = fc.array(
      fc.oneof(
        messageArbitrary
          .filter((message) => message.type !== "hello")
          .map((message) => encodeMessage(message)),
        fc.tuple(fc.integer({ min: 0, max: 29 }), fc.uint8Array({ maxLength: 100 })).map(([type, body]) => {
          const bytes = new Uint8Array(8 + body.length);
          bytes.set([4, type, 0, bytes.length, 0, 0, 0, 9]);
          bytes.set(body, 8);
          return bytes;
        }),
      ),
      { maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(bodies, async (messages) => {
        expect((await talk([HELLO, ...messages, BARRIER])).hungUp).toBe(false);
      }),
      { numRuns: 150 },
    );
  });

  it("answers or hangs up on arbitrary bytes, and serves the next client", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 8, maxLength: 64 }), { maxLength: 5 }),
        async (chunks) => {
          // A length of 0 ends the connection at the latest: what came before may look like a long message's beginning.
          await talk([...chunks, new Uint8Array(0x10000 + 8)]);
        },
      ),
      { numRuns: 100 },
    );
    expect(await talk([HELLO, BARRIER])).toEqual({ hungUp: false, answers: 2 });
  });
});
