// The memory of connection tracking as a file, so that connections outlive a switch that is killed: what its worker
// stores is the kernel's at once, whatever becomes of the process.
//
//   page 0: magic · version · capacity · – · clock f64 · boot id ║ pages 1…: connection-memory.ts
//
// The clock says when, by the machine's monotonic clock, the worker's time began. A file of another boot, version or
// size is emptied when it is claimed; until then it may be an earlier process's, which still forwards. Its space is reserved first: a page that the disk has no room for would end the process.
// Thread: datapath worker.
import { statSync } from "node:fs";
import { PlinthError } from "../../base/errors/index.js";
import {
  bootId,
  closeFile,
  copyMemory,
  FileMapping,
  MemoryBlock,
  O_CREAT,
  O_RDWR,
  openFile,
  reserveFile,
  truncateFile,
} from "../../base/linux/index.js";
import {
  CONNECTION_MEMORY_VERSION,
  type ConnectionMemory,
  ConnectionTable,
  connectionMemory,
  connectionMemorySize,
} from "../conntrack/index.js";

const MAGIC = 0x4e4e_4350;
const HEADER_SIZE = 4096;
const CLOCK_AT = 16;
const BOOT_AT = 24;
const BOOT_SIZE = 36;
/** What was compiled in the middle of the first run is in use in the second. */
const REHEARSALS = 2;

export interface ConnectionFile {
  readonly memory: ConnectionMemory;
  /**
   * The file is ours from now on: nobody else writes into it. Returns what is to be added to times in the memory;
   * undefined, and the memory is empty, when there is nothing to restore. `nowMs` is the worker's clock.
   */
  claim(nowMs: number): number | undefined;
  /**
   * Restores a copy and forgets it: the pages are fetched and the code is compiled then, so that nobody waits for that
   * when it is done in earnest. Whether there is anything to restore.
   */
  rehearse(nowMs: number): boolean;
  close(): void;
}

/**
 * Maps the file, which may still be another process's until claim(). Throws with the errno's name, e.g. ENOSPC, or
 * CONNECTIONS_DIFFER when `isShared` and the other has another number of connections.
 */
export function mapConnectionFile(path: string, capacity: number, isShared = false): ConnectionFile {
  const size = HEADER_SIZE + connectionMemorySize(capacity);
  if (isShared) assertSize(path, size);
  // Nothing but zeros then, and so it stays until it is claimed: to write them would touch every page.
  const isBlank = sizeOf(path) === 0;
  const fd = openFile(path, O_RDWR | O_CREAT, 0o600);
  let mapping: FileMapping;
  try {
    truncateFile(fd, size);
    reserveFile(fd, size);
    mapping = new FileMapping(fd, size, 0, undefined, false);
  } finally {
    closeFile(fd);
  }
  return {
    memory: connectionMemory(capacity, mapping.buffer, HEADER_SIZE),
    claim: (nowMs) => claim(mapping.buffer, capacity, nowMs, isBlank),
    rehearse: (nowMs) => {
      // Not the garbage collector's: it would come when everybody waits.
      const block = new MemoryBlock(size);
      let isOurs = false;
      for (let i = 0; i < REHEARSALS; i++) {
        copyMemory(block.address, mapping.address, size);
        const shiftMs = claim(block.buffer, capacity, nowMs);
        isOurs = shiftMs !== undefined;
        const memory = connectionMemory(capacity, block.buffer, HEADER_SIZE);
        const table = new ConnectionTable(capacity, undefined, memory);
        table.foresee();
        table.restore(nowMs, shiftMs ?? 0);
      }
      block.free();
      mapping.fetchForWrites();
      return isOurs;
    },
    close: () => mapping.unmap(),
  };
}

/** To cut a file that another process has mapped would end it. */
function assertSize(path: string, size: number): void {
  const there = sizeOf(path);
  if (there !== 0 && there !== size)
    throw new PlinthError(
      "CONNECTIONS_DIFFER",
      `${path} has ${there} bytes, not ${size}: it is for another number of connections, or of another version`,
      {
        remedy: "stop the switch that runs, and start the new one",
      },
    );
}

/** 0 when there is none. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function claim(buffer: ArrayBuffer, capacity: number, nowMs: number, isBlank = false): number | undefined {
  const view = new DataView(buffer);
  const boot = Buffer.from(bootId(), "latin1");
  const clock = monotonicMs() - nowMs;
  const isOurs =
    view.getUint32(0, true) === MAGIC &&
    view.getUint32(4, true) === CONNECTION_MEMORY_VERSION &&
    view.getUint32(8, true) === capacity &&
    Buffer.from(buffer, BOOT_AT, BOOT_SIZE).equals(boot);
  const shiftMs = isOurs ? view.getFloat64(CLOCK_AT, true) - clock : undefined;
  if (!isOurs && !isBlank) new Uint8Array(buffer).fill(0, 0, HEADER_SIZE + connectionMemorySize(capacity));
  view.setUint32(4, CONNECTION_MEMORY_VERSION, true);
  view.setUint32(8, capacity, true);
  new Uint8Array(buffer).set(boot, BOOT_AT);
  view.setFloat64(CLOCK_AT, clock, true);
  view.setUint32(0, MAGIC, true);
  return shiftMs;
}

/** As mapConnectionFile(), or why there is none. */
export function tryConnectionFile(
  path: string,
  capacity: number,
  isShared = false,
): { readonly file: ConnectionFile } | { readonly problem: PlinthError } {
  try {
    return { file: mapConnectionFile(path, capacity, isShared) };
  } catch (thrown) {
    if (thrown instanceof PlinthError) return { problem: thrown };
    throw thrown;
  }
}

function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6; // cold
}
