// What a thread has open and mapped, noted where another thread sees it. The descriptors and mappings of a thread that
// was ended in the middle of something stay with the process, and nobody else could say which they are.
//
//   bytes  | held(fd 0) | held(fd 1) | … |  address, size | address, size | …      a size of 0: no mapping
//
// Invariants: noted after it is there, and struck out before it goes: at worst something is left, and never is a
// descriptor closed that somebody else got in the meantime. Thread: the one that opens; remains are read after its end.
// Hot: no descriptor is opened for a packet.

/** Descriptors from here on, and mappings beyond so many, are not noted: they stay until the process ends. */
const DESCRIPTORS_MAX = 65_536;
const MAPPINGS_MAX = 1024;

interface Ledger {
  readonly held: Uint8Array;
  /** Address and size of each. */
  readonly mappings: Float64Array;
}

/** What was left by a thread. */
export interface ThreadRemains {
  readonly descriptors: readonly number[];
  readonly mappings: readonly { readonly address: number; readonly sizeBytes: number }[];
}

let ledger: Ledger | null = null;

/** Memory for a ledger. */
export function createThreadLedger(): SharedArrayBuffer {
  return new SharedArrayBuffer(DESCRIPTORS_MAX + MAPPINGS_MAX * 16);
}

/** What this thread opens and maps from now on is noted in `memory`. */
export function keepThreadLedger(memory: SharedArrayBuffer): void {
  ledger = open(memory);
}

/** What the thread that kept the ledger has not closed. After its end. */
export function readThreadLedger(memory: SharedArrayBuffer): ThreadRemains {
  const { held, mappings } = open(memory);
  const descriptors: number[] = [];
  for (let fd = 0; fd < DESCRIPTORS_MAX; fd++) if (held[fd] === 1) descriptors.push(fd);
  const ranges: { address: number; sizeBytes: number }[] = [];
  for (let i = 0; i < MAPPINGS_MAX; i++) {
    const [address, sizeBytes] = [mappings[2 * i]!, mappings[2 * i + 1]!];
    if (sizeBytes > 0) ranges.push({ address, sizeBytes });
  }
  return { descriptors, mappings: ranges };
}

/** The descriptor is this thread's; returns it. A negated errno is none. */
export function noteDescriptor(fd: number): number {
  if (ledger !== null && fd >= 0 && fd < DESCRIPTORS_MAX) ledger.held[fd] = 1;
  return fd;
}

/** It is about to be closed, or another thread's from now on. */
export function strikeDescriptor(fd: number): void {
  if (ledger !== null && fd >= 0 && fd < DESCRIPTORS_MAX) ledger.held[fd] = 0;
}

export function noteMapping(address: number, sizeBytes: number): void {
  if (ledger === null) return;
  const { mappings } = ledger;
  for (let i = 0; i < MAPPINGS_MAX; i++) {
    if (mappings[2 * i + 1] !== 0) continue;
    mappings[2 * i] = address;
    mappings[2 * i + 1] = sizeBytes;
    return;
  }
}

/** It is about to be unmapped. */
export function strikeMapping(address: number): void {
  if (ledger === null) return;
  const { mappings } = ledger;
  for (let i = 0; i < MAPPINGS_MAX; i++)
    if (mappings[2 * i] === address && mappings[2 * i + 1] !== 0) {
      mappings[2 * i + 1] = 0;
      return;
    }
}

function open(memory: SharedArrayBuffer): Ledger {
  return {
    held: new Uint8Array(memory, 0, DESCRIPTORS_MAX),
    mappings: new Float64Array(memory, DESCRIPTORS_MAX, 2 * MAPPINGS_MAX),
  };
}
