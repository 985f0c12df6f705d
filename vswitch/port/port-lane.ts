// What two threads share about a port that one of them serves (port-host.ts) and the other one forwards for
// (remote-port.ts), and about the packets that they lend each other.
//
//   forwarding worker                         port worker
//   RemotePort  ◄──────── inward ───────────  what came in by the port, and was not finished at once
//               ───────── outward ─────────►  what is to leave by it
//               (other port workers) ─────►  what they have finished that is to leave by it: crossings (far-port.ts, outlet.ts)
//               ───────── verdicts ────────►  by which frames that come in are finished at once (flow/published-verdicts.ts)
//   SlotBank    ───────── empties ─────────►  packets to take frames in with
//               ◄──────── returns ──────────  packets of which it has too many
//
// A packet is in one place at a time, so rings that hold every packet never overflow. Pure: layout only.
import { createEventfd } from "../../base/linux/index.js";
import { type Port, SlotRing } from "../../base/packet/index.js";
import { publishedSize } from "../flow/index.js";

/** Packets on their way between the threads, by port and direction. */
export const LANE_PACKETS = 1024;
/** Verdicts on frames of one port that are published. */
const LANE_VERDICTS = 4096;

// Words of PortLane.state.
export const LANE_LINK_UP = 0;
/** OFFLOAD_* of the port. */
export const LANE_OFFLOADS = 1;
/** AWAKE, ASLEEP or RUNG: the thread that forwards, as to this port. */
export const LANE_SLEEP = 2;
/** Bytes of the text that says why the link is down. */
export const LANE_ERROR_SIZE = 3;
/** Counts packets of `inward` that have been judged, and whatever left for another port is in the ring of that. */
export const LANE_JUDGED = 4;
/** 1: the port is about to be served by another lane, and other port workers put nothing into its crossings any more. */
export const LANE_LEAVES = 5;
/** Counts what other port workers have dropped since the port's crossings were full. */
export const LANE_LOST = 6;
/** Bits by queue: which of the guest's queues other port workers could serve, and the number of the state that it is of. */
export const LANE_QUEUES = 7;
export const LANE_GENERATION = 8;
/** The port's counters, as of its last breath: where in the state, in bytes. */
export const LANE_STATS_AT = 64;
export const LANE_ERROR_AT = 128;
export const LANE_ERROR_SIZE_MAX = 384;

// Words of WorkerLane.state.
/** AWAKE, ASLEEP or RUNG: the port worker. */
export const WORKER_SLEEP = 0;
/** Counts the worker's breaths: one that stands still hangs, asleep or not. */
export const WORKER_BREATHS = 1;
/** Odd while the worker finishes frames by verdicts that are published; another number for each burst. */
export const WORKER_JUDGES = 2;
/** 1: its thread has ended, in the middle of whatever it was doing. */
export const WORKER_GONE = 3;
/** Counts packets, and large ones, that it has had from port workers that ended, and has kept. */
export const WORKER_INHERITED = 4;
export const WORKER_INHERITED_LARGE = 5;
/** 1: somebody has waited for it for too long, in the middle of a burst. */
export const WORKER_HOLDS_UP = 6;

export const AWAKE = 0;
export const ASLEEP = 1;
export const RUNG = 2;

export interface PortLane {
  /** Of this lane alone, and above 0. */
  readonly id: number;
  readonly inward: SharedArrayBuffer;
  readonly outward: SharedArrayBuffer;
  /** By the place of the port worker that puts. */
  readonly crossings: readonly SharedArrayBuffer[];
  readonly verdicts: SharedArrayBuffer;
  readonly state: SharedArrayBuffer;
  /** Rung for the thread that forwards. */
  readonly wakeFd: number;
}

/** Between the worker that forwards and one port worker. */
export interface WorkerLane {
  readonly empties: SharedArrayBuffer;
  readonly returns: SharedArrayBuffer;
  readonly state: SharedArrayBuffer;
  /** Rung for the port worker. */
  readonly doorbell: number;
}

/** From which worker, and to which one: what they give back to each other (neighbour.ts). */
export type Homeward = readonly (readonly SharedArrayBuffer[])[];

