// A client of the NBD server and the socket that it came by. Thread: the pool's worker. Hot: no.
import { EPOLLIN } from "../../base/linux/index.js";
import { DataBuffer } from "../disk/data-buffer.js";
import type { NbdExport } from "./nbd-export.js";
import type { NbdPlace } from "./nbd-listener.js";
import { type ExportDirectory, NbdSession, type TlsMode } from "./nbd-session.js";
import { INPUT_SIZE, type NbdTransmission } from "./nbd-transmission.js";

/** Finds the device behind a name that the handshake accepted. */
export interface ExportSource extends ExportDirectory {
  open(name: string): NbdExport | undefined;
}

export interface Listener {
  /** The path of a unix socket, else a name. */
  readonly name: string;
  readonly place: NbdPlace;
  readonly fd: number;
  readonly exports: ExportSource;
  readonly tls: TlsMode;
  connections: number;
}

export class Connection {
  readonly fd: number;
  readonly listener: Listener;
  readonly session: NbdSession;
  readonly sinceMs: number;
  readonly input = new DataBuffer(INPUT_SIZE);
  inputEnd = 0;
  transmission: NbdTransmission | undefined;
  closed = false;
  /** Handshake bytes that the client has not taken. */
  greeting: DataBuffer | undefined;
  greetingStart = 0;
  greetingEnd = 0;
  closing = false;
  waitsForWrite = false;
  /** Among those that wait for the limits of their volumes. */
  throttled = false;
  parsed = false;
  /** Among those with reads that wait for a disk. */
  reading = false;
  /** Its volume's pool is being opened anew: nothing is parsed until it is there again. */
  parked = false;
  /** The client sends nothing more; it may still wait for answers. */
  peerGone = false;
  interest = EPOLLIN;

  constructor(fd: number, listener: Listener, nowMs: number) {
    this.fd = fd;
    this.listener = listener;
    this.session = new NbdSession(listener.exports, listener.tls);
    this.sinceMs = nowMs;
  }
  /** Adds to the handshake bytes. */
  greet(replies: readonly Uint8Array[]): void {
    const held = this.greetingEnd - this.greetingStart;
    let size = held;
    for (const { byteLength } of replies) size += byteLength;
    if (size === held) return;
    const buffer = new DataBuffer(size);
    this.greeting?.bytes.copy(buffer.bytes, 0, this.greetingStart, this.greetingEnd);
    let at = held;
    for (const reply of replies) {
      buffer.bytes.set(reply, at);
      at += reply.byteLength;
    }
    this.greeting = buffer;
    this.greetingStart = 0;
    this.greetingEnd = size;
  }
}
