// Hello and error messages as ovs-ofctl prints them. Pure.
import { NX_EXPERIMENTER, ONF_EXPERIMENTER, WireError } from "../../base/openflow/index.js";
import { nameOfError } from "./error-names.js";
import { formatHexDump } from "./hex-dump.js";
import { printMessage } from "./message-print.js";
import type { TextContext } from "./message-text.js";

const HEADER_SIZE = 8;
const OFPHET_VERSIONBITMAP = 1;
const ERROR_BODY = 12;
const NXET_VENDOR = 0xb0c2;
const OFPET_EXPERIMENTER = 0xffff;
const OFP11_VERSION = 2;
/** The versions that one word of a bitmap can name. */
const VERSION_MAX = 31;
/** A bit for each. */
const ALL_VERSIONS = 0xfffffffe;

/** Without a bitmap a peer speaks every version up to its own. What is no bitmap is shown. */
export function helloText({ bytes, version }: Pick<TextContext, "bytes" | "version">): string {
  const { bits, isClean } = readBitmap(bytes);
  const upTo = version >= VERSION_MAX ? ALL_VERSIONS : 2 ** (version + 1) - 2;
  const chosen = bits === 0 ? upTo : bits;
  const versions = Array.from({ length: VERSION_MAX }, (_, i) => i + 1).filter(
    (one) => ((chosen >>> one) & 1) === 1,
  );
  const list = versions.map((one) => `0x${one.toString(16).padStart(2, "0")}`).join(", ");
  return `\n version bitmap: ${list}\n${isClean ? "" : ` unknown data in hello:\n${formatHexDump(bytes)}`}`;
}

/** A hello is never refused: what cannot be read is left. */
function readBitmap(bytes: Uint8Array): { readonly bits: number; readonly isClean: boolean } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let bits = 0;
  let isClean = true;
  let at = HEADER_SIZE;
  while (at + 4 <= bytes.byteLength) {
    const type = view.getUint16(at);
    const size = view.getUint16(at + 2);
    if (size < 4 || at + Math.ceil(size / 8) * 8 > bytes.byteLength) break;
    if (type === OFPHET_VERSIONBITMAP && size >= 8 && size % 4 === 0) {
      const known = (view.getUint32(at + 4) & ALL_VERSIONS) >>> 0;
      if (known === 0) isClean = false;
      else bits = known;
    } else isClean = false;
    at += Math.ceil(size / 8) * 8;
  }
  return { bits, isClean: isClean && at >= bytes.byteLength };
}

/** The name of the error, and what it is about: a text, or the message that was refused. Throws WireError. */
export function errorText({ bytes, version, verbosity, names }: TextContext): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = view.getUint16(8);
  const code = view.getUint16(10);
  const bad = (): WireError => new WireError("OFPBRC_BAD_LEN", "error", 8, `type ${type}, code ${code}`);
  let name: string | undefined;
  let at = ERROR_BODY;
  if (version <= OFP11_VERSION && type === NXET_VENDOR && code === 0) {
    at += 8;
    if (bytes.byteLength < at) throw bad();
    const vendor = vendorOf(view.getUint32(12));
    name = nameOfError(version, { vendor, type: view.getUint16(16), code: view.getUint16(18) });
  } else if (type === OFPET_EXPERIMENTER && version > OFP11_VERSION) {
    at += 4;
    if (bytes.byteLength < at) throw bad();
    const experimenter = view.getUint32(12);
    // Nobody's number: the specification's own errors.
    name =
      experimenter === 0
        ? nameOfError(version, { vendor: undefined, type: code, code: 0 })
        : nameOfError(version, { vendor: vendorOf(experimenter), type, code });
  } else name = nameOfError(version, { vendor: undefined, type, code });
  if (name === undefined) throw bad();
  const data = bytes.subarray(at);
  // Those of OFPET_HELLO_FAILED carry a text, others the message that was wrong.
  if (name.startsWith("OFPHFC_")) return ` ${name}\n${data.byteLength === 0 ? "" : `${printable(data)}\n`}`;
  return ` ${name}\n${printMessage(data, { verbosity: Math.max(1, verbosity), names })}`;
}

function vendorOf(experimenter: number): "nx" | "onf" | undefined {
  return experimenter === NX_EXPERIMENTER ? "nx" : experimenter === ONF_EXPERIMENTER ? "onf" : undefined;
}

const [BACKSLASH, QUOTE] = [0x5c, 0x22];

/** Characters that do not print, a backslash and a quote become escapes of C. */
function printable(data: Uint8Array): string {
  return Array.from(data, (byte) =>
    byte >= 0x20 && byte < 0x7f && byte !== BACKSLASH && byte !== QUOTE
      ? String.fromCharCode(byte)
      : `\\${byte.toString(8).padStart(3, "0")}`,
  ).join("");
}
