// The controller's end of a channel over a real socket: what it says and in which order, and when it asks whether the
// switch is still there.
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import {
  encodeMessage,
  OFP_NO_BUFFER,
  type OpenFlowMessage,
  type PacketIn,
  parseHeader,
  parseMessage,
} from "../../base/openflow/index.js";
import { SimulatedClock, waitFor } from "../../base/time/index.js";
import { OpenFlowListener } from "./openflow-listener.js";
import type { SwitchLink } from "./switch-link.js";

const DEADLINE_MS = 30_000;
const PROBE_MS = 5_000;

let dir: string;
let clock: SimulatedClock;
let listener: OpenFlowListener;
let link: SwitchLink | undefined;
let onPacketIn: (message: PacketIn) => void;
let peer: Peer;

/** The switch's end: bytes out, messages in. */
class Peer {
  readonly received: OpenFlowMessage[] = [];
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(path: string) {
    this.#socket = connect(path);
    this.#socket.on("error", () => {});
    this.#socket.on("data", (more) => {
      this.#bytes = Buffer.concat([this.#bytes, more]);
      for (;;) {
        const header = parseHeader(this.#bytes);
        if (header === undefined || this.#bytes.byteLength < header.length) return;
        this.received.push(parseMessage(this.#bytes.subarray(0, header.length)));
        this.#bytes = this.#bytes.subarray(header.length);
      }
    });
  }

  get types(): string[] {
    return this.received.map(({ type }) => type);
  }

  send(...messages: OpenFlowMessage[]): void {
    this.#socket.write(Buffer.concat(messages.map((message) => encodeMessage(message))));
  }

  async hears(count: number): Promise<void> {
    await waitFor(
      () => this.received.length >= count,
      () => `${count} messages instead of ${this.types}`,
      DEADLINE_MS,
      2,
    );
  }

  close(): void {
    this.#socket.destroy();
  }
}

beforeEach(async () => {
  dir = mkdtempSync("/tmp/plinth-listener-");
  const path = join(dir, "openflow.sock");
  clock = new SimulatedClock();
  link = undefined;
  onPacketIn = () => {};
  listener = await OpenFlowListener.open(
    {
      path,
      eventsFor: () => ({
        onPacketIn: (message) => onPacketIn(message),
        onFlowRemoved: () => {},
        onError: () => {},
        onSlave: () => {},
      }),
      onSwitch: (there) => {
        link = there;
      },
      onGone: () => {
        link = undefined;
      },
    },
    { clock, log: silentLog },
  );
  peer = new Peer(path);
  peer.send({ type: "hello", xid: 1, version: 4, versions: [4] });
  await peer.hears(2);
  const xid = peer.received[1]?.xid ?? 0;
  const features = { bufferCount: 0, tableCount: 254, auxiliaryId: 0, capabilities: 0 };
  peer.send({ type: "features_reply", xid, datapathId: 9n, ...features });
  await waitFor(() => link !== undefined, "a link", DEADLINE_MS, 2);
  peer.received.length = 0;
});

afterEach(async () => {
  peer.close();
  await listener.close();
  rmSync(dir, { recursive: true, force: true });
});

function echo(xid: number): OpenFlowMessage {
  return { type: "echo_request", xid, data: Uint8Array.of(xid) };
}

function packetIn(size: number): OpenFlowMessage {
  return {
    type: "packet_in",
    xid: 0,
    bufferId: OFP_NO_BUFFER,
    totalLength: size,
    reason: "action",
    tableId: 3,
    cookie: 5n,
    match: [{ field: "in_port", value: Uint8Array.of(0, 0, 0, 1) }],
    data: new Uint8Array(size).fill(size),
  };
}

describe("the OpenFlow listener", () => {
  it("answers what came together in its order, its own answers among those of the session", async () => {
    onPacketIn = ({ data }) => {
      link?.send({ type: "packet_out", bufferId: OFP_NO_BUFFER, inPort: 1, actions: [], data });
    };
    peer.send(echo(7), packetIn(60), echo(8), packetIn(61), echo(9));
    await peer.hears(5);
    expect(peer.types).toEqual(["echo_reply", "packet_out", "echo_reply", "packet_out", "echo_reply"]);
    const data = peer.received.map((message) => ("data" in message ? message.data : undefined));
    expect(data).toEqual([
      Uint8Array.of(7),
      new Uint8Array(60).fill(60),
      Uint8Array.of(8),
      new Uint8Array(61).fill(61),
      Uint8Array.of(9),
    ]);
  });

  it("sends what is far more than a piece whole and in order, and goes on behind it", async () => {
    const data = new Uint8Array(1000);
    const xids: number[] = [];
    for (let i = 0; i < 500; i++)
      xids.push(
        link?.send({ type: "packet_out", bufferId: OFP_NO_BUFFER, inPort: 1, actions: [], data }) ?? 0,
      );
    const barrier = link?.barrier();
    await peer.hears(501);
    expect(peer.received.slice(0, 500).map(({ xid }) => xid)).toEqual(xids);
    const last = peer.received[500];
    expect(last?.type).toBe("barrier_request");
    peer.send({ type: "barrier_reply", xid: last?.xid ?? 0 });
    await expect(barrier).resolves.toBeUndefined();
  });

  it("sends nothing of a message that does not fit, and those around it whole", async () => {
    const send = (size: number): void => {
      const data = new Uint8Array(size);
      link?.send({ type: "packet_out", bufferId: OFP_NO_BUFFER, inPort: 1, actions: [], data });
    };
    send(10);
    expect(() => send(70_000)).toThrow(RangeError);
    send(20);
    await peer.hears(2);
    const sizes = peer.received.map((message) => message.type === "packet_out" && message.data.byteLength);
    expect(sizes).toEqual([10, 20]);
  });

  it("asks a switch only when it has been silent for so long since its last word, and hangs up then", async () => {
    for (let i = 0; i < 3; i++) {
      clock.advance(PROBE_MS - 1);
      peer.send(echo(i));
      await peer.hears(i + 1);
    }
    expect(peer.types).toEqual(["echo_reply", "echo_reply", "echo_reply"]);
    clock.advance(PROBE_MS - 1);
    clock.advance(1);
    await peer.hears(4);
    expect(peer.types[3]).toBe("echo_request");
    clock.advance(PROBE_MS);
    await waitFor(() => link === undefined, "the channel to close", DEADLINE_MS, 2);
  });
});
