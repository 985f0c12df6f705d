// What connection tracking reads of a TCP segment.
// Source: RFC 9293, 3.1; RFC 7323, 2.2 (window scale); RFC 2018, 3 (SACK). Thread: datapath worker. Hot: yes.

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;
export const URG = 32;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_WINDOW_SCALE = 3;
const OPTION_SACK = 5;
/** A larger shift counts as this one. */
export const WINDOW_SCALE_MAX = 14;

export class Segment {
  flags = 0;
  /** Of the first octet; the SYN counts as one. */
  sequence = 0;
  acknowledgement = 0;
  /** As in the header, not scaled. */
  window = 0;
  /** Bytes of payload. */
  size = 0;
  /** Of a SYN: its shift, −1 when it has no such option. */
  scale = -1;

  /** The header at `l4` is whole, and with what follows it has `length` bytes. */
  read(view: DataView, l4: number, length: number): void {
    const headerSize = (view.getUint8(l4 + 12) >>> 4) << 2;
    this.flags = view.getUint8(l4 + 13);
    this.sequence = view.getInt32(l4 + 4);
    this.acknowledgement = view.getInt32(l4 + 8);
    this.window = view.getUint16(l4 + 14);
    this.size = length - headerSize;
    this.scale = (this.flags & SYN) !== 0 ? readScale(view, l4 + 20, l4 + headerSize) : -1;
  }

  /** Octets of sequence space: SYN and FIN count as one each. */
  get span(): number {
    return this.size + ((this.flags & SYN) !== 0 ? 1 : 0) + ((this.flags & FIN) !== 0 ? 1 : 0);
  }
}

function readScale(view: DataView, at: number, end: number): number {
  const option = findOption(view, at, end, OPTION_WINDOW_SCALE);
  if (option < 0 || view.getUint8(option + 1) !== 3) return -1;
  return Math.min(view.getUint8(option + 2), WINDOW_SCALE_MAX);
}

/** Where the option of that kind begins between `at` and `end`, all of it before `end`; −1 when there is none. */
function findOption(view: DataView, at: number, end: number, wanted: number): number {
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) return -1;
    if (kind === OPTION_NOP) {
      at++;
      continue;
    }
    const size = at + 1 < end ? view.getUint8(at + 1) : 0;
    if (size < 2 || at + size > end) return -1;
    if (kind === wanted) return at;
    at += size;
  }
  return -1;
}

const BLOCKS = { start: 0, end: 0 };

/** Where the sequence numbers of the SACK option stand, four octets each, in the header at `l4`. The object is used again. */
export function sackBlocks(view: DataView, l4: number): Readonly<typeof BLOCKS> {
  const option = findOption(view, l4 + 20, l4 + ((view.getUint8(l4 + 12) >>> 4) << 2), OPTION_SACK);
  const size = option < 0 ? 2 : view.getUint8(option + 1);
  BLOCKS.start = option + 2;
  BLOCKS.end = option + 2 + ((size - 2) & ~7);
  return BLOCKS;
}

/** Flag combinations that no TCP sends. */
export function flagsAreImpossible(flags: number): boolean {
  if ((flags & SYN) !== 0) {
    if ((flags & (RST | FIN)) !== 0) return true;
  } else if ((flags & (ACK | RST)) === 0) return true;
  // These mean nothing before the other side has been heard of.
  return (flags & ACK) === 0 && (flags & (FIN | PSH | URG)) !== 0;
}

/** Whether a connection may begin with such a segment: a SYN, or one from the middle of a conversation older than us. */
export function flagsMayOpen(flags: number): boolean {
  const f = flags & (SYN | ACK | RST);
  return f === SYN || f === ACK;
}
