// ovs-vsctl at a real ovsdb-server and `plinth vsctl` at our OVSDB server, side by side: what they say and what they leave
// behind, with uuids named by the order in which they first appear or, in the database, by what the row holds.
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OvsdbClient } from "../../base/ovsdb/index.js";
import { runTool } from "../../stack/cli/tool-command.js";
import {
  DatabaseServer,
  OPEN_VSWITCH_SCHEMA,
  openStorage,
  runVsctl,
  type Storage,
} from "../../vswitch/index.js";
import { ProgramShell } from "./program-shell.js";
import { RealOvsdbServer } from "./real-ovsdb-server.js";
import { requirePrograms } from "./run.js";

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const PLACE = /§(?:(\d+):)?(\w+):([\w-]*)§/g;
const NOBODY = "01234567-89ab-cdef-0123-456789abcdef";
const DEADLINE_MS = 20_000;
const OPTIONS = ["--no-wait", "--no-syslog"];
/** Rounds in which what a row refers to becomes part of its name. */
const NAMING_ROUNDS = 4;

type Pair<One> = readonly [One, One];

/** A line's words with the uuids of one side in them, and of which uuids only the beginning stands there. */
interface Placed {
  readonly words: readonly string[];
  readonly beginnings: readonly string[];
}

export interface Told {
  readonly code: number | null;
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
}

export class VsctlTwins {
  readonly #dir: string;
  readonly #real: RealOvsdbServer;
  readonly #storage: Storage;
  readonly #server: DatabaseServer;
  readonly #clients: Pair<OvsdbClient>;
  readonly #shell: ProgramShell;

  private constructor(dir: string, real: RealOvsdbServer) {
    this.#dir = dir;
    this.#real = real;
    this.#storage = openStorage(join(dir, "ours"), OPEN_VSWITCH_SCHEMA);
    this.#server = new DatabaseServer([this.#storage]);
    this.#clients = [clientOf(real.endpoint), clientOf(this.#endpoint)];
    this.#shell = new ProgramShell(dir);
  }

