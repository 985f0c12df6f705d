// Lists of names in short: what begins alike up to an underscore is told once, runs of numbers by their ends. Pure.

/** "eth_{src,dst,type} vlan_vid reg0...reg15" */
export function shortenNames(names: readonly string[], separator = " "): string {
  const parts: string[] = [];
  for (let at = 0; at < names.length; ) {
    const name = names[at] as string;
    const head = /^[^_]+_/.exec(name)?.[0];
    const alike = head === undefined ? 1 : lengthWhile(names, at, (one) => one.startsWith(head));
    if (head !== undefined && alike > 1) {
      const rests = names.slice(at, at + alike).map((one) => one.slice(head.length));
      parts.push(`${head}{${shortenNames(rests, ",")}}`);
      at += alike;
      continue;
    }
    const run = numbered(names, at);
    parts.push(run > 1 ? `${name}...${names[at + run - 1]}` : name);
    at += run;
  }
  return parts.join(separator);
}

function lengthWhile(names: readonly string[], from: number, holds: (name: string) => boolean): number {
  let end = from;
  while (end < names.length && holds(names[end] as string)) end++;
  return end - from;
}

/** How many names from `from` on differ only in a number, each the next. */
function numbered(names: readonly string[], from: number): number {
  const [, stem, digits] = /^(.*?)(\d+)$/.exec(names[from] as string) ?? [];
  if (stem === undefined) return 1;
  let count = 1;
  while (names[from + count] === `${stem}${Number(digits) + count}`) count++;
  return count;
}
