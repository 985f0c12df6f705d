// `plinth ofctl check-vlan`: how a match of a VLAN tag's 16 bits is told and written in every form, and what comes back.
// Source: OpenFlow Switch Specification 1.0.0, 5.2.3, 1.1.0, A.2.3, and 1.3.5, 7.2.3.7; the layout is that of ovs-ofctl.
import { type Match, writeMatchFields } from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { numberToBytes } from "./field-text.js";
import { formatMatch } from "./match-text.js";
import { formatNxmText } from "./nxm-text.js";

const VID = 0x0fff;
const PRESENT = 0x1000;
const PCP = 0xe000;
const OFP10_VLAN_NONE = 0xffff;
const OFPVID11_ANY = 0xfffe;

interface Tci {
  readonly value: number;
  readonly mask: number;
}
/** A field of its own for the VID and for the priority, or undefined where it is left out. */
interface Parts {
  readonly vlan: number | undefined;
  readonly pcp: number | undefined;
}

export async function checkVlan(
  io: CommandIo,
  [valueText = "", maskText = ""]: readonly string[],
): Promise<number> {
  const mask = hexOf(maskText);
  const tci = { value: hexOf(valueText) & mask, mask };
  const match = matchOf(tci);
  io.out(`${formatMatch(match)} -> ${pair(tci)}\n`);
  io.out(`NXM: ${formatNxmText(writeMatchFields(match, "nxm"))} -> ${pair(tci)}\n`);
  io.out(`OXM: ${oxmText(tci)}\n`);
  const [old, first] = [parts10(tci), parts11(tci)];
  io.out(`OF1.0: ${partsText(old)} -> ${pair(tciOf10(old))}\n`);
  io.out(`OF1.1: ${partsText(first)} -> ${pair(tciOf11(first))}\n`);
  return 0;
}

/** As C reads it: what is no number is 0. */
function hexOf(text: string): number {
  return Number.parseInt(text, 16) & 0xffff || 0;
}

function matchOf({ value, mask }: Tci): Match {
  if (mask === 0) return [];
  const bytes = (number: number) => numberToBytes(BigInt(number), 2);
  return [{ field: "vlan_tci", value: bytes(value), ...(mask === 0xffff ? {} : { mask: bytes(mask) }) }];
}

function hex(value: number, digits = 4): string {
  return value.toString(16).padStart(digits, "0");
}

function pair({ value, mask }: Tci): string {
  return `${hex(value & mask)}/${hex(mask)}`;
}

/** The VID with the bit of a tag that is there is one field, the priority of a tag another. */
function oxmText({ value, mask }: Tci): string {
  const [vid, vidMask] = [value & (VID | PRESENT), mask & (VID | PRESENT)];
  const hasPcp = vid !== 0 && (mask & PCP) !== 0;
  const pcp = hex(value >> 13, 2);
  const names = [
    ...(vidMask === 0
      ? []
      : vidMask === (VID | PRESENT)
        ? [`OXM_OF_VLAN_VID(${hex(vid)})`]
        : [`OXM_OF_VLAN_VID_W(${hex(vid)}/${hex(vidMask)})`]),
    ...(hasPcp ? [`OXM_OF_VLAN_PCP(${pcp})`] : []),
  ];
  return `${names.join(", ") || "<any>"} -> ${hex(vid)}/${hex(vidMask)},${hasPcp ? pcp : "--"}`;
}

function isUntagged({ value, mask }: Tci): boolean {
  return (mask & PRESENT) !== 0 && (value & PRESENT) === 0;
}

function parts10(tci: Tci): Parts {
  if (tci.mask === 0) return { vlan: undefined, pcp: undefined };
  if (isUntagged(tci)) return { vlan: OFP10_VLAN_NONE, pcp: 0 };
  return {
    vlan: (tci.mask & VID) === 0 ? undefined : tci.value & VID,
    pcp: (tci.mask & PCP) === 0 ? undefined : tci.value >> 13,
  };
}

function parts11(tci: Tci): Parts {
  if (tci.mask === 0) return { vlan: undefined, pcp: undefined };
  if (isUntagged(tci)) return { vlan: OFP10_VLAN_NONE, pcp: undefined };
  return {
    vlan: (tci.mask & VID) === 0 ? OFPVID11_ANY : tci.value & VID,
    pcp: (tci.mask & PCP) === 0 ? undefined : tci.value >> 13,
  };
}

function partsText({ vlan, pcp }: Parts): string {
  return `${hex(vlan ?? 0)}/${vlan === undefined ? 1 : 0},${hex(pcp ?? 0, 2)}/${pcp === undefined ? 1 : 0}`;
}

function tciOf10({ vlan, pcp }: Parts): Tci {
  if (vlan === undefined && pcp === undefined) return { value: 0, mask: 0 };
  if (vlan === OFP10_VLAN_NONE) return { value: 0, mask: 0xffff };
  const mask = PRESENT | (vlan === undefined ? 0 : VID) | (pcp === undefined ? 0 : PCP);
  return { value: PRESENT | (vlan ?? 0) | ((pcp ?? 0) << 13), mask };
}

function tciOf11({ vlan, pcp }: Parts): Tci {
  if (vlan === undefined) return { value: 0, mask: 0 };
  // Any tag.
  if (vlan === OFPVID11_ANY && pcp === undefined) return { value: PRESENT, mask: PRESENT };
  return tciOf10({ vlan: vlan === OFPVID11_ANY ? undefined : vlan, pcp });
}
