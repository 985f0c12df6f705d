// A guest whose disks are volumes over vhost-user-blk: it boots from one, and keeps what it wrote whatever dies.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { ensureGuestImage, type GuestImage, QmpClient } from "../../hypervisor-core/index.js";
import type { VolumeView } from "../../storage-pool/index.js";
import { BlkGuest } from "../support/blk-guest.js";
import { BOOT_DISK_MARK, makeBootDisk } from "../support/boot-disk.js";
import {
  FILE_SYSTEMS,
  judgeFileSystems,
  makeFileSystems,
  mountFileSystems,
  stress,
} from "../support/file-system-stress.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 2 ** 20;
const SIZE = 256 * MIB;

let dir: string;
let storage: StorageProcess;
let image: GuestImage;
let guest: BlkGuest;
/** Where the guest is moved to. */
let next: BlkGuest | undefined;
let more: string[];
beforeAll(async () => {
  requirePrograms("qemu-system-x86_64", "nbdcopy");
  dir = mkdtempSync("/tmp/vb-");
  image = await ensureGuestImage({ cacheDir: "/var/cache/plinth/images", modules: FILE_SYSTEMS });
  storage = new StorageProcess();
  await storage.start();
  await storage.plinth("volume", "create", "v", "--size", "256MiB");
  const disk = join(dir, "boot");
  makeBootDisk(image, disk, "raw");
  await runOk("nbdcopy", ["--flush", disk, storage.uri("v")]);
  await attach();
  more = await makeFileSystems(storage);
  guest = new BlkGuest({ image, blkSocket: socket(), fromDisk: true, more, monitor: join(dir, "qmp") });
  await guest.booted();
});
afterAll(async () => {
  await guest?.kill();
  await next?.kill();
  await storage?.destroy();
  rmSync(dir, { recursive: true, force: true });
});

const socket = (): string => join(dir, "blk.sock");
const volume = (): Promise<VolumeView> => storage.call("volume.get", { name: "v" }) as Promise<VolumeView>;
const attach = (): Promise<string> =>
  storage.plinth("volume", "attach", "v", "--socket", socket(), "--protocol", "vhost-user-blk");

it("boots from the volume, with two queues, a write cache, discard, and blocks of 4096 bytes", async () => {
  expect(await guest.run("cat /proc/cmdline")).toContain(BOOT_DISK_MARK);
  expect(await guest.run("cat /sys/block/vda/size")).toBe(String(SIZE / 512));
  expect(await guest.run("ls /sys/block/vda/mq | wc -l")).toBe("2");
  expect(await guest.run("cat /sys/block/vda/cache_type /sys/block/vda/serial")).toBe(
    "write back\r\ndefault/v".replace("default/", ""),
  );
  const queue =
    "cd /sys/block/vda/queue; cat physical_block_size discard_granularity; test $(cat discard_max_bytes) -gt 1000000";
  expect(await guest.run(queue)).toMatch(/^4096\s+4096$/);
  expect((await volume()).connections).toBe(1);
});

it("gives space back, zeroes, and flushes", async () => {
  const before = (await volume()).allocatedBytes;
  const at = "seek=100 oflag=direct";
  await guest.run(`dd if=/dev/urandom of=/dev/vda bs=1M count=16 ${at} 2>/dev/null; sync`);
  expect((await volume()).allocatedBytes).toBe(before + 16 * MIB);
  await guest.run("blkdiscard -o 104857600 -l 8388608 /dev/vda");
  expect((await volume()).allocatedBytes).toBe(before + 8 * MIB);
  await guest.run("blkdiscard -z -o 113246208 -l 8388608 /dev/vda || true");
  expect(await guest.run("dd if=/dev/vda bs=1M skip=100 count=8 2>/dev/null | tr -d '\\0' | wc -c")).toBe(
    "0",
  );
});

it("goes on after the daemon was killed under load: nothing answered is lost, nothing fails", async () => {
  const done = guest.start(
    "for i in $(seq 1 24); do dd if=/dev/urandom of=/tmp/p bs=64k count=16 2>/dev/null; dd if=/tmp/p of=/dev/vda bs=64k seek=$((2400+16*i)) conv=fsync 2>/dev/null || echo FAILED; md5sum </tmp/p; done",
  );
  const before = (await volume()).allocatedBytes;
  await waitFor(
    async () => (await volume()).allocatedBytes > before + 3 * MIB,
    "the guest to write",
    60_000,
    50,
  );
  await storage.end("SIGKILL");
  await storage.start();
  const sums = (await done()).split(/\s+/).filter((word) => /^[0-9a-f]{32}$/.test(word));
  expect(sums).toHaveLength(24);
  const again = await guest.run(
    "echo 3 >/proc/sys/vm/drop_caches; for i in $(seq 1 24); do dd if=/dev/vda bs=64k skip=$((2400+16*i)) count=16 2>/dev/null | md5sum; done",
  );
  expect(again.split(/\s+/).filter((word) => /^[0-9a-f]{32}$/.test(word))).toEqual(sums);
});

