// The NBD servers of a comparison, each with an export of the same size on the same file system.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import { endChild, PLINTH, runOk } from "../../test/support/run.js";

export interface NbdBenchServer {
  readonly name: string;
  readonly uri: string;
  /** Where it takes part: "warm" where the page cache has everything, "cold" where the disk is read. */
  readonly part: Part;
  /** Processor time of the server so far, all its threads (µs). */
  cpuUs(): number;
  end(): Promise<void>;
}

export type Part = "always" | "warm" | "cold";
type Start = (dir: string, sizeMib: number) => Promise<NbdBenchServer>;

const MIB = 1024 * 1024;
/** Of /proc/PID/stat. */
const TICKS_PER_SECOND = 100;

/** Name on the command line → how it is started in a directory of its own. */
export const NBD_SERVERS: ReadonlyMap<string, Start> = new Map<string, Start>([
  ["plinth", startPlinth],
  [
    "nbdkit",
    (dir, size) =>
      startPeer(dir, "nbdkit file", "always", size, (at, file) => [
        ...["nbdkit", "-f", "-U", at, "file", file],
      ]),
  ],
  [
    "nbdkit-memory",
    (dir, size) =>
      startPeer(dir, "nbdkit memory", "warm", size, (at) => ["nbdkit", "-f", "-U", at, "memory", `${size}M`]),
  ],
  [
    "qemu-nbd",
    (dir, size) =>
      startPeer(dir, "qemu-nbd", "warm", size, (at, file) => [
        ...["qemu-nbd", "-f", "raw", "-k", at, "-t", "-e", "8", "--cache=writeback", file],
      ]),
  ],
  [
    "qemu-storage-daemon",
    (dir, size) =>
      startPeer(dir, "qemu-storage-daemon", "warm", size, (at, file) => [
        ...["qemu-storage-daemon", "--blockdev", `file,node-name=f,filename=${file}`],
        ...["--nbd-server", `addr.type=unix,addr.path=${at}`],
        ...["--export", "nbd,id=e,node-name=f,writable=on,name="],
      ]),
  ],
  ["nbd-server", startNbdServer],
  [
    "qemu-nbd-direct",
    (dir, size) =>
      startPeer(dir, "qemu-nbd direct", "cold", size, (at, file) => [
        ...["qemu-nbd", "-f", "raw", "-k", at, "-t", "-e", "8", "--cache=none", "--aio=native", file],
      ]),
  ],
  [
    "qemu-storage-daemon-direct",
    (dir, size) =>
      startPeer(dir, "qemu-storage-daemon direct", "cold", size, (at, file) => [
        ...["qemu-storage-daemon", "--blockdev"],
        `file,node-name=f,filename=${file},cache.direct=on,aio=native`,
        ...["--nbd-server", `addr.type=unix,addr.path=${at}`],
        ...["--export", "nbd,id=e,node-name=f,writable=on,name="],
      ]),
  ],
]);

export async function startPlinth(dir: string, sizeMib: number): Promise<NbdBenchServer> {
  const home = join(dir, "s");
  const child = spawn(process.execPath, [PLINTH, "storaged", "--dir", home, "--disk", join(dir, "disk")], {
    stdio: "ignore",
  });
  await waitFor(() => existsSync(join(home, "control.sock")), "storaged does not start", 20_000);
  const create = ["volume", "create", "bench", "--size", `${sizeMib}MiB`, "--dir", home];
  await runOk(process.execPath, [PLINTH, ...create]);
  return server("plinth storaged", "always", `nbd+unix:///bench?socket=${join(home, "nbd.sock")}`, child);
}

async function startPeer(
  dir: string,
  name: string,
  part: Part,
  sizeMib: number,
  command: (socket: string, file: string) => readonly string[],
): Promise<NbdBenchServer> {
  const socket = join(dir, "s");
  const [program = "", ...args] = command(socket, emptyFile(dir, sizeMib));
  const child = spawn(program, args, { stdio: "ignore" });
  await waitFor(() => existsSync(socket), `${name} does not start`, 10_000);
  return server(name, part, `nbd+unix:///?socket=${socket}`, child);
}

async function startNbdServer(dir: string, sizeMib: number): Promise<NbdBenchServer> {
  const socket = join(dir, "s");
  const config = join(dir, "config");
  const main = `[generic]\nunixsock = ${socket}\n`;
  const entry = `[bench]\nexportname = ${emptyFile(dir, sizeMib)}\nflush = true\nfua = true\n`;
  writeFileSync(config, main + entry);
  const pidFile = join(dir, "pid");
  // It leaves its starter by itself.
  await runOk("nbd-server", ["-C", config, "-p", pidFile]);
  await waitFor(() => existsSync(socket) && existsSync(pidFile), "nbd-server does not start", 10_000);
  const pid = Number(readFileSync(pidFile, "utf8"));
  return {
    name: "nbd-server",
    part: "warm",
    uri: `nbd+unix:///bench?socket=${socket}`,
    cpuUs: () => cpuUsOf(pid),
    end: async () => {
      process.kill(pid, "SIGTERM");
      await waitFor(() => !existsSync(`/proc/${pid}`), "nbd-server does not end", 10_000);
    },
  };
}

function emptyFile(dir: string, sizeMib: number): string {
  mkdirSync(dir, { recursive: true });
  const path = join(dir, "raw");
  writeFileSync(path, "");
  truncateSync(path, sizeMib * MIB);
  return path;
}

function server(name: string, part: Part, uri: string, child: ChildProcess): NbdBenchServer {
  return { name, part, uri, cpuUs: () => cpuUsOf(child.pid as number), end: () => endChild(child) };
}

/** With its children: nbd-server makes one for each client. Fields 14 to 17 of proc(5)'s stat, behind the name. */
function cpuUsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = [11, 12, 13, 14].reduce((sum, i) => sum + Number(fields[i]), 0);
  return (ticks * 1_000_000) / TICKS_PER_SECOND;
}
