// Fields whose bits have names: connection state, TCP flags, tunnel flags. Pure. Source: ovs-fields(7).
import type { OxmFieldName } from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";

/** The names of the bits, bit 0 first. */
export type FlagSet = readonly string[];

const FLAGS: Partial<Record<OxmFieldName, FlagSet>> = {
  ct_state: ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"],
  tcp_flags: ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]"],
  tun_flags: ["oam"],
};

export function flagsOf(name: OxmFieldName): FlagSet | undefined {
  return FLAGS[name];
}

/** "+syn-ack" means these bits only, "syn|ack" all of them. Throws FLOW_TEXT_INVALID. */
export function parseFlags(
  flags: FlagSet,
  text: string,
  bits: number,
): readonly [value: number, mask: number] {
  const all = (1 << Math.min(bits, flags.length)) - 1;
  let value = 0;
  let mask = 0;
  const signed = text.startsWith("+") || text.startsWith("-");
  const parts = signed ? [...text.matchAll(/([+-])([^+-]*)/g)] : [...text.matchAll(/(^|\|)([^|]*)/g)];
  for (const [, sign, name] of parts) {
    const bit = flags.indexOf((name as string).trim());
    if (bit < 0) throw flowTextError(`"${name?.slice(0, 60)}" is none of ${flags.join(", ")}`);
    mask |= 1 << bit;
    if (sign !== "-") value |= 1 << bit;
  }
  return [value, signed ? mask : all];
}

/** Bits without a name are shown as a number. */
export function formatFlags(flags: FlagSet, value: number, mask: number | undefined): string {
  const named = (1 << flags.length) - 1;
  const known = mask === undefined ? value : mask;
  if ((known & ~named) !== 0)
    return `0x${value.toString(16)}${mask === undefined ? "" : `/0x${mask.toString(16)}`}`;
  if (mask !== undefined && mask !== named)
    return flags
      .flatMap((name, i) => ((mask >> i) & 1 ? [`${(value >> i) & 1 ? "+" : "-"}${name}`] : []))
      .join("");
  return value === 0 ? "0" : flags.filter((_, i) => (value >> i) & 1).join("|");
}
