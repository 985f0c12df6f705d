// Errors of OpenFlow by their names: their numbers in every version, and the message that carries one. Pure.
import { NX_EXPERIMENTER, ONF_EXPERIMENTER } from "../../base/openflow/index.js";
import { errorNames, numbersOfError } from "./error-names.js";
import { commandError } from "./errors.js";

const VERSIONS = [1, 2, 3, 4, 5, 6];
const OFPT_ERROR = 1;
const HEADER_SIZE = 8;
const NXET_VENDOR = 0xb0c2;
const OFPET_EXPERIMENTER = 0xffff;
const OFP11_VERSION = 2;
const UNENCODABLE = "NXBRC_UNENCODABLE_ERROR";

/** Throws COMMAND_FAILED for a name that no version has. */
export function checkErrorName(name: string): void {
  if (!errorNames().includes(name)) throw commandError(`unknown error "${name}"`);
}

function vendorNumber(vendor: "nx" | "onf" | undefined): number {
  return vendor === undefined ? 0 : vendor === "nx" ? NX_EXPERIMENTER : ONF_EXPERIMENTER;
}

/** A line for each version that has it. Throws COMMAND_FAILED for a name that none has. */
export function describeError(name: string): string {
  checkErrorName(name);
  return VERSIONS.map((version) => {
    const numbers = numbersOfError(version, name);
    if (numbers === undefined) return "";
    const vendor = formatVendor(vendorNumber(numbers.vendor));
    return `OpenFlow 1.${version - 1}: vendor ${vendor}, type ${toldType(numbers)}, code ${toldCode(numbers)}\n`;
  }).join("");
}

function formatVendor(vendor: number): string {
  return vendor === 0 ? "0" : `0x${vendor.toString(16)}`;
}

/** An experimenter's error has one number where it stands for itself. */
function toldType({ vendor, type, code }: NonNullable<ReturnType<typeof numbersOfError>>): number {
  return vendor !== undefined && type === OFPET_EXPERIMENTER ? code : type;
}

function toldCode({ vendor, type, code }: NonNullable<ReturnType<typeof numbersOfError>>): number {
  return vendor !== undefined && type === OFPET_EXPERIMENTER ? 0 : code;
}

/**
 * The error message that answers `request`, in its version and with its xid; in 1.0 where the version is none. Throws
 * COMMAND_FAILED.
 */
export function encodeErrorReply(name: string, request: Uint8Array): Uint8Array {
  checkErrorName(name);
  const version = VERSIONS.find((one) => one === request[0]) ?? 1;
  const isLate = (request[0] as number) > OFP11_VERSION;
  const found = numbersOfError(version, name) ?? numbersOfError(version, UNENCODABLE);
  if (found === undefined) throw commandError(`OpenFlow version ${version} has no errors`);
  const { vendor, type, code } = found;
  const head = new DataView(new ArrayBuffer(12));
  let size = 4;
  if (vendor !== undefined && !isLate) {
    head.setUint16(0, NXET_VENDOR);
    head.setUint32(4, vendorNumber(vendor));
    head.setUint16(8, type);
    head.setUint16(10, code);
    size = 12;
  } else {
    // In a version that is none, an extension's error stands as in later ones, with its number of 1.0.
    const isStrange = isLate && version !== request[0] && vendor !== undefined;
    head.setUint16(0, isStrange ? OFPET_EXPERIMENTER : type);
    head.setUint16(2, isStrange ? type : code);
    if (vendor !== undefined) {
      head.setUint32(4, vendorNumber(vendor));
      size = 8;
    }
  }
  const length = HEADER_SIZE + size + request.byteLength;
  const header = Uint8Array.of(version, OFPT_ERROR, length >> 8, length & 0xff, ...request.subarray(4, 8));
  return Uint8Array.from([...header, ...new Uint8Array(head.buffer, 0, size), ...request]);
}
