// The traffic of a data plane bench: which conversations there are, how their frames look, and in what order they come.
// Conversation n runs between 10.x.y.z (n itself) behind the even card of a pair and a server behind the odd one.
// Pure; the order is drawn from a fixed seed, the same for every contender.

export type Distribution = "uniform" | "zipf";
/** What the addresses have to be like for the pipeline under test. */
export type Addressing = "plain" | "routed" | "translated";

export interface TrafficSpec {
  readonly flows: number;
  readonly distribution: Distribution;
  /** Frame sizes in bytes without FCS, one after the other. */
  readonly sizes: readonly number[];
  readonly addressing: Addressing;
}

/** IMIX: seven small, four middle-sized, one large. */
export const IMIX: readonly number[] = [64, 594, 64, 64, 594, 64, 1514, 64, 594, 64, 594, 64];
export const ROUTER_MAC = [0x02, 0, 0, 0, 0xff, 0xfe] as const;
/** The address that clients of a translated service talk to, and the server behind it. */
export const SERVICE = "192.0.2.1";
export const SERVER = "172.16.0.1";
const ORDER_LENGTH = 1 << 20;
/** So often each conversation comes in the order, or more often where there are few. */
const TURNS = 4;
const CLIENTS = 0x0a000000;
const SERVERS = 0xac100000;
const SERVERS_MASK = 0xfff;
const FIRST_PORT = 1024;
const PORTS = 50_000;
const DNS = 53;
const IP_AT = 14;

export function macOf(card: number): readonly number[] {
  return [0x02, 0, 0, 0, 0, card + 1];
}

/** The server address of conversation `n`: 4096 of them in 16 networks of 256. */
export function serverOf(n: number): number {
  return (SERVERS + (n & SERVERS_MASK)) >>> 0;
}

export function clientOf(n: number): number {
  return (CLIENTS + n) >>> 0;
}

/** Which conversation each frame belongs to; read in a circle. */
export function frameOrder(flows: number, distribution: Distribution): Uint32Array {
  const length = Math.max(ORDER_LENGTH, TURNS * flows);
  const order = new Uint32Array(length);
  let state = 0x2545f491;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const share = (state >>> 0) / 0x1_0000_0000;
    order[i] = distribution === "zipf" ? Math.floor((flows + 1) ** share) - 1 : Math.floor(share * flows);
  }
  return order;
}

/** A frame of conversation `n` out of card `card`, UDP without checksum. */
export function frameOf(spec: TrafficSpec, n: number, card: number, sizeBytes: number): Uint8Array {
  const frame = new Uint8Array(sizeBytes);
  const view = new DataView(frame.buffer);
  const isClient = card % 2 === 0;
  const client = clientOf(n);
  const translated = spec.addressing === "translated";
  const server = translated ? (isClient ? 0xc0000201 : SERVERS + 1) : serverOf(n);
  frame.set(spec.addressing === "routed" ? ROUTER_MAC : macOf(card ^ 1), 0);
  frame.set(macOf(card), 6);
  view.setUint16(12, 0x0800);
  view.setUint16(IP_AT, 0x4500);
  view.setUint16(IP_AT + 2, sizeBytes - IP_AT);
  view.setUint16(IP_AT + 8, 0x4011); // TTL 64, UDP
  view.setUint32(IP_AT + 12, isClient ? client : server);
  view.setUint32(IP_AT + 16, isClient ? server : client);
  view.setUint16(IP_AT + 20, isClient ? FIRST_PORT + (n % PORTS) : DNS);
  view.setUint16(IP_AT + 22, isClient ? DNS : FIRST_PORT + (n % PORTS));
  view.setUint16(IP_AT + 24, sizeBytes - IP_AT - 20);
  view.setUint16(IP_AT + 10, headerChecksum(view));
  return frame;
}

function headerChecksum(view: DataView): number {
  let sum = 0;
  for (let at = IP_AT; at < IP_AT + 20; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
