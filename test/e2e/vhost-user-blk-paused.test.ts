// A guest that is paused again and again while it writes to two disks over vhost-user-blk, one with split and one with
// packed rings: QEMU disables and stops the rings each time, with whatever is in them, and starts them again.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { ensureGuestImage, QmpClient } from "../../hypervisor-core/index.js";
import { BlkGuest } from "../support/blk-guest.js";
import { requirePrograms } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

/** At a time, before the guest is asked how far it is. */
const PAUSES = 10;
const ROUNDS = 32;

let dir: string;
let storage: StorageProcess;
let guest: BlkGuest;
beforeAll(async () => {
  requirePrograms("qemu-system-x86_64");
  dir = mkdtempSync("/tmp/vp-");
  const image = await ensureGuestImage({ cacheDir: "/var/cache/plinth/images" });
  storage = new StorageProcess();
  await storage.start();
  const sockets = ["split", "packed"].map((name) => join(dir, name));
  for (const [i, name] of ["split", "packed"].entries()) {
    await storage.plinth("volume", "create", name, "--size", "64MiB");
    const where = ["--socket", sockets[i] as string, "--protocol", "vhost-user-blk"];
    await storage.plinth("volume", "attach", name, ...where);
  }
  const [blkSocket = "", ...more] = sockets;
  guest = new BlkGuest({ image, blkSocket, more, packed: true, monitor: join(dir, "qmp") });
  await guest.booted();
});
afterAll(async () => {
  await guest?.kill();
  await storage?.destroy();
  rmSync(dir, { recursive: true, force: true });
});

it("reads back what it wrote, on every disk, whatever was in the rings when it was paused", async () => {
  // Each of eight writers has its own megabyte, writes it with a flush, and reads it past the cache.
  const round = "dd if=/dev/urandom of=/tmp/$d$i bs=64k count=16 2>/dev/null; a=$(md5sum </tmp/$d$i)";
  const there = "dd if=/tmp/$d$i of=/dev/$d bs=64k seek=$((16*i)) conv=fsync 2>/dev/null || echo FAIL''ED";
  const back = "b=$(dd if=/dev/$d iflag=direct bs=64k skip=$((16*i)) count=16 2>/dev/null | md5sum)";
  const judge = 'test "$a" = "$b" && echo same || echo DIFF\'\'ERENT';
  const writer = `until test -e /tmp/stop; do ${round}; ${there}; ${back}; ${judge}; done >>/tmp/told`;
  await guest.run(
    `rm -f /tmp/told /tmp/stop; for d in vda vdb; do for i in 1 2 3 4; do (${writer}) & done; done; true`,
  );
  const monitor = await QmpClient.open({ path: join(dir, "qmp"), deadlineMs: 10_000 });
  try {
    const pauseAgain = async (): Promise<boolean> => {
      for (let i = 0; i < PAUSES; i++) {
        await monitor.execute("stop", {});
        await monitor.execute("cont", {});
        await new Promise((resolve) => setTimeout(resolve, 37));
      }
      return (await counts()).same >= ROUNDS;
    };
    await waitFor(pauseAgain, "the guest to write and read", 120_000, 1);
  } finally {
    monitor.close();
  }
  await guest.run("touch /tmp/stop; wait");
  expect((await counts()).other).toBe(0);
});

/** Rounds that the guest told of. Between them its shell may tell of the jobs that ended. */
async function counts(): Promise<{ same: number; other: number }> {
  const told = await guest.run("echo =$(grep -c same /tmp/told)/$(grep -vc same /tmp/told)=");
  const [, same, other] = /=(\d+)\/(\d+)=/.exec(told) ?? [];
  return { same: Number(same), other: Number(other) };
}
