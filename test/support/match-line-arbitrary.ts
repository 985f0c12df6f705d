// Matches as lines of parse-nx-match and parse-oxm: a few fields by their headers' names, with what they need in front of
// them or without, with values and masks of any bits. For comparisons of ovs-ofctl with `plinth ofctl`.
import fc from "fast-check";
import { OXM_FIELDS, OXM_NAMES, type OxmField } from "../../base/openflow/index.js";

/** What Open vSwitch does not know at all. */
const FOREIGN: readonly string[] = [
  "pbb_isid",
  "ipv6_exthdr",
  "in_phy_port",
  "nd_reserved",
  "nd_options_type",
  "packet_type",
];
/** Addresses of a connection need the packet's type here. What has no size of its own is not read from lines; of the parts of some tunnels ovs-ofctl takes the value for the mask. */
const FIELDS = Object.values(OXM_FIELDS).filter(
  ({ name, isVariable }) =>
    !FOREIGN.includes(name) && !isVariable && !/^tun_(erspan|gtpu)_|^ct_(nw|ipv6)_(src|dst)/.test(name),
);

const PREFIXES = [
  [],
  ["NXM_OF_ETH_TYPE(0800)"],
  ["NXM_OF_ETH_TYPE(86dd)"],
  ["OXM_OF_ETH_TYPE(0806)"],
  ["NXM_OF_ETH_TYPE(8847)"],
  ["OXM_OF_ETH_TYPE(894f)"],
  ["OXM_OF_VLAN_VID(1005)"],
  ["NXM_OF_VLAN_TCI(1005)"],
  ...[6, 17, 132, 1].map((proto) => ["NXM_OF_ETH_TYPE(0800)", `NXM_OF_IP_PROTO(${hex([proto])})`]),
  ["NXM_OF_ETH_TYPE(86dd)", "OXM_OF_IP_PROTO(3a)"],
  ["NXM_OF_ETH_TYPE(86dd)", "NXM_OF_IP_PROTO(3a)", "NXM_NX_ICMPV6_TYPE(87)"],
  ["NXM_OF_ETH_TYPE(86dd)", "NXM_OF_IP_PROTO(3a)", "NXM_NX_ICMPV6_TYPE(88)"],
  ["NXM_OF_ETH_TYPE(0800)", "NXM_NX_CT_STATE(00000022)"],
  ["NXM_OF_ETH_TYPE(86dd)", "NXM_NX_CT_STATE_W(00000021/00000021)"],
];

function hex(bytes: readonly number[] | Uint8Array): string {
  return Buffer.from(Uint8Array.from(bytes)).toString("hex");
}

const bytesOf = (size: number): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    { weight: 5, arbitrary: fc.uint8Array({ minLength: size, maxLength: size }) },
    { weight: 1, arbitrary: fc.constant(new Uint8Array(size)) },
    { weight: 1, arbitrary: fc.constant(new Uint8Array(size).fill(0xff)) },
  );

/** The bits that the field has; all of its bytes once in a while. */
function onesOf({ size, bits }: OxmField): Uint8Array {
  const unused = size * 8 - bits;
  return Uint8Array.from({ length: size }, (_, i) => {
    const lost = Math.max(0, Math.min(8, unused - 8 * i));
    return 0xff >> lost;
  });
}

/** The header in hexadecimal. */
function code({ oxmClass, number, experimenter, size }: OxmField, hasMask: boolean): string {
  const isForeign = oxmClass === 0xffff;
  const length = size * (hasMask ? 2 : 1) + (isForeign ? 4 : 0);
  const start = hex([oxmClass >> 8, oxmClass & 0xff, (number << 1) | (hasMask ? 1 : 0), length]);
  return isForeign ? start + experimenter.toString(16).padStart(8, "0") : start;
}

function fieldText(field: OxmField): fc.Arbitrary<string> {
  const { header, others } = OXM_NAMES[field.name];
  // Not every header has a name in Open vSwitch.
  const names = [header, ...others.filter((name) => name.startsWith("OXM_OF_"))];
  const isMasked = field.maskable ? fc.boolean() : fc.constant(false);
  return fc
    .tuple(
      fc.constantFrom(...names),
      bytesOf(field.size),
      bytesOf(field.size),
      isMasked,
      fc.nat(9),
      fc.nat(9),
      fc.nat(9),
    )
    .map(([name, raw, rawMask, masked, wide, loose, isCoded]) => {
      const ones = wide === 0 ? new Uint8Array(field.size).fill(0xff) : onesOf(field);
      const mask = rawMask.map((byte, i) => byte & (ones[i] as number));
      const within = masked && loose !== 0 ? mask : ones;
      const value = raw.map((byte, i) => byte & (within[i] as number));
      const [called, end] = isCoded === 0 ? [code(field, masked), ""] : [name, masked ? "_W" : ""];
      return `${called}${end}(${hex(value)}${masked ? `/${hex(mask)}` : ""})`;
    });
}

/** A line for parse-nx-match or parse-oxm. */
export const matchLineArbitrary: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(...PREFIXES),
    fc.array(fc.constantFrom(...FIELDS).chain(fieldText), { minLength: 1, maxLength: 3 }),
  )
  .map(([prefix, fields]) => [...prefix, ...fields].join(", "));
