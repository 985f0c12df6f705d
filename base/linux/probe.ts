// What this machine's kernel lets us use, found by trying, never by version numbers.
// Shown by `plinth host describe`. Thread: main.
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { PlinthError } from "../errors/index.js";
import { raw, systemError } from "./errno.js";
import { closeFile, O_RDWR, openFile } from "./file.js";
import { probeIoUring } from "./io-uring.js";
import { probeKvm } from "./kvm.js";
import { createMemfd } from "./memory.js";
import { CAP_NET_ADMIN, hasCapability } from "./owner.js";
import { rawIpProblem } from "./raw-ip.js";
import { cSocket } from "./socket-calls.js";
import { noteDescriptor } from "./thread-ledger.js";

export interface Facility {
  readonly name: string;
  readonly available: boolean;
  /** Why it is missing; empty when it is there. */
  readonly reason: string;
}

/** All facilities, in a fixed order. Leaves nothing behind. */
export function probeFacilities(): Facility[] {
  return [
    facility("io_uring", probeIoUring),
    facility("memfd", () => closeFile(createMemfd("plinth-probe", 4096))),
    facility("kvm", probeKvm),
    facility("tap", probeTap),
    facility("raw-socket", () => rawIpProblem()),
    facility("af-xdp", probeXdp),
    facility("cgroup", probeCgroup),
  ];
}

/** One facility by the names above; an unknown name is unavailable. */
export function probeFacility(name: string): Facility {
  const found = probeFacilities().find((candidate) => candidate.name === name);
  return found ?? { name, available: false, reason: "not a known facility" };
}

function facility(name: string, probe: () => unknown): Facility {
  try {
    const reason = probe();
    return typeof reason === "string"
      ? { name, available: false, reason }
      : { name, available: true, reason: "" };
  } catch (thrown) {
    if (thrown instanceof PlinthError) return { name, available: false, reason: thrown.message };
    throw thrown;
  }
}

function probeTap(): string | undefined {
  closeFile(openFile("/dev/net/tun", O_RDWR));
  return hasCapability(CAP_NET_ADMIN) ? undefined : "CAP_NET_ADMIN is missing";
}

function probeXdp(): void {
  const AF_XDP = 44;
  const SOCK_RAW = 3;
  const fd = noteDescriptor(raw(cSocket(AF_XDP, SOCK_RAW, 0)));
  if (fd < 0) throw systemError("socket(AF_XDP)", fd);
  closeFile(fd);
}

/** Version 2 with cpu and memory, or version 1 with both hierarchies, writable to us. */
function probeCgroup(): string | undefined {
  const root = "/sys/fs/cgroup";
  const controllersFile = `${root}/cgroup.controllers`;
  if (existsSync(controllersFile)) {
    const controllers = readFileSync(controllersFile, "utf8").trim().split(/\s+/);
    const missing = ["cpu", "memory"].filter((name) => !controllers.includes(name));
    if (missing.length === 0) return writable(root) ? undefined : `${root} is not writable`;
  }
  const missing = ["cpu", "memory"].filter((name) => !existsSync(`${root}/${name}/cgroup.procs`));
  if (missing.length > 0) return `no ${missing.join(" and ")} controller in version 1 or 2`;
  return writable(`${root}/memory`) ? undefined : `${root}/memory is not writable`;
}

function writable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
