// FNV-1a, 32 bits: stable numbers for names, so that a restarted controller computes what it computed before.
// Source: draft-eastlake-fnv-17. Not for secrets. Pure.

export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    hash = Math.imul(hash ^ (unit & 0xff), 0x01000193);
    hash = Math.imul(hash ^ (unit >>> 8), 0x01000193);
  }
  // One avalanche step: short names differ in few bits otherwise.
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  return hash >>> 0;
}
