// Whether two values of plain data are equal. Much faster than isDeepStrictEqual of Node: a changed policy of very many
// rules is compared with what it was, rule by rule. Pure.

/** For JSON-like values: objects without prototypes of their own, arrays, and scalars. */
export function isSameData(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!isSameData(a[i], b[i])) return false;
    return true;
  }
  if (Array.isArray(b)) return false;
  const [one, other] = [a, b] as [Record<string, unknown>, Record<string, unknown>];
  let left = Object.keys(other).length;
  for (const key of Object.keys(one)) {
    if (!Object.hasOwn(other, key) || !isSameData(one[key], other[key])) return false;
    left--;
  }
  return left === 0;
}
