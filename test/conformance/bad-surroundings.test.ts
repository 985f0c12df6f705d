// Daemons in surroundings that do not let them work: each says by name what is wrong and ends before anything is
// touched; a disk that fills up later makes writes be refused, and nothing else.
import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { callControl } from "../../base/jsonrpc/index.js";
import { lockFile } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import { encodeRecord } from "../../vswitch/db/record-log.js";
import { ControllerProcess, freePort } from "../support/controller-process.js";
import { needsRoot } from "../support/needs.js";
import { plinthRefuses } from "../support/refusal.js";
import { endChild, PLINTH, type RunResult, requirePrograms, run } from "../support/run.js";

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

let base: string;
beforeAll(() => {
  requirePrograms("unshare", "nsenter", "mount", "setpriv", "ovs-vsctl");
  base = mkdtempSync("/tmp/pbs-");
  chmodSync(base, 0o755);
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** The arguments that start each daemon in `dir`. */
const DAEMONS: Readonly<Record<string, (dir: string) => string[]>> = {
  controller: (dir) => ["controller", "--port", "0", "--dir", dir],
  nfd: (dir) => ["nfd", "--dir", dir],
  host: (dir) => ["host", "--dir", dir],
  up: (dir) => ["up", "--port", "0", "--no-example", "--dir", dir],
  vswitchd: (dir) => ["vswitchd", "--dir", dir],
  storaged: (dir) => ["storaged", "--dir", dir, "--disk", join(base, "disk")],
};
const names = Object.keys(DAEMONS);
/** Those whose directory is the whole installation's. */
const whole = names.filter((name) => name !== "vswitchd" && name !== "storaged");

function argumentsOf(name: string, dir: string): string[] {
  return (DAEMONS[name] as (dir: string) => string[])(dir);
}

/** Everything below `dir`, with sizes: what must be the same afterwards. */
function contents(dir: string): string[] {
  return readdirSync(dir, { recursive: true })
    .map((name) => `${name} ${statSync(join(dir, String(name))).size}`)
    .sort();
}

async function inPairs<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all([worker(), worker()]);
}

describe("a directory that cannot be used", () => {
  test("of a newer format is left alone", async () => {
    const dir = mkdtempSync(join(base, "n-"));
    writeFileSync(join(dir, "format"), '{"format":2}\n');
    writeFileSync(join(dir, "kubeconfig"), "precious");
    await inPairs(whole, async (name) => {
      expect(await plinthRefuses(argumentsOf(name, dir))).toMatch(/says format 2; this Plinth reads up to 1/);
    });
    expect(contents(dir)).toEqual(["format 13", "kubeconfig 8"]);
  });

  test("that is another's, a file, or too long for sockets", async () => {
    const home = mkdtempSync(join(base, "h-"));
    writeFileSync(join(home, "letter.txt"), "dear");
    chmodSync(home, 0o755);
    const long = join(base, "x".repeat(100));
    const cases = [
      ...whole.map((name) => [name, home, /holds letter.txt, which is nothing of Plinth/] as const),
      ...names.map((name) => [name, join(home, "letter.txt"), /cannot use directory .*letter.txt/] as const),
      ...names.map((name) => [name, long, /at most (72|80|107)/] as const),
    ];
    await inPairs(cases, async ([name, dir, reason]) => {
      expect(await plinthRefuses(argumentsOf(name, dir)), name).toMatch(reason);
    });
    expect([contents(home), statSync(home).mode & 0o777]).toEqual([["letter.txt 4"], 0o755]);
    expect(existsSync(long)).toBe(false);
  });

  test("that we may not read or write", needsRoot, async () => {
    const dir = mkdtempSync(join(base, "u-"));
    chownSync(dir, NOBODY, NOBODY);
    // Without what lets root read everything, and still the owner of the program, which may lie where nobody else reads.
    const gone = "-dac_override,-dac_read_search";
    const drop = ["--bounding-set", gone, "--inh-caps", gone, process.execPath, PLINTH];
    for (const [mode, some] of [
      [0o755, names],
      [0o700, ["nfd", "vswitchd"]],
    ] as const) {
      chmodSync(dir, mode);
      await inPairs(some, async (name) => {
        const { code, stderr } = await run("setpriv", [...drop, ...argumentsOf(name, dir)], {
          deadlineMs: 20_000,
        });
        expect([code, stderr]).toEqual([1, expect.stringContaining(`cannot use directory ${dir}`)]);
      });
    }
    expect(readdirSync(dir)).toEqual([]);
  });

  test("with a configuration database that is another's or of a later version", async () => {
    const dir = mkdtempSync(join(base, "d-"));
    for (const [text, code] of [
      ["precious", "DATABASE_UNREADABLE"],
      [encodeRecord({ name: "Other", version: "1.0.0", tables: {} }), "DATABASE_FOREIGN"],
      [encodeRecord({ name: "Open_vSwitch", version: "99.0.0", tables: {} }), "DATABASE_NEWER"],
    ] as const) {
      writeFileSync(join(dir, "conf.db"), text);
      expect(await plinthRefuses(argumentsOf("vswitchd", dir))).toContain(`[${code}]`);
      expect(readFileSync(join(dir, "conf.db"), "utf8")).toBe(String(text));
    }
  });

  test("for logs is named", async () => {
    const file = join(base, "file");
    writeFileSync(file, "");
    const said = await plinthRefuses([...argumentsOf("nfd", join(base, "l")), "--log-dir", file]);
    expect(said).toMatch(/cannot write logs to .*\[LOG_UNWRITABLE\]/);
  });
});

describe("what somebody else has", () => {
  let controller: ControllerProcess;
  const children: ChildProcess[] = [];
  let blocker: Server;
  let taken: number;
  beforeAll(async () => {
    controller = await ControllerProcess.create();
    await controller.start();
    const sockets = { nfd: "run/nfd.sock", host: "run/host.sock", vswitchd: "vswitchd.ctl" };
    for (const [name, socket] of Object.entries(sockets)) {
      const dir = name === "vswitchd" ? join(controller.dir, "switch") : controller.dir;
      children.push(spawn(process.execPath, [PLINTH, ...argumentsOf(name, dir)], { stdio: "ignore" }));
      await waitFor(() => existsSync(join(dir, socket)), `${name} is not ready`, 30_000);
    }
    blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, "127.0.0.1", () => resolve()));
    ({ port: taken } = blocker.address() as { port: number });
  }, 60_000);
  afterAll(async () => {
    for (const child of children) await endChild(child);
    blocker?.close();
    await controller?.destroy();
  });

  test("a second instance is told who runs, and the first goes on", async () => {
    await inPairs(["controller", "nfd", "host", "vswitchd"], async (name) => {
      const dir = name === "vswitchd" ? join(controller.dir, "switch") : controller.dir;
      expect(await plinthRefuses(argumentsOf(name, dir))).toMatch(
        /process \d+ already runs here.*\[ALREADY_RUNNING\]/,
      );
    });
    for (const socket of ["controller.sock", "nfd.sock", "host.sock"])
      expect(await callControl(join(controller.dir, "run", socket), "ping")).toMatchObject({
        pid: expect.any(Number),
      });
    expect(await callControl(join(controller.dir, "switch", "vswitchd.ctl"), "ping")).toMatchObject({
      name: "vswitchd",
    });
  });

  test("up and storaged are refused by the lock alone, before anything is made", async () => {
    const dir = mkdtempSync(join(base, "k-"));
    for (const name of ["run", "storage"]) mkdirSync(join(dir, name));
    const locks = [lockFile(join(dir, "run", "up.lock")), lockFile(join(dir, "storage", "storaged.lock"))];
    try {
      expect(await plinthRefuses(argumentsOf("up", dir))).toMatch(`process ${process.pid} already runs here`);
      expect(await plinthRefuses(argumentsOf("storaged", join(dir, "storage")))).toContain(
        "[ALREADY_RUNNING]",
      );
      expect(readdirSync(join(dir, "storage"))).toEqual(["storaged.lock"]);
      expect(readdirSync(join(dir, "run"))).toEqual(["up.lock"]);
    } finally {
      for (const lock of locks) lock.close();
    }
  });

  test("a port in use is told before anything is made", async () => {
    const dir = join(base, "p");
    expect(await plinthRefuses(["up", "--no-example", "--port", `${taken}`, "--dir", dir])).toMatch(
      /port \d+ of 127.0.0.1 is in use/,
    );
    expect(existsSync(dir)).toBe(false);
    expect(await plinthRefuses(["controller", "--port", `${taken}`, "--dir", dir])).toMatch(
      /in use.*\[PORT_IN_USE\]/,
    );
    expect(existsSync(join(dir, "state"))).toBe(false);
    const listener = ["--ovsdb", `ptcp:${taken}:127.0.0.1`];
    expect(await plinthRefuses([...argumentsOf("vswitchd", join(base, "s")), ...listener])).toContain(
      "[SOCKET_IN_USE]",
    );
    expect(
      await plinthRefuses([...argumentsOf("vswitchd", join(base, "s")), "--ovsdb", "nonsense"]),
    ).toContain("[ENDPOINT_INVALID]");
    expect(existsSync(join(base, "s", "conf.db"))).toBe(false);
  });
});

