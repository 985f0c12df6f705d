// What a bridge's tables hold, as a file that outlives the switch: every change of a flow, group or meter is stored as
// the OpenFlow 1.3 message that makes it, before anybody is told that it is made. A killed switch loses nothing.
//
//   magic u32 · version u32 · boot id 36 · note u32 · … 64 ║ record: length u32 · crc32c u32 · message ║ … ║ 0
//
// Mapped, so that appending is a copy and no system call. A record's length is written last, behind it stands a zero.
// Of a file of another boot or version nothing is taken. Time-outs begin anew with a restart, and so do counters; what
// flows learn for a time is learned again, and not kept. Thread: datapath worker. Hot: no.
import { closeSync, fstatSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import {
  bootId,
  closeFile,
  FileMapping,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  openFile,
  preadFile,
  pwriteFile,
  reserveFile,
} from "../../base/linux/index.js";
import {
  type AnyDialect,
  encodeMessage,
  OPENFLOW_13,
  type OpenFlowMessage,
  parseMessage,
} from "../../base/openflow/index.js";
import { crc32c } from "../../base/wire/index.js";

const MAGIC = 0x4c46_4c50;
const VERSION = 1;
const HEADER_SIZE = 64;
const BOOT_AT = 8;
const NOTE_AT = 44;
const RECORD_HEADER_SIZE = 8;
/** Space is taken in such pieces, and so much of the file is mapped. No record is larger. */
const PIECE_SIZE = 1 << 20;
/** More than that has seldom come since read(). */
const FIRST_LOOK_SIZE = 64 << 10;
/** A file is written anew when it is so many times as large as what is in force, and at least so large. */
const GROWTH_MAX = 8;
const GROWN_SIZE_MIN = 32 << 20;
/** OpenFlow 1.5. */
const LATER = { version: 6 } as const;

export class FlowLog {
  readonly #path: string;
  #fd = -1;
  #mapping: FileMapping | undefined;
  /** What is mapped, in two ways. */
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  /** Where in the file the mapping starts, and where the next record goes. */
  #base = 0;
  #at = HEADER_SIZE;
  /** What is in force took so many bytes when the file was last written anew. */
  #compactSize = 0;
  /** Which file was read, and up to where. */
  #readFile = "";
  #readEnd = 0;

  /** Nothing is touched before read(), and nothing written before rewrite() or resume(). */
  constructor(path: string) {
    this.#path = path;
  }

  #note = 0;

  /** What whoever owns the bridge has noted beside its flows; 0 = nothing, or there was no file to go on with. */
  get note(): number {
    return this.#note;
  }

  /** Goes with the file from now on. Throws with the errno's name. */
  setNote(note: number): void {
    this.#note = note;
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, note, true);
    if (this.#fd >= 0) pwriteFile(this.#fd, bytes, NOTE_AT);
  }

  /** Whether it has grown so much that rewrite() is worth its time. */
  get isGrown(): boolean {
    return this.#at > GROWN_SIZE_MIN && this.#at > GROWTH_MAX * this.#compactSize;
  }

  /** Hands over the messages of an earlier life, in order, up to the first that is damaged; returns how many. */
  read(take: (message: OpenFlowMessage) => void): number {
    const file = readWhole(this.#path);
    if (file === undefined) return 0;
    const { count, end, note } = readFlowLog(file.bytes, bootId(), take);
    this.#readFile = file.identity;
    this.#readEnd = end;
    this.#note = note;
    return count;
  }

  /**
   * Hands over what another process has appended since read(); returns how many messages that were, or undefined when
   * the file has been written anew, so that everything is to be read again.
   */
  readOn(take: (message: OpenFlowMessage) => void): number | undefined {
    if (this.#readEnd === 0) return undefined;
    let fd: number;
    try {
      fd = openFile(this.#path, O_RDONLY);
    } catch {
      return undefined;
    }
    try {
      if (identityOf(fd) !== this.#readFile) return undefined;
      const note = new Uint8Array(4);
      preadFile(fd, note, NOTE_AT);
      this.#note = new DataView(note.buffer).getUint32(0, true);
      return this.#readBehind(fd, take);
    } finally {
      closeFile(fd);
    }
  }

  /** Only what is new is fetched: somebody may be waiting. */
  #readBehind(fd: number, take: (message: OpenFlowMessage) => void): number {
    let total = 0;
    for (let size = FIRST_LOOK_SIZE; ; size = PIECE_SIZE) {
      const bytes = new Uint8Array(size);
      const there = preadFile(fd, bytes, this.#readEnd);
      const { count, end } = readRecords(bytes.subarray(0, there), take);
      total += count;
      this.#readEnd += end;
      // No record is larger than a piece: when not even one is whole, there is none.
      if (there < size || (count === 0 && size === PIECE_SIZE)) return total;
      if (end + RECORD_HEADER_SIZE <= there && new DataView(bytes.buffer).getUint32(end, true) === 0)
        return total;
    }
  }

  /** Goes on in the file behind what was read. Throws with the errno's name. */
  resume(): void {
    this.#fd = openFile(this.#path, O_RDWR);
    this.#at = this.#readEnd;
    this.#compactSize = this.#at;
    try {
      this.#room(4);
      this.#view.setUint32(this.#at - this.#base, 0, true);
    } catch (thrown) {
      this.close();
      throw thrown;
    }
  }

  /** Begins the file anew with these. Throws with the errno's name, e.g. ENOSPC; the file before is in place then. */
  rewrite(messages: Iterable<OpenFlowMessage>): void {
    const before = { fd: this.#fd, mapping: this.#mapping, base: this.#base, at: this.#at };
    const next = `${this.#path}.new`;
    this.#fd = openFile(next, O_RDWR | O_CREAT | O_TRUNC, 0o600);
    this.#mapping = undefined;
    this.#base = 0;
    this.#at = HEADER_SIZE;
    try {
      this.#room(0);
      this.#view.setUint32(0, MAGIC, true);
      this.#view.setUint32(4, VERSION, true);
      this.#bytes.set(Buffer.from(bootId(), "latin1"), BOOT_AT);
      this.#view.setUint32(NOTE_AT, this.#note, true);
      for (const message of messages) this.append(message);
      renameSync(next, this.#path);
    } catch (thrown) {
      (this.#mapping as FileMapping | undefined)?.unmap();
      closeFile(this.#fd);
      rmSync(next, { force: true });
      ({ fd: this.#fd, mapping: this.#mapping, base: this.#base, at: this.#at } = before);
      if (before.mapping !== undefined) this.#look(before.mapping);
      throw thrown;
    }
    before.mapping?.unmap();
    if (before.fd >= 0) closeFile(before.fd);
    this.#compactSize = this.#at;
  }

  /** Stores a message. Throws with the errno's name when the disk is full. */
  append(message: OpenFlowMessage): void {
    this.appendBytes(encodeMessage(message, dialectOf(message)));
  }

  /** The same for one that is encoded. */
  appendBytes(bytes: Uint8Array): void {
    this.#room(RECORD_HEADER_SIZE + bytes.byteLength + 4);
    const view = this.#view;
    const at = this.#at - this.#base;
    this.#bytes.set(bytes, at + RECORD_HEADER_SIZE);
    view.setUint32(at + RECORD_HEADER_SIZE + bytes.byteLength, 0, true);
    view.setUint32(at + 4, crc32c(bytes, 0, bytes.byteLength), true);
    view.setUint32(at, bytes.byteLength, true);
    this.#at += RECORD_HEADER_SIZE + bytes.byteLength;
  }

  close(): void {
    this.#mapping?.unmap();
    this.#mapping = undefined;
    if (this.#fd >= 0) closeFile(this.#fd);
    this.#fd = -1;
  }

  /** Closes, and nothing of it is left. */
  remove(): void {
    this.close();
    rmSync(this.#path, { force: true });
  }

  #look({ buffer }: FileMapping): void {
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** Sees to it that the next `size` bytes are mapped. */
  #room(size: number): void {
    if (this.#mapping !== undefined && this.#at + size <= this.#base + 2 * PIECE_SIZE) return;
    const base = Math.floor(this.#at / PIECE_SIZE) * PIECE_SIZE;
    reserveFile(this.#fd, base + 2 * PIECE_SIZE);
    const mapping = new FileMapping(this.#fd, 2 * PIECE_SIZE, base, undefined, false);
    this.#mapping?.unmap();
    this.#mapping = mapping;
    this.#base = base;
    this.#look(mapping);
  }
}

function readWhole(path: string): { readonly bytes: Buffer; readonly identity: string } | undefined {
  try {
    const fd = openSync(path, "r");
    try {
      return { bytes: readFileSync(fd), identity: identityOf(fd) };
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

function identityOf(fd: number): string {
  const { dev, ino } = fstatSync(fd);
  return `${dev} ${ino}`;
}

/** What a file holds from `from` on, as FlowLog.read() says, and where it ends; 0 for a file that is none of ours. */
export function readFlowLog(
  bytes: Uint8Array,
  boot: string,
  take: (message: OpenFlowMessage) => void,
  from = HEADER_SIZE,
): { readonly count: number; readonly end: number; readonly note: number } {
  const nothing = { count: 0, end: 0, note: 0 };
  if (bytes.byteLength < HEADER_SIZE) return nothing;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ours = Buffer.from(bytes.buffer, bytes.byteOffset + BOOT_AT, boot.length).toString("latin1");
  if (view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== VERSION || ours !== boot)
    return nothing;
  return { ...readRecords(bytes, take, from), note: view.getUint32(NOTE_AT, true) };
}

function readRecords(
  bytes: Uint8Array,
  take: (message: OpenFlowMessage) => void,
  from = 0,
): { readonly count: number; readonly end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  let at = from;
  while (at + RECORD_HEADER_SIZE <= bytes.byteLength) {
    const length = view.getUint32(at, true);
    const start = at + RECORD_HEADER_SIZE;
    if (length === 0 || start + length > bytes.byteLength) break;
    if (crc32c(bytes, start, length) !== view.getUint32(at + 4, true)) break;
    const message = parsed(bytes.subarray(start, start + length));
    if (message !== undefined) take(message);
    count++;
    at = start + length;
  }
  return { count, end: at };
}

/** In the words of 1.5 where 1.3 has none: buckets with numbers, and how they are chosen. */
function dialectOf(message: OpenFlowMessage): AnyDialect {
  const isLater =
    message.type === "group_mod" &&
    (message.selection !== undefined || message.buckets.some(({ bucketId }) => bucketId !== undefined));
  return isLater ? LATER : OPENFLOW_13;
}

/** A record that is whole and not understood is of an earlier version that knew more; nothing depends on it. */
function parsed(bytes: Uint8Array): OpenFlowMessage | undefined {
  try {
    return bytes[0] === LATER.version ? parseMessage(bytes, LATER) : parseMessage(bytes);
  } catch {
    return undefined;
  }
}