/** Looks at a worker that is in the middle of a burst, before others may have the processor meanwhile. */
const LOOKS_MAX = 1000;
/** Milliseconds that it may be in a burst from then on, which takes some tens of microseconds, before it is ended. */
const HOLDS_UP_MAX_MS = 1000;

let lanes = 0;

/**
 * For a port that one of so many port workers serves. The descriptor is the caller's to close; a lane for some queues of
 * a port has that of the port's own.
 */
export function createPortLane(workers = 1, wakeFd = createEventfd()): PortLane {
  return {
    id: ++lanes,
    inward: SlotRing.memory(LANE_PACKETS),
    outward: SlotRing.memory(LANE_PACKETS),
    crossings: Array.from({ length: workers }, () => SlotRing.memory(LANE_PACKETS)),
    verdicts: new SharedArrayBuffer(publishedSize(LANE_VERDICTS)),
    state: new SharedArrayBuffer(LANE_ERROR_AT + LANE_ERROR_SIZE_MAX),
    wakeFd,
  };
}

/** As the port is that is to be served by the lane, until its worker says how it is. */
export function presetLane(
  { state }: Pick<PortLane, "state">,
  port: Pick<Port, "linkUp" | "offloads">,
): void {
  const words = new Int32Array(state);
  words[LANE_OFFLOADS] = port.offloads ?? 0;
  Atomics.store(words, LANE_LINK_UP, port.linkUp ? 1 : 0);
}

/** The port could not be opened: its link is down, and why. */
export function failLane(lane: Pick<PortLane, "state">, reason: string): void {
  tellLaneError(lane, reason);
  Atomics.store(new Int32Array(lane.state), LANE_LINK_UP, 0);
}

/** Says in the lane why the port's link is down; nothing when it is up. */
export function tellLaneError({ state }: Pick<PortLane, "state">, text: string): void {
  const bytes = Buffer.from(text).subarray(0, LANE_ERROR_SIZE_MAX);
  new Uint8Array(state).set(bytes, LANE_ERROR_AT);
  Atomics.store(new Int32Array(state), LANE_ERROR_SIZE, bytes.byteLength);
}

/** With rings that hold `packets`, a power of two; the descriptor is the caller's to close. */
export function createWorkerLane(packets: number): WorkerLane {
  return {
    empties: SlotRing.memory(packets),
    returns: SlotRing.memory(packets),
    state: new SharedArrayBuffer(64),
    doorbell: createEventfd(),
  };
}

/** Between so many port workers, with rings that hold `packets`, a power of two. */
export function createHomeward(workers: number, packets: number): Homeward {
  const row = (): SharedArrayBuffer[] => Array.from({ length: workers }, () => SlotRing.memory(packets));
  return Array.from({ length: workers }, row);
}

/**
 * Returns when the burst is over that the worker with this state finishes by published verdicts, if it is in one. What
 * has been taken back before is not known to the next.
 */
export function awaitPass(state: Int32Array): void {
  const burst = Atomics.load(state, WORKER_JUDGES);
  if ((burst & 1) === 1) awaitWord(state, WORKER_JUDGES, burst, state);
}

/**
 * Returns true when the word is no longer `value`, which the worker with this state is about to change; false when that
 * has ended. One that takes too long is ended.
 */
export function awaitWord(
  words: Int32Array,
  at: number,
  value: number,
  state: Int32Array,
  meanwhile?: () => void,
): boolean {
  let sinceMs = 0;
  for (let looks = 0; Atomics.load(words, at) === value; looks++) {
    if (Atomics.load(state, WORKER_GONE) === 1) return false;
    meanwhile?.();
    if (looks < LOOKS_MAX) continue;
    const nowMs = performance.now(); // cold
    if (looks === LOOKS_MAX) sinceMs = nowMs;
    if (nowMs - sinceMs > HOLDS_UP_MAX_MS) Atomics.store(state, WORKER_HOLDS_UP, 1);
    Atomics.wait(words, at, value, 1);
  }
  return true;
}