/** A mount namespace of its own, held by a process; undefined where the system allows none. */
async function mountNamespace(script: string): Promise<MountNamespace | undefined> {
  const flags = isRoot ? ["--mount"] : ["--user", "--map-root-user", "--mount"];
  const holder = spawn("unshare", [...flags, "sh", "-c", `${script}\necho ready; exec sleep 120`]);
  let said = "";
  for (const stream of [holder.stdout, holder.stderr])
    stream.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  await waitFor(() => said.includes("ready") || holder.exitCode !== null, "no namespace", 20_000);
  if (holder.exitCode === null) return new MountNamespace(holder);
  if (/Operation not permitted|permission denied/i.test(said)) return undefined;
  throw new Error(said);
}

class MountNamespace {
  readonly #holder: ChildProcess;
  readonly #children: ChildProcess[] = [];

  constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  /** `path` of the namespace, as seen from here. */
  path(path: string): string {
    return `/proc/${this.#holder.pid}/root${path}`;
  }

  get #enter(): string[] {
    const users = isRoot ? [] : ["--user", "--preserve-credentials"];
    return ["--target", `${this.#holder.pid}`, "--mount", ...users, process.execPath, PLINTH];
  }

  /** A `plinth` that must end with a named error. */
  async refuses(...args: string[]): Promise<string> {
    const { code, stderr } = await run("nsenter", [...this.#enter, ...args], { deadlineMs: 20_000 });
    expect([code, stderr]).toEqual([1, expect.not.stringMatching(/internal error|\[INTERNAL\]/)]);
    return stderr;
  }

  /** Starts a daemon and waits for its socket. */
  async start(socket: string, ...args: string[]): Promise<ChildProcess> {
    const child = spawn("nsenter", [...this.#enter, ...args], { stdio: "ignore" });
    this.#children.push(child);
    const ready = (): Promise<boolean> =>
      callControl(this.path(socket), "ping", {}, 1000).then(
        (answer) => (answer as { pid: number }).pid === child.pid,
        () => false,
      );
    await waitFor(ready, `${args[0]} is not ready`, 30_000);
    return child;
  }

  async end(): Promise<void> {
    for (const child of [...this.#children, this.#holder]) await endChild(child);
  }
}

test("without QEMU nothing is begun", async ({ skip }) => {
  const dir = join(base, "q");
  const places = [...(process.env["PATH"] ?? "").split(":"), "/usr/bin", "/usr/libexec"];
  const programs = places
    .map((place) => join(place, "qemu-system-x86_64"))
    .filter((path) => existsSync(path));
  const space = await mountNamespace(programs.map((path) => `mount --bind /dev/null ${path}`).join("\n"));
  if (space === undefined) return skip("this system allows no mount namespace");
  try {
    for (const name of ["host", "up"]) {
      expect(await space.refuses(...argumentsOf(name, `${dir}-${name}`))).toContain(
        "the program qemu-system-x86_64 is not installed",
      );
    }
    expect(existsSync(`${dir}-up`)).toBe(false);
    expect(existsSync(`${dir}-host/run/host.lock`)).toBe(false);
  } finally {
    await space.end();
  }
});

test("a full disk refuses writes to API and switch, keeps what was there, and is got over", async ({
  skip,
}) => {
  const dir = mkdtempSync(join(base, "f-"));
  const space = await mountNamespace(`mount -t tmpfs -o size=3m tmpfs ${dir}`);
  if (space === undefined) return skip("this system allows no mount namespace");
  try {
    const home = join(dir, "w");
    const port = await freePort();
    const controller = (): Promise<ChildProcess> =>
      space.start(`${home}/run/controller.sock`, "controller", "--port", `${port}`, "--dir", home);
    const vswitchd = (): Promise<ChildProcess> =>
      space.start(`${home}/switch/vswitchd.ctl`, "vswitchd", "--dir", `${home}/switch`);
    const daemons = [await controller(), await vswitchd()] as const;
    const plinth = (args: string[], input = ""): Promise<RunResult> =>
      run(process.execPath, [PLINTH, ...args, "--kubeconfig", space.path(`${home}/kubeconfig`)], { input });
    const namespaces = async (): Promise<string> => (await plinth(["get", "ns", "-o", "name"])).stdout;
    const create = (name: string, sizeBytes = 1): Promise<RunResult> =>
      plinth(
        ["apply", "-f", "-"],
        `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"${name}","annotations":{"a":"${"x".repeat(sizeBytes)}"}}}`,
      );
    const vsctl = (...words: string[]): Promise<RunResult> =>
      run("ovs-vsctl", [`--db=unix:${space.path(home)}/switch/db.sock`, "--timeout=10", ...words]);

    expect((await create("before")).code).toBe(0);
    expect((await vsctl("add-br", "br0")).code).toBe(0);
    const filler = space.path(join(dir, "filler"));
    fillDisk(filler);

    const refused = await create("refused", 30_000);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/the store cannot write.*No space left/),
    ]);
    expect(await namespaces()).toBe("namespace/before\nnamespace/default\n");
    const long = `other-config:a=${"x".repeat(30_000)}`;
    const bridge = await vsctl("add-br", "refused", "--", "set", "bridge", "refused", long);
    expect([bridge.code, bridge.stderr]).toEqual([1, expect.stringContaining("ENOSPC")]);
    expect((await vsctl("list-br")).stdout).toBe("br0\n");
    await inPairs(["vswitchd", "controller", "nfd"], async (name) => {
      expect(await space.refuses(...argumentsOf(name, join(dir, `new-${name}`)))).toContain("ENOSPC");
    });
    expect(daemons.map(({ exitCode, signalCode }) => [exitCode, signalCode])).toEqual([
      [null, null],
      [null, null],
    ]);

    rmSync(filler);
    expect((await vsctl("add-br", "later")).code).toBe(0);
    await waitFor(
      async () => (await create("later", 30_000)).code === 0,
      "the API does not write again",
      20_000,
    );
    for (const daemon of daemons) await endChild(daemon);
    await controller();
    await vswitchd();
    expect(await namespaces()).toBe("namespace/before\nnamespace/default\nnamespace/later\n");
    expect((await vsctl("list-br")).stdout).toBe("br0\nlater\n");
  } finally {
    await space.end();
  }
});

/** Writes to `path` until there is no byte left. */
function fillDisk(path: string): void {
  const fd = openSync(path, "w");
  try {
    for (const sizeBytes of [65_536, 4096, 1]) {
      const bytes = new Uint8Array(sizeBytes);
      try {
        for (;;) if (writeSync(fd, bytes) < sizeBytes) break;
      } catch (thrown) {
        expect((thrown as NodeJS.ErrnoException).code).toBe("ENOSPC");
      }
    }
  } finally {
    closeSync(fd);
  }
}