it("sees the volume grow", async () => {
  await storage.plinth("volume", "grow", "v", "--size", "320MiB");
  await waitFor(
    async () => (await guest.run("cat /sys/block/vda/size")) === String((SIZE + 64 * MIB) / 512),
    "the guest to see it",
    20_000,
    200,
  );
});

it("keeps ext4 and XFS whole under a file-system stress with the daemon killed in it", async () => {
  await mountFileSystems(guest, ["/dev/vdb", "/dev/vdc"]);
  await stress(storage, guest, 4);
  await judgeFileSystems(storage, guest);
});

/** Other sockets of the same volumes, for the QEMU that the guest moves to. */
async function attachAgain(): Promise<[string, string[]]> {
  const sockets = ["v", ...FILE_SYSTEMS].map((name) => join(dir, `${name}-2.sock`));
  for (const [i, name] of ["v", ...FILE_SYSTEMS].entries()) {
    const where = ["--socket", sockets[i] as string, "--protocol", "vhost-user-blk"];
    await expect(storage.plinth("volume", "attach", name, ...where)).rejects.toThrow("VOLUME_IN_USE");
    await storage.plinth("volume", "attach", name, ...where, "--moving");
  }
  const [first, ...others] = sockets;
  return [first as string, others];
}

it("is moved live to another QEMU while it writes: every page that the disks wrote comes along, nothing is lost", async () => {
  // What is read goes through pages of the guest that the other QEMU has to get, and is summed up there again.
  const round = "dd if=/dev/urandom of=/tmp/p bs=64k count=8 2>/dev/null; md5sum </tmp/p >>/tmp/wrote";
  const there = "of=/dev/vda bs=64k seek=$((2400+8*i)) conv=fsync";
  const back =
    "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=64k skip=$((2400+8*i)) count=8 2>/dev/null";
  await guest.run(
    `rm -f /tmp/wrote /tmp/read /tmp/stop; (i=0; until test -e /tmp/stop; do i=$((i%40+1)); ${round}; dd if=/tmp/p ${there} 2>/dev/null || echo FAIL''ED >>/tmp/wrote; ${back} | md5sum >>/tmp/read; done) & true`,
  );
  const [blkSocket, others] = await attachAgain();
  const incoming = join(dir, "move");
  const options = { image, fromDisk: true, blkSocket, more: others, incoming };
  next = new BlkGuest({ ...options, monitor: join(dir, "qmp-2") });
  const source = await QmpClient.open({ path: join(dir, "qmp"), deadlineMs: 10_000 });
  let state: { status?: string; "error-desc"?: string } = {};
  try {
    await waitFor(() => existsSync(incoming), "the other QEMU to wait for the guest", 60_000, 50);
    const rounds = async () => Number(await guest.run("wc -l </tmp/read"));
    await waitFor(async () => (await rounds()) >= 3, "the guest to write", 60_000, 100);
    await source.execute("migrate", { uri: `unix:${incoming}` });
    const ended = async () => {
      state = (await source.execute("query-migrate")) as typeof state;
      return state.status === "completed" || state.status === "failed";
    };
    await waitFor(ended, () => `the move: ${JSON.stringify(state)}`, 120_000, 50);
  } finally {
    source.close();
  }
  expect(state).toMatchObject({ status: "completed" });
  await guest.kill();
  const lines = async () => Number(await next?.run("wc -l </tmp/read"));
  const atArrival = await lines();
  await waitFor(async () => (await lines()) >= atArrival + 4, "the guest to go on", 60_000, 100);
  await next.run("touch /tmp/stop; wait; sync");
  // Between them its shell may tell of the job that ended, with its line, in which the word must not stand whole.
  const sums = async (line: string) => (await next?.run(line))?.match(/[0-9a-f]{32}|FAILED/g) ?? [];
  const wrote = await sums("cat /tmp/wrote");
  expect(wrote.length).toBeGreaterThan(4);
  expect(wrote).not.toContain("FAILED");
  expect(wrote).toEqual(await sums("cat /tmp/read"));
  expect((await volume()).connections).toBe(1);
  // The daemon dies under the new one as it did under the first.
  await storage.end("SIGKILL");
  await storage.start();
  const sum = `echo 3 >/proc/sys/vm/drop_caches; for i in $(seq 1 40); do dd if=/dev/vda bs=64k skip=$((2400+8*i)) count=8 2>/dev/null | md5sum; done`;
  expect(await sums(sum)).toContain(wrote.at(-1));
});
