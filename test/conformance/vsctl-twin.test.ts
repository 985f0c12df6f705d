// The same command lines to ovs-vsctl at ovsdb-server and to `plinth vsctl` at our OVSDB server: output, errors, exit codes
// and the databases agree. First every verb, option and format by hand, then random lines. PLINTH_NIGHTLY=1: many more.
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { PLINTH, run } from "../support/run.js";
import { type Told, VsctlTwins } from "../support/vsctl-twins.js";
import { SCRIPTS } from "./vsctl-lines.js";
import { BEGINNINGS, RANDOM_LINE } from "./vsctl-random.js";

/** Scripts of a few lines each; many more at night. */
const SCRIPT_COUNT = process.env["PLINTH_NIGHTLY"] === "1" ? 1000 : 8;

const TEST_DEADLINE_MS = 20 * 60_000;

let twins: VsctlTwins;

beforeAll(async () => {
  twins = await VsctlTwins.open();
});
beforeEach(() => twins.empty());
afterAll(() => twins?.close());

/**
 * What the database shows of a set that it refuses: the original sends its members in the order of their hashes. Which of
 * two rows is told first follows from the order in memory.
 */
const UNORDERED = [/"syntax":"\[.*\]"/, /First row, .*Second row, [^"]*/];

function ofAnySet<Rest>({ stderr, ...rest }: Rest & Pick<Told, "stderr">): object {
  const sorted = (set: string): string => [...set].sort().join("");
  const told = stderr.map((line) => UNORDERED.reduce((text, set) => text.replace(set, sorted), line));
  return { ...rest, stderr: told };
}

/** Rows come in the order of their uuids, which are random. */
function ofAnyOrder({ code, stdout, stderr }: Told): unknown {
  return { ...ofAnySet({ code, stderr }), stdout: [...stdout].map(withoutNames).sort() };
}

/** A set of references in a line has the order of its uuids, too. */
function withoutNames(line: string): string {
  return [...line.replaceAll(/UUID\d+/g, "UUID")].sort().join("");
}

/** Whether the line may print several rows. */
const LISTS = /(^| )(list|find|show|destroy)( |$)/;

/** ovs-vsctl has failed an assertion of its own or used memory it has freed, as where a line destroys what its next command uses. */
const CRASHED: readonly (number | null)[] = [134, 139];

/** The original gives an interface to a port that the same line removes, and so makes half of that port anew. */
const REVIVED = /add-bond-iface .*--.* del-(?:port|br) /;

/** The original does not see the new interface of a port that is to be there. */
const UNSEEN = /add-bond-iface .*-- --may-exist add-(?:port|bond) /;

/** The original still finds a row that the line has removed, and tells first what else is wrong. */
const REMOVED = /(?:del-(?:br|port)|destroy) .*--.* set /;

/** The same by its uuid: what else is wrong may be any column of it, and a command that names none is content. */
const LOOKED_UP = /(?:del-(?:br|port)|destroy) .*--.* \w+ §/;

/** Of the one row of Open_vSwitch: the original crashes, or finds its bridges still; here there is an empty one then. */
const ROOTLESS = /destroy Open_vSwitch.* -- /;

/** A new row that is told twice by one line: in the original under two uuids. */
const TOLD_TWICE = /create .*--.* get /;

/** The original looks at a row that the line has made and destroyed, in memory that it has freed. */
const FREED = /create .*--.* destroy /;

/** What the original logs of two rows of one name that a line has made, when it looks at its tables anew: see the docs. */
const TWICE = /^vsctl\|ERR\|.*: database contains duplicate /;

/** False where the original has said nothing to compare with. */
async function both(line: string): Promise<boolean> {
  const words = line.split(" ").map((word) => word.replaceAll("␣", " ").replaceAll("∅", ""));
  const [theirs, ours] = await Promise.all([twins.theirs(words), twins.ours(words)]);
  if (CRASHED.includes(theirs.code) || ROOTLESS.test(line)) return false;
  if (REVIVED.test(line) && theirs.stderr.join().includes("referential integrity violation")) return false;
  if (UNSEEN.test(line) && theirs.code === 0 && ours.code === 1) return false;
  if (FREED.test(line) && /database contains duplicate/.test(theirs.stderr.join())) return false;
  const misses = ours.stderr.join().includes("no row");
  if (REMOVED.test(line) && theirs.code === 1 && misses) return false;
  if (LOOKED_UP.test(line) && (misses || line.includes("--if-exists"))) return false;
  const told = { ...theirs, stderr: theirs.stderr.filter((one) => !TWICE.test(one)) };
  const shape = LISTS.test(line) || TOLD_TWICE.test(line) ? ofAnyOrder : ofAnySet;
  expect({ line, ...(shape(ours) as object) }).toEqual({ line, ...(shape(told) as object) });
  return true;
}

async function sameDatabases(lines: readonly string[]): Promise<void> {
  const [theirs, ours] = await twins.databases();
  expect({ lines, rows: ours }).toEqual({ lines, rows: theirs });
}

describe("plinth vsctl is ovs-vsctl", () => {
  it.each(Object.entries(SCRIPTS))("%s", async (_name, lines) => {
    for (const line of lines) expect(await both(line), line).toBe(true);
    await sameDatabases(lines);
  });

  it("and tells shells what it has to offer", async () => {
    // In the original the zones' words are missing, and all of a mapping's are ARG.
    const lines = (text: readonly string[]): string[] =>
      text.filter((line) => !/,(?:(?:add|del)-aa-mapping|.*-zone-tp|list-dp-cap),/.test(line)).sort();
    const [theirs, ours] = [await twins.theirs(["--commands", "--nope"]), await twins.ours(["--commands"])];
    expect(theirs.code).toBe(0);
    expect(lines(ours.stdout)).toEqual(lines(theirs.stdout));
    const options = (await twins.theirs(["--options"])).stdout;
    const shown = (await twins.ours(["--options", "nope"])).stdout;
    // Ours are besides, and what Node decides is not.
    const own = /^(?:--syslog|--output=ARG|-o ARG|--ssl-(?:protocols|ciphers)=ARG)$/;
    expect(shown.filter((line) => !own.test(line))).toEqual(options.filter((line) => !own.test(line)));
  });

  it("also where no database is, and does not end as if all were done", async () => {
    const told = async (program: string, ...words: readonly string[]): Promise<readonly unknown[]> => {
      const { code, stdout, stderr } = await run(program, words);
      return [code, stdout, stderr.replace(/^(ovs-|plinth )vsctl: /, "")];
    };
    const ours = (...words: readonly string[]) => told(process.execPath, PLINTH, "vsctl", ...words);
    const same = async (database: string): Promise<void> => {
      const [one, other] = await Promise.all([
        told("ovs-vsctl", `--db=${database}`, "show"),
        ours(`--db=${database}`, "show"),
      ]);
      expect(one[0]).toBe(1);
      expect(other).toEqual(one);
    };
    await Promise.all([
      same("unix:/nowhere/db.sock"),
      same("tcp:127.0.0.1:1"),
      ours("--db=unix:/nowhere/db.sock", "--retry", "--timeout=1", "show").then(([code]) =>
        expect(code).toBe(142),
      ),
    ]);
  });

  it(
    "whatever the line says",
    async () => {
      const script = fc.tuple(
        fc.constantFrom(...BEGINNINGS),
        fc.array(RANDOM_LINE, { minLength: 1, maxLength: 5 }),
      );
      await fc.assert(
        fc.asyncProperty(script, async ([beginning, lines]) => {
          await twins.empty();
          for (const line of [beginning, ...lines]) if (!(await both(line))) return;
          await sameDatabases(lines);
        }),
        { numRuns: SCRIPT_COUNT },
      );
    },
    TEST_DEADLINE_MS,
  );
});
