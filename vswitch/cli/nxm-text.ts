// Matches as lists of fields in hexadecimal, as they are on the wire: "NXM_OF_ETH_TYPE(0800), NXM_NX_REG0_W(01/0f)". Pure.
// Source: ovs-fields(7) for the names of the headers; the form is that of ovs-ofctl parse-nxm.
import { OFPXMC_EXPERIMENTER, OXM_FIELDS, OXM_NAMES, type OxmField } from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { readHex } from "./hex-input.js";

interface Header {
  readonly name: string;
  readonly oxmClass: number;
  readonly number: number;
  readonly experimenter: number;
  readonly size: number;
}

const COOKIE: Header = { name: "NXM_NX_COOKIE", oxmClass: 1, number: 30, experimenter: 0, size: 8 };
const BY_NAME = new Map<string, Header>([[COOKIE.name, COOKIE]]);
const BY_NUMBER = new Map<string, Header>();
for (const field of Object.values(OXM_FIELDS)) {
  const { header, others } = OXM_NAMES[field.name];
  const own = { oxmClass: field.oxmClass, number: field.number, experimenter: field.experimenter };
  const [alias] = field.aliases;
  const short = alias === undefined ? own : { oxmClass: alias[0], number: alias[1], experimenter: 0 };
  addHeader(header, short, field);
  // The name of the field's own header stands second among the others.
  addHeader(others[1] ?? header, own, field);
}

function addHeader(
  name: string,
  numbers: Pick<Header, "oxmClass" | "number" | "experimenter">,
  field: OxmField,
): void {
  const header = { name, ...numbers, size: field.size };
  if (!BY_NAME.has(name)) BY_NAME.set(name, header);
  if (!BY_NUMBER.has(keyOf(header))) BY_NUMBER.set(keyOf(header), header);
}

function keyOf({ oxmClass, number, experimenter }: Omit<Header, "name" | "size">): string {
  return `${oxmClass} ${number} ${experimenter}`;
}

/** The fields, each as its bytes. "<any>" and nothing are no fields. Throws FLOW_TEXT_INVALID. */
export function parseNxmText(text: string): Uint8Array[] {
  const entries: Uint8Array[] = [];
  let rest = text.replace(/^[\s,]+/, "");
  if (rest.trim() === "<any>") return [];
  while (rest !== "") {
    const open = rest.indexOf("(");
    if (open < 0) throw flowTextError(`${text}: missing ( at end of nx_match`);
    const word = rest.slice(0, open).trim();
    const { header, hasMask } = headerNamed(word);
    if (header === undefined) throw flowTextError(`${text}: unknown field \`${word}'`);
    const value = readExactly(rest.slice(open + 1), header.size);
    let after = value.rest;
    let mask: Uint8Array | undefined;
    if (hasMask) {
      if (!after.startsWith("/")) throw flowTextError(`${text}: missing / in masked field ${word}`);
      const read = readExactly(after.slice(1), header.size);
      mask = read.bytes;
      after = read.rest;
    }
    if (!after.startsWith(")")) throw flowTextError(`${text}: missing ) following field ${word}`);
    entries.push(encodeEntry(header, value.bytes, mask));
    rest = after.slice(1).replace(/^[\s,]+/, "");
  }
  return entries;
}

/** By its name, with _W where it has a mask, or by its bytes in hexadecimal, which say how long the value is. */
function headerNamed(word: string): { readonly header: Header | undefined; readonly hasMask: boolean } {
  const hasMask = word.endsWith("_W") && !BY_NAME.has(word);
  const header = BY_NAME.get(hasMask ? word.slice(0, -2) : word);
  if (header !== undefined || !/^[0-9a-fA-F]{8}([0-9a-fA-F]{8})?$/.test(word)) return { header, hasMask };
  const [first, second] = [Number.parseInt(word.slice(0, 8), 16), Number.parseInt(word.slice(8), 16)];
  const oxmClass = first >>> 16;
  const isExperimenter = oxmClass === OFPXMC_EXPERIMENTER;
  // Those of experimenters have 8 bytes, the others 4.
  if (isExperimenter !== word.length > 8) return { header: undefined, hasMask: false };
  const isMasked = (first & 0x100) !== 0;
  const length = Math.max(0, (first & 0xff) - (isExperimenter ? 4 : 0));
  const numbers = { oxmClass, number: (first >>> 9) & 0x7f, experimenter: isExperimenter ? second : 0 };
  return {
    header: { name: word, ...numbers, size: isMasked ? length >> 1 : length },
    hasMask: isMasked,
  };
}

function readExactly(text: string, size: number): { readonly bytes: Uint8Array; readonly rest: string } {
  const { bytes, rest } = readHex(text);
  if (bytes.byteLength !== size)
    throw flowTextError(`expected to read ${size} bytes but got ${bytes.byteLength}`);
  return { bytes, rest };
}

function encodeEntry(header: Header, value: Uint8Array, mask: Uint8Array | undefined): Uint8Array {
  const { oxmClass, number, experimenter } = header;
  const isExperimenter = oxmClass === OFPXMC_EXPERIMENTER;
  const size = value.byteLength * (mask === undefined ? 1 : 2) + (isExperimenter ? 4 : 0);
  const id = [
    experimenter >>> 24,
    (experimenter >>> 16) & 0xff,
    (experimenter >>> 8) & 0xff,
    experimenter & 0xff,
  ];
  return Uint8Array.from([
    ...[oxmClass >> 8, oxmClass & 0xff, (number << 1) | (mask === undefined ? 0 : 1), size],
    ...(isExperimenter ? id : []),
    ...value,
    ...(mask ?? []),
  ]);
}

/** The fields in `bytes`, which can be read; "<any>" for none. */
export function formatNxmText(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: string[] = [];
  for (let at = 0; at + 4 <= bytes.byteLength; ) {
    const oxmClass = view.getUint16(at);
    const isExperimenter = oxmClass === OFPXMC_EXPERIMENTER;
    const hasMask = (view.getUint8(at + 2) & 1) !== 0;
    const size = view.getUint8(at + 3);
    const experimenter = isExperimenter ? view.getUint32(at + 4) : 0;
    const number = view.getUint8(at + 2) >> 1;
    const begin = at + (isExperimenter ? 8 : 4);
    const end = at + 4 + size;
    const hex = (from: number, to: number): string => Buffer.from(bytes.subarray(from, to)).toString("hex");
    const middle = hasMask ? begin + (end - begin) / 2 : end;
    // The TTL of MPLS has the cookie's number.
    const isCookie =
      oxmClass === COOKIE.oxmClass && number === COOKIE.number && middle - begin === COOKIE.size;
    const header = isCookie ? COOKIE : BY_NUMBER.get(keyOf({ oxmClass, number, experimenter }));
    const name = header?.name ?? `${oxmClass}:${number}`;
    parts.push(
      `${name}${hasMask ? "_W" : ""}(${hex(begin, middle)}${hasMask ? `/${hex(middle, end)}` : ""})`,
    );
    at = end;
  }
  return parts.length === 0 ? "<any>" : parts.join(", ");
}
