// A port without a device, as Open vSwitch's tests use them: frames come in by receive() or from the peers of a stream,
// what comes in and goes out can be recorded in pcap files, and goes to the stream's peer.
//
//   options:pcap, rxq_pcap, tx_pcap      files that frames are appended to: of both directions, in, out
//   options:stream=unix:PATH             a peer that is dialled;  options:pstream=punix:PATH   one that dials
//   on the stream: u16 length, big-endian, then the frame
//
// Source: the netdev-dummy commands of ovs-vswitchd and what it does. Thread: the datapath worker's. Hot: no.
import { closeSync, constants, fstatSync, openSync, writeSync } from "node:fs";
import { describeError, PlinthError } from "../../base/errors/index.js";
import {
  type Batch,
  createPortCounters,
  encodePcapHeader,
  encodePcapRecord,
  FRAME_SIZE_MAX,
  FRAME_SIZE_MIN,
  type PacketPool,
  type Port,
  RX_BYTES,
  RX_DROPPED,
  RX_ERRORS,
  RX_PACKETS,
  TX_BYTES,
  TX_PACKETS,
} from "../../base/packet/index.js";
import { DummyStream } from "./dummy-stream.js";

export interface DummyPortOptions {
  readonly name: string;
  readonly pool: PacketPool;
  /** Of the Interface row. */
  readonly options: Readonly<Record<string, string>>;
}

/** Frames that wait to come in; further ones are dropped. */
const QUEUE_LENGTH_MAX = 4096;

export class DummyPort implements Port {
  readonly name: string;
  readonly stats = createPortCounters();
  readonly linkUp = true;
  readonly #pool: PacketPool;
  readonly #waiting: Uint8Array[] = [];
  readonly #rxFiles: readonly number[];
  readonly #txFiles: readonly number[];
  readonly #stream: DummyStream | undefined;
  #closed = false;

  /** Throws PORT_OPTION_INVALID for a file that cannot be opened or a stream that cannot be. */
  constructor({ name, pool, options }: DummyPortOptions) {
    this.name = name;
    this.#pool = pool;
    const { pcap, rxq_pcap: rx, tx_pcap: tx } = options;
    const files = new Map<string, number>();
    try {
      this.#rxFiles = open(files, pcap, rx);
      this.#txFiles = open(files, pcap, tx);
      this.#stream = DummyStream.create(options, (frame) => this.receive(frame));
    } catch (thrown) {
      for (const fd of files.values()) closeSync(fd);
      throw thrown;
    }
  }

  get wakeFd(): number {
    return this.#stream?.wakeFd ?? -1;
  }

  /** "connected" or "disconnected" of a stream that is dialled; otherwise "unknown". */
  get connectionState(): string {
    return this.#stream?.state ?? "unknown";
  }

  /** A frame comes in. */
  receive(frame: Uint8Array): void {
    if (frame.byteLength < FRAME_SIZE_MIN || frame.byteLength > FRAME_SIZE_MAX) this.#count(RX_ERRORS, 1);
    else if (this.#waiting.length >= QUEUE_LENGTH_MAX) this.#count(RX_DROPPED, 1);
    else this.#waiting.push(frame.slice());
  }

  rx(batch: Batch): number {
    this.#stream?.poll();
    let count = 0;
    while (batch.room > 0 && this.#waiting.length > 0 && this.#pool.available > 0) {
      const frame = this.#waiting.shift() as Uint8Array;
      batch.push(this.#pool.allocateFrom(frame));
      record(this.#rxFiles, frame);
      this.#count(RX_PACKETS, 1);
      this.#count(RX_BYTES, frame.byteLength);
      count++;
    }
    return count;
  }

  tx(batch: Batch): void {
    for (let i = 0; i < batch.length; i++) {
      const frame = this.#pool.frame(batch.packets[i] as number);
      record(this.#txFiles, frame);
      this.#stream?.send(frame);
      this.#count(TX_PACKETS, 1);
      this.#count(TX_BYTES, frame.byteLength);
    }
    batch.freeAll(this.#pool);
  }

  tick(nowMs: number): void {
    this.#stream?.tick(nowMs);
  }

  beginSleep(): boolean {
    return this.#waiting.length === 0;
  }

  endSleep(): void {}

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting.length = 0;
    this.#stream?.close();
    for (const fd of new Set([...this.#rxFiles, ...this.#txFiles])) closeSync(fd);
  }

  #count(index: number, by: number): void {
    this.stats[index] = (this.stats[index] as number) + by;
  }
}

/** Descriptors of the files that are named; one that is named twice is opened once. */
function open(files: Map<string, number>, ...paths: readonly (string | undefined)[]): number[] {
  return paths.flatMap((path) => {
    if (path === undefined || path === "") return [];
    let fd = files.get(path);
    if (fd === undefined) {
      fd = openRecording(path);
      files.set(path, fd);
    }
    return [fd];
  });
}

function openRecording(path: string): number {
  try {
    // For reading too: then a named pipe that nobody reads does not stop us.
    const fd = openSync(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, 0o644);
    if (fstatSync(fd).size === 0) writeSync(fd, encodePcapHeader());
    return fd;
  } catch (cause) {
    throw new PlinthError("PORT_OPTION_INVALID", `cannot record to ${path}: ${describeError(cause)}`, {
      cause,
    });
  }
}

/** A disk that is full costs the recording, not the switch. */
function record(files: readonly number[], frame: Uint8Array): void {
  if (files.length === 0) return;
  const bytes = encodePcapRecord({ timeMs: Date.now(), frame });
  for (const fd of files) {
    try {
      writeSync(fd, bytes);
    } catch {
      // As above.
    }
  }
}
