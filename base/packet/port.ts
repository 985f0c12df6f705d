// The port: where frames enter and leave a datapath. This file is the contract; `port.suite.ts` checks it.
//
// Life. A port belongs to one thread and one PacketPool, both given when it is made. It is usable at once, though its
// link may be down (nobody connected yet): then rx gives nothing and tx drops and counts. It reconnects by itself,
// driven by tick(). After close() nothing is called any more.
//
// Ownership. A packet handed over by rx() belongs to the caller. A packet handed to tx() belongs to the port, which
// frees it to the pool at once or when it has left. A packet given to tx() may be shared (pool.isShared): ports never
// change a byte of it, nor its offset or length. The bytes before a frame are anybody's for the moment, and so is a
// checksum field that is still to be completed.
//
// Never block, never throw, never allocate per packet. Trouble with the peer is a counter, or link down.
//
// Sleeping. The datapath polls rx() while there is work. Before it blocks it calls beginSleep() on every port; a port
// answers true when a packet that arrives from now on makes wakeFd readable, false when something is already waiting
// (or it cannot promise a wake-up), and then the datapath polls again. After waking, or when some port answered false,
// endSleep() is called on every port whose beginSleep() was called. Between the two nothing else is called.
// Thread: the datapath worker's. Hot: yes (rx, tx).
import type { Batch } from "./batch.js";

// Indices into Port.stats.
export const RX_PACKETS = 0;
export const RX_BYTES = 1;
export const TX_PACKETS = 2;
export const TX_BYTES = 3;
/** Frames from the peer lost before the datapath saw them: pool empty, queue full. */
export const RX_DROPPED = 4;
/** Frames that the peer had no room for, or sent while the link was down. */
export const TX_DROPPED = 5;
/** What the peer gave was no valid frame: too short, too long, bad descriptor, bad framing. */
export const RX_ERRORS = 6;
/** Frames that this port can never carry, e.g. longer than its peer's buffers. */
export const TX_ERRORS = 7;
export const PORT_STATS_LENGTH = 8;

/** Counters of one port, by the indices above; exact up to 2^53. */
export type PortCounters = Float64Array;

export function createPortCounters(): PortCounters {
  return new Float64Array(PORT_STATS_LENGTH);
}

export interface Port {
  /** For people and statistics; unique within a datapath. */
  readonly name: string;
  /** Written by the port alone, read by anybody on its thread. */
  readonly stats: PortCounters;
  /** True while frames can pass. Changes only inside tick(), rx() and tx(). */
  readonly linkUp: boolean;
  /** Readable when there is something to do after beginSleep() answered true; −1: this port never wakes anybody.
   *  Level-triggered and fixed for the port's life; one with several descriptors gives the fd of an epoll set. */
  readonly wakeFd: number;
  /** Which packets tx() takes undone, OFFLOAD_* bits: all others have been cut and their checksums completed. 0 when
   *  absent. May change inside tick(). */
  readonly offloads?: number;

  /**
   * Appends received packets to `batch`, as many as are there and fit, in order of arrival; returns how many.
   * Each has FRAME_SIZE_MIN ≤ length ≤ FRAME_SIZE_MAX and at least HEADROOM bytes before it; one that is still to be
   * cut into segments (pool.segmentSize) may have LARGE_FRAME_SIZE_MAX. When the pool is empty
   * the port drops or leaves frames with the peer, as its kind allows, and counts what it drops.
   */
  rx(batch: Batch): number;

  /**
   * Takes all packets of `batch` and leaves it empty. Order is kept. What does not fit is freed and counted.
   * Frames are on their way when tx() returns, or at the latest with the next tick().
   */
  tx(batch: Batch): void;

  /**
   * Everything that is not a packet: accept, reconnect, control messages of the peer, delayed output. Called with
   * monotonic time after every wake-up, every few milliseconds under load and at least every 250 ms when idle.
   */
  tick(nowMs: number): void;

  beginSleep(): boolean;
  endSleep(): void;

  /** Frees every packet it holds and closes its descriptors. */
  close(): void;
}
