// Conversations for benches and long runs: what opens them, and what may go on for ever. Frames of two directions.
import { tcpFrame, udpFrame } from "./frames.js";

const SYN = 2;
const ACK = 16;
const SERVER = "10.1.0.1";

export interface Conversation {
  /** In this order; clients are behind port 1. */
  readonly opening: readonly (readonly [port: 1 | 2, frame: Uint8Array])[];
  readonly there: Uint8Array;
  readonly back: Uint8Array;
}

export function clientEnds(i: number) {
  const source = `10.0.${(i >> 8) & 255}.${i & 255}`;
  return { source, destination: SERVER, sourcePort: 1024 + (i % 50_000), destinationPort: 80 };
}

/** `seen`: where the server believes the client to be. */
export function tcpConversation(i: number, seen = clientEnds(i)): Conversation {
  const client = clientEnds(i);
  const server = {
    source: SERVER,
    destination: seen.source,
    sourcePort: 80,
    destinationPort: seen.sourcePort,
  };
  const window = { window: 0xffff };
  return {
    opening: [
      [1, tcpFrame(client, SYN, undefined, { sequence: 100, ...window })],
      [2, tcpFrame(server, SYN | ACK, undefined, { sequence: 500, acknowledgment: 101, ...window })],
      [1, tcpFrame(client, ACK, undefined, { sequence: 101, acknowledgment: 501, ...window })],
    ],
    there: tcpFrame(client, ACK, new Uint8Array(6), { sequence: 101, acknowledgment: 501, ...window }),
    back: tcpFrame(server, ACK, new Uint8Array(6), { sequence: 501, acknowledgment: 101, ...window }),
  };
}

/** The server knows the client by 10.2.0.1. */
export function masqueradedConversation(i: number): Conversation {
  return tcpConversation(i, { ...clientEnds(i), source: "10.2.0.1" });
}

export function udpConversation(i: number): Conversation {
  const client = clientEnds(i);
  const there = udpFrame(client, new Uint8Array(18));
  const back = udpFrame(
    {
      source: SERVER,
      destination: client.source,
      sourcePort: client.destinationPort,
      destinationPort: client.sourcePort,
    },
    new Uint8Array(18),
  );
  return {
    opening: [
      [1, there],
      [2, back],
    ],
    there,
    back,
  };
}
