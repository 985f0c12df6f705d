import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AssertionError } from "../../base/assert/index.js";
import { commandLine } from "./command-line.js";
import { type MachineSpec, machinePaths } from "./machine-spec.js";
import { MACHINE_TRANSITIONS, type MachineState, moveState, stateOfRunState } from "./machine-states.js";
import { usersOfProcesses } from "./qemu-process.js";
import { ControlGroups } from "./resource-limits.js";
import { readLogTail, stageBoot, trimLog } from "./run-directory.js";
import { allocateUid, MACHINE_UID_COUNT, MACHINE_UID_MIN } from "./uid-pool.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync("/tmp/pmac-");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const SPEC: MachineSpec = {
  name: "shop.web1",
  cpus: 2,
  memoryBytes: 128 * 1024 * 1024,
  accelerator: "tcg",
  boot: { type: "kernel", kernel: "/k", initramfs: "/i", arguments: "" },
  interfaces: [{ name: "eth0", macAddress: "52:54:00:00:00:01", backend: "vhost-user" }],
  disks: [{ name: "data", socket: "/run/disk0.sock", exportName: "shop/db-data", readOnly: false }],
};
const PATHS = machinePaths("/run/p/1234");
const valuesOf = (words: string[], flag: string): string[] =>
  words.flatMap((word, i) => (word === flag ? [words[i + 1] as string] : []));

describe("commandLine()", () => {
  it("describes memory, network and disk as they are wired", () => {
    const words = commandLine(SPEC, PATHS);
    expect(valuesOf(words, "-object")).toContain("memory-backend-memfd,id=memory,size=131072K,share=on");
    expect(valuesOf(words, "-machine")[0]).toMatch(/^q35,.*memory-backend=memory$/);
    expect(valuesOf(words, "-chardev")).toContain(
      "socket,id=net0c,path=/run/p/1234/net0.sock,server=on,wait=off",
    );
    expect(valuesOf(words, "-device")).toContain(
      "virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:01,romfile=,vectors=0",
    );
    expect(valuesOf(words, "-blockdev")[0]).toBe(
      "driver=nbd,node-name=disk0,server.type=unix,server.path=/run/disk0.sock,export=shop/db-data,read-only=off,discard=unmap,reconnect-delay=3600,open-timeout=10",
    );
    expect(valuesOf(words, "-sandbox")[0]).toContain("spawn=deny");
    expect(words).toContain("-nodefaults");
  });

  it("uses the processor of the host under KVM, with all its interrupts", () => {
    const words = commandLine({ ...SPEC, accelerator: "kvm" }, PATHS);
    expect(valuesOf(words, "-cpu")).toEqual(["host"]);
    expect(words.join(" ")).not.toContain("vectors=0");
    expect(valuesOf(words, "-append")[0]).not.toContain("mitigations=off");
  });

  it("lets no name or path add an option", () => {
    const disk = { name: "data", socket: "/x,server.path=/etc", exportName: "a,b=c", readOnly: true };
    const [node] = valuesOf(commandLine({ ...SPEC, disks: [disk] }, PATHS), "-blockdev");
    expect(node).toContain("server.path=/x,,server.path=/etc,export=a,,b=c,read-only=on");
  });

  it.each([
    ["cpus", { cpus: 0 }],
    ["cpus", { cpus: 1.5 }],
    ["memoryBytes", { memoryBytes: 1 }],
    ["memoryBytes", { memoryBytes: 128 * 1024 * 1024 + 1 }],
    ["name", { name: "a,b" }],
    [
      "interfaces.name",
      { interfaces: [{ name: "a b", macAddress: "52:54:00:00:00:01", backend: "stream" }] },
    ],
    ["interfaces.macAddress", { interfaces: [{ name: "a", macAddress: "52:54", backend: "stream" }] }],
  ] as [string, Partial<MachineSpec>][])("names %s in %j", (field, change) => {
    expect(() => commandLine({ ...SPEC, ...change }, PATHS)).toThrow(
      expect.objectContaining({ code: "MACHINE_SPEC_INVALID", field }),
    );
  });

  it("refuses a run directory whose sockets would be cut", () => {
    expect(() => machinePaths(`/${"x".repeat(100)}`)).toThrow(
      expect.objectContaining({ code: "MACHINE_SPEC_INVALID" }),
    );
  });
});

describe("moveState()", () => {
  it("allows what the table allows and asserts against everything else", () => {
    const states = Object.keys(MACHINE_TRANSITIONS) as MachineState[];
    for (const from of states) {
      for (const to of states) {
        const allowed = from === to || MACHINE_TRANSITIONS[from].includes(to);
        if (allowed) expect(moveState(from, to)).toBe(to);
        else expect(() => moveState(from, to)).toThrow(AssertionError);
      }
    }
  });

  it("knows what a run state of QEMU means", () => {
    expect(["running", "paused", "io-error", "prelaunch", 7].map(stateOfRunState)).toEqual([
      "running",
      "paused",
      "paused",
      undefined,
      undefined,
    ]);
  });
});

