import { expect, test } from "vitest";
import { openMemoryStore } from "../../base/store/index.js";
import { CATALOGUE_FORMAT, Catalogue, newDisk, type VolumeEntry } from "./catalogue.js";

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
  snapshots: [
    { name: "s", sequence: 7, sizeBytes: 4096, mapFile: "m", createdAtMs: 1_800_000_000_000, schedule: "" },
  ],
  schedules: [{ name: "hourly", cron: "0 * * * *", keep: 24, lastMs: 1_800_000_000_000 }],
  diskClass: "ssd",
  keyId: "k",
  iopsLimit: 500,
  bytesLimit: 2 ** 40,
  burstMs: 2000,
  rewindMs: 3_600_000,
  keyframes: [{ name: "~1-1", sequence: 3, sizeBytes: 4096, mapFile: "k", timeMs: 1_800_000_000_000 }],
  clockMs: 1_800_000_000_001,
  deletedAtMs: 0,
  deletedName: "",
  purgeAtMs: 0,
  owner: "",
  compression: "deflate",
  endLost: true,
};
const disks = [newDisk("/a", 0, true), { ...newDisk("/b", 3, true), suspect: true, slotCount: 77 }];
const pool = {
  name: "default",
  id: "x",
  epoch: 0,
  disks,
  formatted: true,
  clean: true,
  warningPercent: 0,
  criticalPercent: 0,
  owner: "",
  deleting: false,
};

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
    vhostUserBlk: true,
    owner: "VirtualMachine shop/db",
    unsealedMemory: true,
  });
  const second = await Catalogue.open(store);
  expect([...second.pools.values()]).toEqual([pool]);
  expect([...second.volumes.values()]).toEqual([volume]);
  expect(second.exports.get("/run/x.sock")).toMatchObject({
    uid: 4711,
    readOnly: false,
    unsealedMemory: true,
  });
  expect(second.nextVolumeId).toBe(2);
  expect(second.volumeById(1)?.name).toBe("shop/db");
});

test("raiseEpochs() raises the pool's and every volume's epoch, durably", async () => {
  const store = openMemoryStore();
  const catalogue = await Catalogue.open(store);
  await catalogue.putPool(pool);
  await catalogue.putVolume(volume);
  expect(await catalogue.raiseEpochs("default")).toMatchObject({ epoch: 1, clean: false });
  const again = await Catalogue.open(store);
  expect(again.pools.get("default")?.epoch).toBe(1);
  expect(again.volumes.get("shop/db")?.epoch).toBe(4);
});

test("epochs that were raised in vain can be put back, and a number that is used up stays so", async () => {
  const store = openMemoryStore();
  const catalogue = await Catalogue.open(store);
  await catalogue.putPool(pool);
  await catalogue.putVolume(volume);
  await catalogue.raiseEpochs("default");
  await catalogue.putEpochs(pool, [volume]);
  await catalogue.useVolumeId(7);
  await catalogue.useVolumeId(3);
  const again = await Catalogue.open(store);
  expect([...again.pools.values()]).toEqual([pool]);
  expect([...again.volumes.values()]).toEqual([volume]);
  expect(again.nextVolumeId).toBe(8);
});

test("how far logs are is kept apart from the volumes, and goes with them", async () => {
  const store = openMemoryStore();
  const catalogue = await Catalogue.open(store);
  await catalogue.putVolume(volume);
  await catalogue.putVolume({ ...volume, id: 2, name: "shop/log" });
  const positions = [1, 2, 3].map((each) => ({ volume: each, sequence: 2 ** 40 + each }));
  await catalogue.putDurable(positions);
  const again = await Catalogue.open(store);
  expect([1, 2, 3].map((id) => again.durableOf(id))).toEqual([2 ** 40 + 1, 2 ** 40 + 2, 0]);
  await again.deleteVolume("shop/log");
  await again.forgetDurable("default");
  const last = await Catalogue.open(store);
  expect([1, 2].map((id) => last.durableOf(id))).toEqual([0, 0]);
  expect(await store.get("durable/2")).toBeUndefined();
});

test("a deleted volume takes its exports along, and its number is never used again", async () => {
  const store = openMemoryStore();
  const catalogue = await Catalogue.open(store);
  await catalogue.putVolume(volume);
  await catalogue.putExport({
    socket: "/s",
    volume: "shop/db",
    hasUid: false,
    uid: 0,
    readOnly: true,
    vhostUserBlk: false,
    owner: "",
    unsealedMemory: false,
  });
  await catalogue.deleteVolume("shop/db");
  const again = await Catalogue.open(store);
  expect([again.volumes.size, again.exports.size, again.nextVolumeId]).toEqual([0, 0, 2]);
});

test("a newer catalogue is refused", async () => {
  const store = openMemoryStore();
  // Field 1, a varint: the format's version.
  await store.put("format", Uint8Array.of(8, CATALOGUE_FORMAT + 1));
  await expect(Catalogue.open(store)).rejects.toMatchObject({ code: "CATALOGUE_FORMAT" });
});

test("a catalogue of version 1, which named disks by paths alone, is read and becomes one of today", async () => {
  const store = openMemoryStore();
  await store.put("format", Uint8Array.of(8, 1, 16, 5));
  const text = (field: number, value: string) => [field * 8 + 2, value.length, ...Buffer.from(value)];
  const record = [...text(1, "default"), ...text(2, "x"), ...text(4, "/a"), ...text(4, "/b"), 40, 1];
  await store.put("pool/default", Uint8Array.from(record));
  const expected = [newDisk("/a", 0, true), newDisk("/b", 1, true)];
  expect((await Catalogue.open(store, { readOnly: true })).pools.get("default")?.disks).toEqual(expected);
  expect((await store.get("format"))?.value[1]).toBe(1);
  const catalogue = await Catalogue.open(store);
  expect(catalogue.nextVolumeId).toBe(5);
  expect((await store.get("format"))?.value[1]).toBe(CATALOGUE_FORMAT);
  expect((await Catalogue.open(store)).pools.get("default")).toMatchObject({
    formatted: true,
    disks: expected,
  });
});
