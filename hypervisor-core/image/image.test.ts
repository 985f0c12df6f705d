import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { USER_DATA_BYTES_MAX } from "../limits.js";
import { type CpioEntry, encodeCpio } from "./cpio.js";
import { GUEST_FILES } from "./guest-files.js";
import { ensureGuestImage } from "./guest-image.js";
import { appendGuestSeed, encodeGuestSeed } from "./guest-seed.js";
import { detectCompression, needsInterpreter, parseKernelRelease } from "./kernel-file.js";
import { type KernelModule, moduleName, orderModules, parseModuleDepends } from "./kernel-modules.js";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "pimg-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("encodeCpio()", () => {
  it("writes the header of the kernel's buffer format, byte by byte", () => {
    const archive = encodeCpio([{ type: "file", path: "a", mode: 0o644, data: bytes("hello") }]);
    const header =
      "070701" + // magic, then inode, mode, uid, gid, links, time, size
      "00000001000081A400000000000000000000000100000000" +
      "00000005" +
      "00000000000000000000000000000000" + // device and special device
      "0000000200000000"; // name with its NUL, no checksum
    expect(Buffer.from(archive.subarray(0, 112)).toString("latin1")).toBe(`${header}a\0`);
    expect(Buffer.from(archive.subarray(112, 120)).toString("latin1")).toBe("hello\0\0\0");
    expect(archive.length % 512).toBe(0);
  });

  it("is read back by cpio", () => {
    const entries: CpioEntry[] = [
      { type: "directory", path: "d" },
      { type: "file", path: "d/f", mode: 0o755, data: bytes("x".repeat(1001)) },
      { type: "symlink", path: "d/l", target: "f" },
    ];
    const input = encodeCpio(entries);
    execFileSync("cpio", ["-idm", "--quiet"], { cwd: dir, input });
    expect(readFileSync(join(dir, "d/l"), "latin1")).toBe("x".repeat(1001));
    const device = encodeCpio([{ type: "device", path: "console", major: 5, minor: 1 }]);
    expect(execFileSync("cpio", ["-tv", "--quiet"], { input: device }).toString()).toMatch(
      /^crw-------.* 5, +1 /,
    );
  });
});

describe("encodeGuestSeed()", () => {
  const seed = {
    hostname: "web1",
    interfaces: [{ name: "eth0", macAddress: "52:54:00:AA:00:01" }],
    userData: "id",
  };

  it("holds the facts of one machine behind any initramfs", () => {
    const initramfs = encodeCpio([]).subarray(0, 126);
    execFileSync("cpio", ["-idm", "--quiet"], { cwd: dir, input: encodeGuestSeed(seed) });
    expect(readFileSync(join(dir, "etc/plinth/interfaces"), "utf8")).toBe("52:54:00:aa:00:01 eth0\n");
    expect(readFileSync(join(dir, "etc/plinth/hostname"), "utf8")).toBe("web1\n");
    const whole = appendGuestSeed(initramfs, seed);
    expect(Buffer.from(whole.subarray(128, 134)).toString()).toBe("070701");
  });

  it("bounds user data", () => {
    expect(() => encodeGuestSeed({ ...seed, userData: "x".repeat(USER_DATA_BYTES_MAX + 1) })).toThrow(
      expect.objectContaining({ code: "MACHINE_SPEC_INVALID", field: "spec.userData" }),
    );
  });
});

describe("orderModules()", () => {
  const table: Record<string, string[]> = {
    virtio_pci: ["virtio", "virtio_pci_modern_dev"],
    virtio: ["virtio_ring"],
    virtio_ring: [],
    virtio_pci_modern_dev: [],
    virtio_net: ["virtio", "net_failover"],
    net_failover: ["failover"],
    failover: [],
    a: ["b"],
    b: ["a"],
  };
  const lookup = (name: string): KernelModule | undefined => {
    const depends = table[name];
    return depends === undefined ? undefined : { name, path: name, depends };
  };

  it("puts each module behind what it needs, once, and takes unknown ones for built in", () => {
    const order = orderModules(["virtio_pci", "virtio_net", "ext4"], lookup).map((module) => module.name);
    expect(order).toEqual([
      "virtio_ring",
      "virtio",
      "virtio_pci_modern_dev",
      "virtio_pci",
      "failover",
      "net_failover",
      "virtio_net",
    ]);
    expect(orderModules(["virtio"], lookup, new Set(["virtio_ring"])).map((module) => module.name)).toEqual([
      "virtio",
    ]);
  });

  it("refuses a circle", () => {
    expect(() => orderModules(["a"], lookup)).toThrow(
      expect.objectContaining({ code: "IMAGE_BUILD_FAILED" }),
    );
  });

  it("reads names and dependencies from the modules themselves", () => {
    expect(moduleName("x/virtio-rng.ko.zst")).toBe("virtio_rng");
    expect(moduleName("x/modules.dep")).toBeUndefined();
    expect(parseModuleDepends(bytes("\0license=GPL\0depends=a,b-c\0retpoline=Y\0"))).toEqual(["a", "b_c"]);
    expect(parseModuleDepends(bytes("\0depends=\0"))).toEqual([]);
    expect(parseModuleDepends(bytes("\0depends=never ends"))).toEqual([]);
  });
});

describe("kernel files", () => {
  it("tells packings by their first bytes", () => {
    expect(detectCompression(gzipSync("x"))).toBe("gzip");
    expect(detectCompression(bytes("\xfd7zXZ\0"))).toBe("xz");
    expect(detectCompression(bytes("\x28\xb5\x2f\xfd"))).toBe("zstd");
    expect(detectCompression(bytes(""))).toBe("none");
  });

  it("takes what is no kernel and no program for what it is", () => {
    expect(parseKernelRelease(bytes("short"))).toBeUndefined();
    expect(needsInterpreter(bytes("#!/bin/sh\n"))).toBe(true);
    expect(needsInterpreter(readFileSync(process.execPath))).toBe(true);
  });
});

describe("guest files", () => {
  it("are shell scripts that busybox accepts", () => {
    for (const { path, text } of GUEST_FILES.filter((file) => file.text.startsWith("#!/bin/sh"))) {
      const file = join(dir, "script");
      writeFileSync(file, text);
      expect(execFileSync("busybox", ["sh", "-n", file]).toString(), path).toBe("");
    }
  });
});

describe("ensureGuestImage()", () => {
  it("names a kernel file that cannot be read, and leaves nothing behind", async () => {
    const options = { cacheDir: join(dir, "cache"), kernelFile: join(dir, "none") };
    await expect(ensureGuestImage(options)).rejects.toMatchObject({
      code: "IMAGE_BUILD_FAILED",
      field: "--kernel",
    });
  });

  it("refuses a kernel whose modules are nowhere, and takes an empty directory for none", async () => {
    const boot = join(dir, "boot");
    mkdirSync(boot);
    const kernelFile = join(boot, "vmlinuz-6.9.9-test");
    writeFileSync(kernelFile, "not looked into");
    const options = { cacheDir: join(dir, "cache"), kernelFile };
    await expect(ensureGuestImage(options)).rejects.toMatchObject({
      code: "IMAGE_BUILD_FAILED",
      field: "--kernel",
      message: expect.stringContaining(join(dir, "lib/modules/6.9.9-test")),
    });
    expect(readdirSync(join(dir, "cache"))).toEqual([]);
    mkdirSync(join(dir, "lib/modules/6.9.9-test"), { recursive: true });
    expect((await ensureGuestImage(options)).release).toBe("6.9.9-test");
  });
});