describe("allocateUid()", () => {
  it("gives each machine another user until none is left", () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { maxLength: 50 }), (seeds) => {
        const used = new Set<number>();
        for (const seed of seeds) {
          const uid = allocateUid(used, seed);
          expect(used.has(uid)).toBe(false);
          expect(uid).toBeGreaterThanOrEqual(MACHINE_UID_MIN);
          used.add(uid);
        }
      }),
    );
    const all = new Set(Array.from({ length: MACHINE_UID_COUNT }, (_, i) => MACHINE_UID_MIN + i));
    expect(() => allocateUid(all, 1)).toThrow(expect.objectContaining({ code: "MACHINE_STATE" }));
  });
});

describe("usersOfProcesses()", () => {
  it("knows the user of every process", () => {
    expect(usersOfProcesses()).toContain(process.getuid?.());
  });

  const needsRoot = { skip: process.getuid?.() !== 0, meta: { needs: "root" } as object };
  it("keeps a machine from a user that a process has", needsRoot, async () => {
    const uid = MACHINE_UID_MIN + MACHINE_UID_COUNT - 1;
    const child = spawn("sleep", ["60"], { uid, gid: uid, stdio: "ignore" });
    await new Promise((resolve) => child.once("spawn", resolve));
    expect(allocateUid(usersOfProcesses(), MACHINE_UID_COUNT - 1)).not.toBe(uid);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
  });
});

describe("logs of a machine", () => {
  it("are emptied above their size, and never through a link", () => {
    const log = join(dir, "serial.log");
    writeFileSync(log, "x".repeat(100));
    trimLog(log, 100);
    expect(readFileSync(log).length).toBe(100);
    trimLog(log, 99);
    expect(readFileSync(log).length).toBe(0);
    const secret = join(dir, "secret");
    writeFileSync(secret, "secret\n");
    symlinkSync(secret, join(dir, "link"));
    trimLog(join(dir, "link"), 0);
    expect(readLogTail(join(dir, "link"))).toBe("");
    expect(readLogTail(secret)).toBe("secret");
    writeFileSync(log, "first\nred \u001b[31m\u0007\u202e\n");
    expect(readLogTail(log)).toBe("first; red ?[31m??");
  });
});

describe("stageBoot()", () => {
  it("puts nothing where a machine's user has put a link, and gives nothing away through one", () => {
    const paths = machinePaths(join(dir, "run"));
    mkdirSync(paths.runDir);
    const original = join(dir, "kernel");
    const victim = join(dir, "victim");
    for (const path of [original, victim]) writeFileSync(path, "mine");
    const boot = { type: "kernel", kernel: original, initramfs: original, arguments: "" } as const;
    for (const planted of [paths.kernel, paths.initramfs]) {
      symlinkSync(victim, planted);
      expect(() => stageBoot(boot, undefined, paths, undefined)).toThrow(/EEXIST/);
      expect(readFileSync(victim, "utf8")).toBe("mine");
      for (const path of [paths.kernel, paths.initramfs]) rmSync(path, { force: true });
    }
    stageBoot(boot, undefined, paths, undefined);
    expect(readFileSync(paths.initramfs, "utf8")).toBe("mine");
    expect(readFileSync(paths.kernel, "utf8")).toBe("mine");
  });
});

describe("ControlGroups", () => {
  const limits = { cpus: 1, memoryBytes: 128 * 1024 * 1024 };

  it("writes quota and memory in version 2", () => {
    writeFileSync(join(dir, "cgroup.controllers"), "cpu memory\n");
    writeFileSync(join(dir, "cgroup.subtree_control"), "cpu memory\n");
    mkdirSync(join(dir, "plinth"));
    writeFileSync(join(dir, "plinth/cgroup.subtree_control"), "");
    expect(new ControlGroups(dir).apply("m", 42, limits)).toMatchObject({ enforced: true });
    expect(readFileSync(join(dir, "plinth/m/cpu.max"), "utf8")).toBe("150000 100000");
    expect(readFileSync(join(dir, "plinth/m/memory.max"), "utf8")).toBe(String(384 * 1024 * 1024));
    expect(readFileSync(join(dir, "plinth/m/cgroup.procs"), "utf8")).toBe("42");
  });

  it("says why nothing is enforced where nothing can be written", () => {
    expect(new ControlGroups(join(dir, "none")).apply("m", 42, limits)).toMatchObject({ enforced: false });
  });
});
