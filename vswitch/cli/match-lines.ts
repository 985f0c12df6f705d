// parse-nx-match and parse-oxm of `plinth ofctl`: matches as lines of fields in hexadecimal, read and told again.
// Source: ovs-ofctl(8) and what ovs-ofctl prints; with --strict what is not understood is refused, else left out.
import {
  type Match,
  OXM_FIELDS,
  type OxmEntry,
  prerequisiteHolds,
  readMatchFields,
  WireError,
  writeMatchFields,
} from "../../base/openflow/index.js";
import type { CommandIo } from "./command-io.js";
import { printedErrorName } from "./error-names.js";
import { commandError } from "./errors.js";
import { readFile } from "./flow-file.js";
import { READER_CHECKS } from "./message-check.js";
import { formatNxmText, parseNxmText } from "./nxm-text.js";
import type { OfctlFlags } from "./ofctl-context.js";
import { SeenFields } from "./seen-fields.js";

const NXM_NX_COOKIE = 30;
const EXPERIMENTER_SIZE = 4;

export async function parseNxmVerb(
  io: CommandIo,
  _words: readonly string[],
  flags: OfctlFlags,
): Promise<number> {
  return matchLines(io, "nxm", flags.strict);
}

export async function parseOxmVerb(
  io: CommandIo,
  [name = ""]: readonly string[],
  flags: OfctlFlags,
): Promise<number> {
  if (!/^OpenFlow1[2-5]$/i.test(name)) throw commandError(`${name}: not a valid version for OXM`);
  return matchLines(io, "oxm", flags.strict);
}

async function matchLines(io: CommandIo, form: "nxm" | "oxm", isStrict: boolean): Promise<number> {
  const lines = (await readFile(io, "-")).split("\n");
  // A line that ends the text is none.
  if (lines.at(-1) === "") lines.pop();
  for (const line of lines) {
    const text = line.replace(/#.*/, "").trim();
    io.out(text === "" ? "\n" : `${matchLine(text, form, isStrict)}\n`);
  }
  return 0;
}

/** The fields of a line as a switch would tell them, or why it would refuse them. Throws FLOW_TEXT_INVALID. */
export function matchLine(text: string, form: "nxm" | "oxm", isStrict: boolean): string {
  const fields = parseNxmText(text);
  const seen = new SeenFields();
  const before: OxmEntry[] = [];
  let cookie = new Uint8Array(0);
  try {
    for (const bytes of fields) {
      if (isCookie(bytes)) cookie = Uint8Array.from(bytes);
      for (const entry of readAlone(bytes, isStrict)) {
        if (isStrict && !prerequisiteHolds(OXM_FIELDS[entry.field].prerequisite, before))
          throw new WireError("OFPBMC_BAD_PREREQ", entry.field, 0, "needs what was not matched before it");
        if (!seen.add(entry)) throw new WireError("OFPBMC_DUP_FIELD", entry.field, 0, "occurs twice");
        before.push(entry);
      }
    }
  } catch (thrown) {
    if (!(thrown instanceof WireError)) throw thrown;
    return `nx_pull_match() returned error ${printedErrorName(thrown.error)}`;
  }
  return formatNxmText(Uint8Array.from([...writeMatchFields(seen.match(form), form), ...cookie]));
}

/** One field, or none for a mask of zeros, a cookie and, if not strict, what is not known. */
function readAlone(bytes: Uint8Array, isStrict: boolean): Match {
  const mask = maskOf(bytes);
  if (mask !== undefined && hasBitsOutside(bytes, mask))
    throw new WireError("OFPBMC_BAD_WILDCARDS", "match", 0, "outside the mask");
  try {
    const match = readMatchFields(bytes, !isStrict, READER_CHECKS);
    return match.length === 0 && mask?.every((byte) => byte === 0) ? readEmpty(bytes, mask) : match;
  } catch (thrown) {
    if (!(thrown instanceof WireError)) throw thrown;
    // What it needs is looked at by whoever asked for it.
    if (thrown.error === "OFPBMC_BAD_PREREQ") return readAlone(bytes, false);
    // A field of another size is another field.
    if (!isStrict && thrown.error === "OFPBMC_BAD_LEN") return [];
    throw thrown;
  }
}

/** The mask at the end of a masked entry. */
function maskOf(entry: Uint8Array): Uint8Array | undefined {
  if (((entry[2] as number) & 1) === 0) return undefined;
  const isExperimenter = entry[0] === 0xff && entry[1] === 0xff;
  const half = ((entry[3] as number) - (isExperimenter ? EXPERIMENTER_SIZE : 0)) >> 1;
  return entry.subarray(entry.byteLength - half);
}

/** Whether the value has bits that the mask does not have. */
function hasBitsOutside(entry: Uint8Array, mask: Uint8Array): boolean {
  const value = entry.subarray(entry.byteLength - 2 * mask.byteLength, entry.byteLength - mask.byteLength);
  return value.some((byte, i) => (byte & ~(mask[i] as number)) !== 0);
}

/** The field of an entry whose mask is zeros: what it needs, and that it occurs once, is looked at all the same. */
function readEmpty(bytes: Uint8Array, mask: Uint8Array): Match {
  const whole = bytes.slice();
  whole.fill(0xff, bytes.byteLength - mask.byteLength);
  return readMatchFields(whole, true, READER_CHECKS).map(({ field, value }) => ({
    field,
    value,
    mask: new Uint8Array(value.byteLength),
  }));
}

function isCookie(entry: Uint8Array): boolean {
  const size = (entry[3] as number) >> ((entry[2] as number) & 1);
  return entry[0] === 0 && entry[1] === 1 && (entry[2] as number) >> 1 === NXM_NX_COOKIE && size === 8;
}
