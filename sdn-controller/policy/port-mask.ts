// Port ranges as value/mask pairs, since a flow matches ports by mask only. Pure.

export interface PortMask {
  readonly value: number;
  readonly mask: number;
}

/** The fewest masks that match exactly the ports from `first` to `last` inclusive; none when out of order. */
export function portMasks(first: number, last: number): PortMask[] {
  const masks: PortMask[] = [];
  let next = Math.max(0, first);
  const end = Math.min(65535, last);
  while (next <= end) {
    let size = next === 0 ? 65536 : next & -next;
    while (next + size - 1 > end) size >>>= 1;
    masks.push({ value: next, mask: ~(size - 1) & 0xffff });
    next += size;
  }
  return masks;
}
