// Kubernetes quantities: a decimal number with a binary (Ki Mi Gi Ti Pi Ei), decimal (m k M G T P E) or exponent
// suffix. Source: k8s.io/apimachinery/pkg/api/resource, "quantity". Also accepts KiB, MiB … and B.

const SUFFIXES: Readonly<Record<string, number>> = {
  "": 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};
const FORM = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|([KMGTPE]i|[mkMGTPE]))?B?$/;

/** The amount, or undefined when `text` is not a quantity. */
export function parseQuantity(text: string): number | undefined {
  if (text.length > 64) return undefined;
  const match = FORM.exec(text);
  if (match === null) return undefined;
  const amount = Number(`${match[1]}${match[2] ?? ""}`) * (SUFFIXES[match[3] ?? ""] as number);
  return Number.isFinite(amount) ? amount : undefined;
}

/** The amount in whole bytes, rounded up. Throws RangeError for what validation would have refused. */
export function quantityBytes(text: string): number {
  const amount = parseQuantity(text);
  if (amount === undefined || amount < 0 || amount > Number.MAX_SAFE_INTEGER) {
    throw new RangeError(`not a size in bytes: ${text.slice(0, 64)}`);
  }
  return Math.ceil(amount);
}

const STEPS = {
  binary: { factor: 1024n, suffixes: ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] },
  decimal: { factor: 1000n, suffixes: ["", "k", "M", "G", "T", "P", "E"] },
} as const;

/** The canonical form of a whole amount: exact, with the largest suffix that leaves no fraction. */
export function formatQuantity(amount: bigint, base: keyof typeof STEPS): string {
  const { factor, suffixes } = STEPS[base];
  let rest = amount;
  let step = 0;
  while (rest !== 0n && step < suffixes.length - 1 && rest % factor === 0n) {
    rest /= factor;
    step++;
  }
  return `${rest}${suffixes[step]}`;
}

/** Bytes for people: "1.5GiB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${Number(amount.toFixed(amount < 10 ? 2 : 1))}${units[unit]}`;
}
