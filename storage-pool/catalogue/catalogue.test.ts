import { expect, test } from "vitest";
import { openMemoryStore } from "../../base/store/index.js";
import { Catalogue, type VolumeEntry } from "./catalogue.js";

const volume: VolumeEntry = {
  id: 1,
  name: "shop/db",
  pool: "default",
  sizeBytes: 2 ** 40,
  copies: 2,
  epoch: 3,
  mapFile: "1-head-3-9.map",
  checkpointSequence: 2 ** 45,
  originVolume: 0,
  snapshots: [{ name: "s", sequence: 7, sizeBytes: 4096, mapFile: "m", createdAtMs: 1_800_000_000_000 }],
};
const pool = { name: "default", id: "x", epoch: 0, disks: ["/a", "/b"], formatted: true };

test("what was put is there after opening again", async () => {
  const store = openMemoryStore();
  const first = await Catalogue.open(store);
  expect(first.nextVolumeId).toBe(1);
  await first.putPool(pool);
  await first.putVolume(volume);
  await first.putExport({
    socket: "/run/x.sock",
    volume: "shop/db",
    hasUid: true,
    uid: 4711,
    readOnly: false,
  });
  const second = await Catalogue.open(store);
  expect([...second.pools.values()]).toEqual([pool]);
  expect([...second.volumes.values()]).toEqual([volume]);
  expect(second.exports.get("/run/x.sock")).toMatchObject({ uid: 4711, readOnly: false });
  expect(second.nextVolumeId).toBe(2);
  expect(second.volumeById(1)?.name).toBe("shop/db");
});

test("raiseEpochs() raises the pool's and every volume's epoch, durably", async () => {
  const store = openMemoryStore();
  const catalogue = await Catalogue.open(store);
  await catalogue.putPool(pool);
  await catalogue.putVolume(volume);
  expect((await catalogue.raiseEpochs("default")).epoch).toBe(1);
  const again = await Catalogue.open(store);
  expect(again.pools.get("default")?.epoch).toBe(1);
  expect(again.volumes.get("shop/db")?.epoch).toBe(4);
});

test("a deleted volume takes its exports along, and its number is never used again", async () => {
  const store = openMemoryStore();
  const catalogue = await Catalogue.open(store);
  await catalogue.putVolume(volume);
  await catalogue.putExport({ socket: "/s", volume: "shop/db", hasUid: false, uid: 0, readOnly: true });
  await catalogue.deleteVolume("shop/db");
  const again = await Catalogue.open(store);
  expect([again.volumes.size, again.exports.size, again.nextVolumeId]).toEqual([0, 0, 2]);
});

test("a newer catalogue is refused", async () => {
  const store = openMemoryStore();
  // Field 1, varint 2: formatVersion 2.
  await store.put("format", Uint8Array.of(8, 2));
  await expect(Catalogue.open(store)).rejects.toMatchObject({ code: "CATALOGUE_FORMAT" });
});