  static async open(): Promise<VsctlTwins> {
    requirePrograms("ovs-vsctl", "ovsdb-server");
    const dir = mkdtempSync("/tmp/vst-");
    const twins = new VsctlTwins(dir, await RealOvsdbServer.start(join(dir, "real")));
    await twins.#server.listen(`p${twins.#endpoint}`);
    for (const client of twins.#clients) await client.ready(DEADLINE_MS);
    return twins;
  }

  get #endpoint(): string {
    return `unix:${join(this.#dir, "ours.sock")}`;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.#shell.close();
    await this.#real.stop();
    await this.#server.close();
    await this.#storage.close();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Both databases as they were when they were made. */
  async empty(): Promise<void> {
    const tables = [...OPEN_VSWITCH_SCHEMA.tables].filter(([, { isRoot }]) => isRoot).map(([name]) => name);
    // What refers to the others goes first.
    for (const step of [["Flow_Sample_Collector_Set", "Open_vSwitch"], tables])
      for (const client of this.#clients)
        await client.transact(step.map((table) => ({ op: "delete", table, where: [] })));
  }

  async theirs(words: readonly string[]): Promise<Told> {
    const { endpoint } = this.#real;
    const placed = await this.#placed(words, 0);
    const line = [...OPTIONS, `--db=${endpoint}`, ...placed.words];
    const { code, stdout, stderr } = await this.#shell.run("ovs-vsctl", line, DEADLINE_MS);
    return told(code, stdout, stderr, endpoint, placed);
  }

  /** In this process: starting one for each line would take minutes. */
  async ours(words: readonly string[]): Promise<Told> {
    const endpoint = this.#endpoint;
    const placed = await this.#placed(words, 1);
    let [stdout, stderr] = ["", ""];
    const io = {
      out: (text: string) => {
        stdout += text;
      },
      err: (text: string) => {
        stderr += text;
      },
      read: () => Promise.reject(new Error("nothing is read")),
      endpointOf: () => undefined,
      socket: (name: string) => name,
      interrupted: new Promise<void>(() => {}),
    };
    const run = (line: readonly string[]) => runVsctl(line, { ...io, database: endpoint });
    const code = await runTool({ name: "vsctl", run }, [...OPTIONS, ...placed.words], io);
    return told(code, stdout, stderr, endpoint, placed);
  }

  /** §TABLE:NAME§ stands for the row's uuid, §N:TABLE:NAME§ for its first N digits, on either side. */
  async #placed(words: readonly string[], side: 0 | 1): Promise<Placed> {
    const client = this.#clients[side];
    // What was committed before is seen by the time that anything is answered.
    if (words.some((word) => word.includes("§")))
      await client.transact([{ op: "select", table: "SSL", where: [] }]);
    const beginnings: string[] = [];
    const uuidOf = (_: string, digits: string | undefined, table: string, name: string): string => {
      const rows = [...client.rows(table).values()];
      const uuid = rows.find((row) => row.string("name") === name)?.uuid ?? NOBODY;
      if (digits === undefined) return uuid;
      beginnings.push(uuid.slice(0, Number(digits)));
      return uuid.slice(0, Number(digits));
    };
    return { words: words.map((word) => word.replaceAll(PLACE, uuidOf)), beginnings };
  }

  /** The rows of both, each with its columns; references are named by what they lead to. */
  async databases(): Promise<readonly (readonly string[])[]> {
    return Promise.all(this.#clients.map(contents));
  }
}

function clientOf(endpoint: string): OvsdbClient {
  return new OvsdbClient({ endpoint, monitor: { Bridge: {}, Port: {}, Interface: {} } });
}

function told(
  code: number | null,
  stdout: string,
  stderr: string,
  endpoint: string,
  { beginnings }: Placed,
): Told {
  const names = new Map<string, string>();
  const name = (uuid: string): string => {
    if (!names.has(uuid)) names.set(uuid, `UUID${names.size}`);
    return names.get(uuid) as string;
  };
  const lines = (text: string): string[] =>
    text
      .replaceAll(endpoint, "DB")
      .replaceAll(/^\S+Z\|\d+\|/gm, "")
      .replaceAll(/(ovs-|plinth )vsctl: /g, "vsctl: ")
      .replaceAll(UUID, name)
      // Of a link's uuid, only the beginning is shown.
      .replaceAll(/>[0-9a-f]{8}<\/a>/g, ">BEGINNING</a>")
      .replaceAll(beginningsOf(beginnings), "BEGINNING")
      .split("\n");
  return { code, stdout: lines(stdout), stderr: lines(stderr) };
}

async function contents(client: OvsdbClient): Promise<string[]> {
  const tables = [...OPEN_VSWITCH_SCHEMA.tables.keys()];
  const results = await client.transact(tables.map((table) => ({ op: "select", table, where: [] })));
  const rows = tables.flatMap((table, i) =>
    ((results[i] as { rows: Record<string, unknown>[] }).rows ?? []).map((row) => {
      const { _uuid, _version, ...columns } = row;
      // next_cfg counts both the same; what a server makes of its own stays out.
      return { uuid: (_uuid as string[])[1] as string, table, text: JSON.stringify(sorted(columns)) };
    }),
  );
  let names = new Map(rows.map(({ uuid, table }) => [uuid, table]));
  const naming = (text: string): string => text.replaceAll(UUID, (uuid) => names.get(uuid) ?? "gone");
  for (let round = 0; round < NAMING_ROUNDS; round++) {
    names = new Map(
      rows.map(({ uuid, table, text }) => [
        uuid,
        `${table}-${createHash("sha1")
          .update(canonical(JSON.parse(naming(text))))
          .digest("hex")
          .slice(0, 8)}`,
      ]),
    );
  }
  return rows.map(({ table, text }) => `${table} ${canonical(JSON.parse(naming(text)))}`).sort();
}

function sorted(columns: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(columns).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Sets and maps have no order. */
function canonical(value: unknown): string {
  if (!Array.isArray(value)) {
    if (typeof value !== "object" || value === null) return JSON.stringify(value);
    return `{${Object.entries(value)
      .map(([key, one]) => `${key}:${canonical(one)}`)
      .join(",")}}`;
  }
  const [kind, members] = value as [unknown, unknown];
  if ((kind === "set" || kind === "map") && Array.isArray(members))
    return `${kind}(${members.map(canonical).sort().join(",")})`;
  return `[${value.map(canonical).join(",")}]`;
}

/** Finds them; of very short ones all would be found. */
function beginningsOf(beginnings: readonly string[]): RegExp {
  const long = beginnings.filter((one) => one.length >= 4);
  return long.length === 0 ? /(?!)/g : new RegExp(long.join("|"), "g");
}
