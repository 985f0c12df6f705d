// A pool that is opened anew under clients at work, because a disk that a volume waited for is back: a guest whose disk comes
// over vhost-user-blk, and a client of NBD, both of encrypted volumes, notice nothing but that it takes a moment.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { ensureGuestImage } from "../../hypervisor-core/index.js";
import type { VolumeView } from "../../storage-pool/index.js";
import { BlkGuest } from "../support/blk-guest.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

let dir: string;
let storage: StorageProcess;
let guest: BlkGuest | undefined;
let client: ChildProcessWithoutNullStreams | undefined;
let said = "";
beforeAll(async () => {
  requirePrograms("qemu-system-x86_64", "qemu-io", "nbdinfo");
  dir = mkdtempSync("/tmp/vr-");
  storage = new StorageProcess();
  await storage.start();
});
afterAll(async () => {
  await guest?.kill();
  client?.kill("SIGKILL");
  await storage?.destroy();
  rmSync(dir, { recursive: true, force: true });
});

const socket = (): string => join(dir, "blk.sock");
const view = async (name: string): Promise<VolumeView> =>
  (await storage.call("volume.get", { name })) as VolumeView;

/** Inodes of what is connected to a socket: another connection has another one. Source: proc_net(5), unix. */
function connectionsAt(path: string): string[] {
  const lines = readFileSync("/proc/net/unix", "utf8").split("\n");
  return lines.flatMap((line) => {
    const [, , , , , state, inode = "", at] = line.split(/\s+/);
    return at === path && state === "03" ? [inode] : [];
  });
}

it("keeps guests and clients while a disk's return opens the pool anew: nothing fails, nothing is lost, nobody connects again", async () => {
  const image = await ensureGuestImage({ cacheDir: "/var/cache/plinth/images", modules: [] });
  const once = join(storage.dir, "once");
  await storage.plinth("pool", "create", "p", "--disk", `${once},${join(storage.dir, "other")}`);
  await storage.plinth("pool", "rekey", "p", "--key-file", join(dir, "key"));
  const make = (name: string, ...more: string[]) =>
    storage.plinth("volume", "create", name, "--pool", "p", "--size", "64MiB", ...more);
  await make("alone");
  await make("guest", "--copies", "2", "--encrypt");
  await make("client", "--copies", "2", "--encrypt");
  const io = (...commands: string[]) =>
    runOk("qemu-io", ["-f", "raw", ...commands.flatMap((each) => ["-c", each]), storage.uri("alone")]);
  await io("write -P 5 0 24M", "flush");
  await storage.end("SIGKILL");
  renameSync(once, `${once}.away`);
  await storage.start();
  expect((await view("alone")).damageCode).toBe("DISK_MISSING");
  await storage.plinth("volume", "attach", "guest", "--socket", socket(), "--protocol", "vhost-user-blk");
  guest = new BlkGuest({ image, blkSocket: socket() });
  await guest.booted();
  client = spawn("qemu-io", ["-f", "raw", storage.uri("client")]);
  client.stdout.on("data", (bytes: Buffer) => {
    said += bytes.toString();
  });
  client.stdin.write("write -P 9 0 1M\n");
  await waitFor(() => said.includes("wrote 1048576/1048576"), "the client to write", 60_000);
  const before = connectionsAt(socket());
  expect(before).toHaveLength(1);
  const line =
    "for i in $(seq 1 60); do dd if=/dev/urandom of=/tmp/p bs=64k count=4 2>/dev/null; dd if=/tmp/p of=/dev/vda bs=64k seek=$((4*i)) oflag=direct conv=fsync 2>/dev/null || echo FAILED; md5sum </tmp/p; sleep 0.3; done";
  const allocated = (await view("guest")).allocatedBytes;
  const done = guest.start(line);
  await waitFor(
    async () => (await view("guest")).allocatedBytes > allocated,
    "the guest to write",
    60_000,
    50,
  );
  // Who comes in the middle of it finds all that there is.
  let opened = false;
  let comings = 0;
  const coming = (async () => {
    for (; !opened; comings++) await runOk("nbdinfo", ["--size", storage.uri("client")]);
  })();
  renameSync(`${once}.away`, once);
  await waitFor(async () => (await view("alone")).damage === undefined, "the disk to be used", 60_000, 100);
  opened = true;
  await coming;
  expect(comings).toBeGreaterThan(1);
  // It was in the middle of its work.
  const written = (await view("guest")).allocatedBytes;
  const sums = (text: string) => text.split(/\s+/).filter((word) => /^[0-9a-f]{32}$/.test(word));
  const wrote = await done();
  expect((await view("guest")).allocatedBytes).toBeGreaterThan(written);
  expect(wrote).not.toContain("FAILED");
  expect(sums(wrote)).toHaveLength(60);
  const read =
    "echo 3 >/proc/sys/vm/drop_caches; for i in $(seq 1 60); do dd if=/dev/vda bs=64k skip=$((4*i)) count=4 2>/dev/null | md5sum; done";
  expect(sums(await guest.run(read))).toEqual(sums(wrote));
  expect(await guest.run("dmesg | grep -ci 'i/o error' || true")).toBe("0");
  expect(connectionsAt(socket())).toEqual(before);
  const ended = new Promise<void>((resolve) => client?.on("close", () => resolve()));
  client.stdin.end("read -P 9 0 1M\nwrite -P 8 1M 64k\nflush\nread -P 8 1M 64k\nquit\n");
  await ended;
  expect(said).toMatch(/read 1048576\/1048576[\s\S]*wrote 65536\/65536[\s\S]*read 65536\/65536/);
  expect(said).not.toMatch(/Pattern|error|failed/);
  await io("read -P 5 0 24M");
}, 300_000);
