// A guest's ext4 and XFS on volumes under minutes of stress-ng, storaged killed again and again; the short form is in
// test/e2e/vhost-user-blk.test.ts.
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensureGuestImage } from "../../hypervisor-core/index.js";
import type { VolumeView } from "../../storage-pool/index.js";
import { BlkGuest } from "../support/blk-guest.js";
import {
  FILE_SYSTEMS,
  judgeFileSystems,
  makeFileSystems,
  mountFileSystems,
  stress,
} from "../support/file-system-stress.js";
import { requirePrograms } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const ROUNDS = 4;
const SECONDS = 40;

let storage: StorageProcess;
let guest: BlkGuest;

beforeAll(async () => {
  requirePrograms("qemu-system-x86_64");
  const image = await ensureGuestImage({ cacheDir: "/var/cache/plinth/images", modules: FILE_SYSTEMS });
  storage = new StorageProcess();
  await storage.start();
  const [blkSocket = "", ...more] = await makeFileSystems(storage);
  guest = new BlkGuest({ image, blkSocket, more });
  await guest.booted();
}, 300_000);
afterAll(async () => {
  await guest?.kill();
  await storage?.destroy();
});

test("stress-ng and fsck find nothing wrong however often storaged is killed", async () => {
  await mountFileSystems(guest, ["/dev/vda", "/dev/vdb"]);
  for (let round = 0; round < ROUNDS; round++) {
    await stress(storage, guest, SECONDS);
    await storage.call("snapshot.create", { volume: "xfs", name: `round-${round}` });
  }
  await judgeFileSystems(storage, guest);
  for (const name of FILE_SYSTEMS) {
    expect(await storage.plinth("volume", "prove", name)).toContain("proven");
    expect((await storage.call("volume.get", { name })) as VolumeView).not.toHaveProperty("lostRanges");
  }
}, 900_000);
