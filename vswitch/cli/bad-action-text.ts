// What the log of ovs-ofctl says of bytes of actions that are none. Pure.
import { NX_EXPERIMENTER, ONF_EXPERIMENTER } from "../../base/openflow/index.js";
import { printedErrorName } from "./error-names.js";
import { formatPlainHexDump } from "./hex-dump.js";

const VENDOR_ACTION = 0xffff;

/** Lines in their order; `at` is where in `list` the fault was found, `version` is named as in "OpenFlow13". */
export function badActionLines(
  list: Uint8Array,
  fault: { readonly error: string; readonly at: number },
  version: string,
): string[] {
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength);
  const name = printedErrorName(fault.error);
  const start = fault.error === "OFPBAC_BAD_EXPERIMENTER" ? strangerIn(view) : startOf(view, fault.at);
  const [type, vendor] = [
    view.getUint16(start),
    start + 8 <= list.byteLength ? view.getUint32(start + 4) : 0,
  ];
  const dump = formatPlainHexDump(list).replace(/\n$/, "");
  const reasons: string[] = [];
  if (fault.error === "OFPBAC_BAD_EXPERIMENTER")
    reasons.push(`OpenFlow action has unknown vendor 0x${vendor.toString(16)}`);
  else if (fault.error === "OFPBAC_BAD_TYPE" && type !== VENDOR_ACTION)
    reasons.push(`unknown ${version} action for vendor 0 and type ${type}`);
  return [...reasons, `bad action at offset ${start} (${name}):\n${dump}`];
}

/** The action that holds the byte at `at`. */
function startOf(view: DataView, at: number): number {
  let start = 0;
  while (start + 8 <= view.byteLength) {
    const length = view.getUint16(start + 2);
    if (length < 8 || length % 8 !== 0 || start + length > view.byteLength || start + length > at) break;
    start += length;
  }
  return Math.min(start, Math.max(0, view.byteLength - 8));
}

/** The first action of a vendor whose actions are not known. */
function strangerIn(view: DataView): number {
  for (let start = 0; start + 8 <= view.byteLength; start += Math.max(8, view.getUint16(start + 2))) {
    const vendor = view.getUint32(start + 4);
    if (view.getUint16(start) === VENDOR_ACTION && vendor !== NX_EXPERIMENTER && vendor !== ONF_EXPERIMENTER)
      return start;
  }
  return 0;
}
