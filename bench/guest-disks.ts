// Disks in a Linux guest under QEMU: a volume over vhost-user-blk beside a file that QEMU's own driver serves, and beside
// dm-thin of the guest's kernel on such a file, for what thin volumes and snapshots cost. fio in the guest measures. An
// emulated processor takes longer for a request than any of them: this says whether one is in the way.
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureGuestImage } from "../hypervisor-core/index.js";
import { cacheDirectory } from "../stack/daemons/directory.js";
import { BlkGuest } from "../test/support/blk-guest.js";
import { copyProgram } from "../test/support/program-root.js";
import { requirePrograms, runOk } from "../test/support/run.js";
import { StorageProcess } from "../test/support/storage-process.js";
import { publish, readBenchOptions, wantedOf } from "./support/bench-options.js";
import { onAbort } from "./support/cleanup.js";
import { type Contender, compare, type Outcome } from "./support/compare.js";

const options = readBenchOptions("guest-disks", 3, {
  name: "seconds",
  text: "what each run of fio takes",
  usual: 3,
});
const { runs, amount: seconds } = options;
const MIB = 2 ** 20;
const SIZE_MIB = 512;
/** Room for the thin volume, and for one more that a snapshot makes of it. */
const POOL_MIB = 1536;
const SECTORS = (mib: number): number => (mib * MIB) / 512;
/** As LVM has it where nothing else is said: 64 KiB. */
const CHUNK_SECTORS = 128;
const SNAPSHOTS = 20;

type Target = "volume" | "file" | "thin";
const NAMES: Readonly<Record<Target, string>> = {
  volume: "plinth storaged, vhost-user-blk",
  file: "QEMU, raw file",
  thin: "dm-thin in the guest, on QEMU's raw file",
};
const DEVICES: Readonly<Record<Target, string>> = {
  volume: "/dev/vda",
  file: "/dev/vdb",
  thin: "/dev/mapper/thin",
};

interface Work {
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly peers: readonly Target[];
  readonly measure: (target: Target) => Promise<number>;
}

const WORKS: readonly Work[] = [
  ...(
    [
      ["4 KiB random read, QD 1", "randread", "4k", 1],
      ["4 KiB random read, QD 16", "randread", "4k", 16],
      ["4 KiB random write, QD 1", "randwrite", "4k", 1],
      ["4 KiB random write, QD 16", "randwrite", "4k", 16],
      ["64 KiB sequential read, QD 16", "read", "64k", 16],
      ["64 KiB sequential write, QD 16", "write", "64k", 16],
    ] as const
  ).map(([title, kind, size, depth]): Work => {
    const measure = (target: Target) => fio(target, kind, size, depth);
    return { title, unit: "IOPS", better: "higher", peers: ["file", "thin"], measure };
  }),
  {
    title: "4 KiB random write, QD 16, right after a snapshot",
    unit: "IOPS",
    better: "higher",
    peers: ["thin"],
    measure: async (target) => {
      await dropSnapshots(target);
      await snapshot(target, 1);
      return await fio(target, "randwrite", "4k", 16);
    },
  },
  {
    title: "a snapshot",
    unit: "ms",
    better: "lower",
    peers: ["thin"],
    measure: async (target) => {
      await dropSnapshots(target);
      const startMs = performance.now();
      await snapshot(target, SNAPSHOTS);
      return (performance.now() - startMs) / SNAPSHOTS;
    },
  },
];

requirePrograms("qemu-system-x86_64", "mkfs.ext4", "fio", "dmsetup");
const dir = mkdtempSync(join(tmpdir(), "plinth-gd-"));
const storage = new StorageProcess();
let guest: BlkGuest;
const end = async (): Promise<void> => {
  await guest?.kill();
  await storage.destroy();
  rmSync(dir, { recursive: true, force: true });
};
const forget = onAbort(() => void end());
try {
  await begin();
  const outcomes: Outcome[] = [];
  for (const { title, unit, better, peers, measure } of wantedOf(WORKS, options)) {
    const contender = (target: Target): Contender => ({
      name: NAMES[target],
      measure: () => measure(target),
    });
    const ours = contender("volume");
    outcomes.push(await compare({ title, unit, better, ours, peers: peers.map(contender), runs }));
  }
  publish(options, "Disks of guests", outcomes, [
    `fio in a Linux guest under TCG with two processors, O_DIRECT, libaio, ${seconds} s a run, over ${SIZE_MIB} MiB that were written once; the emulated processors, the guest's kernel among them, share two real ones with who serves the disk.`,
    "QEMU's driver with its usual cache (writeback) and its own threads; storaged a checksummed log. dm-thin with chunks of 64 KiB, which it copies at the first write after a snapshot.",
    `A snapshot: the mean of ${SNAPSHOTS}, of the call to storaged, and of suspend, message and resume by dmsetup in the guest, which starts a program for each.`,
  ]);
} finally {
  await end();
  forget();
}

/** The guest with all three disks, written once. */
async function begin(): Promise<void> {
  const image = await ensureGuestImage({ cacheDir: cacheDirectory(), modules: ["ext4", "dm_thin_pool"] });
  await storage.start();
  await storage.plinth("volume", "create", "v", "--size", `${SIZE_MIB}MiB`);
  const blkSocket = join(dir, "blk.sock");
  await storage.plinth("volume", "attach", "v", "--socket", blkSocket, "--protocol", "vhost-user-blk");
  const files = [sparse("file", SIZE_MIB), await tools(), sparse("data", POOL_MIB), sparse("metadata", 16)];
  guest = new BlkGuest({ image, blkSocket, files });
  await guest.booted();
  // Modules are loaded after the shell is there.
  for (const sign of ["grep -qw ext4 /proc/filesystems", "test -d /sys/module/dm_thin_pool"])
    await guest.run(`n=0; until ${sign} || test $n = 60; do n=$((n+1)); sleep 1; done`);
  await guest.run("mkdir -p /t && mount -t ext4 -o ro /dev/vdc /t");
  await guest.run("mount -t devtmpfs dev /t/dev && mount -t proc proc /t/proc && mount -t sysfs sys /t/sys");
  const pool = `0 ${SECTORS(POOL_MIB)} thin-pool /dev/vde /dev/vdd ${CHUNK_SECTORS} 0`;
  await dmsetup(`create pool --table "${pool}"`);
  await dmsetup('message /dev/mapper/pool 0 "create_thin 0"');
  await dmsetup(`create thin --table "0 ${SECTORS(SIZE_MIB)} thin /dev/mapper/pool 0"`);
  for (const target of ["volume", "file", "thin"] as const)
    await guest.run(
      `dd if=/dev/urandom of=${DEVICES[target]} bs=1M count=${SIZE_MIB} oflag=direct 2>/dev/null`,
    );
}

function sparse(name: string, mib: number): string {
  const path = join(dir, name);
  writeFileSync(path, "");
  truncateSync(path, mib * MIB);
  return path;
}

/** A disk with fio and dmsetup, and their libraries. */
async function tools(): Promise<string> {
  const root = join(dir, "root");
  for (const folder of ["proc", "dev", "sys"]) mkdirSync(join(root, folder), { recursive: true });
  for (const name of ["fio", "dmsetup"]) await copyProgram(root, name);
  const image = sparse("tools", 128);
  await runOk("mkfs.ext4", ["-q", "-d", root, image]);
  return image;
}

/** Nothing in the guest makes nodes for it but itself. */
function dmsetup(line: string): Promise<string> {
  return guest.run(`DM_DISABLE_UDEV=1 chroot /t /usr/bin/dmsetup ${line}`);
}

async function fio(target: Target, kind: string, size: string, depth: number): Promise<number> {
  const job = `--name=j --filename=${DEVICES[target]} --rw=${kind} --bs=${size} --iodepth=${depth}`;
  const how = `--ioengine=libaio --direct=1 --thread --time_based --runtime=${seconds} --minimal`;
  const said = await guest.run(`chroot /t /usr/bin/fio ${job} ${how}`);
  const fields = (said.split("\n").find((line) => line.startsWith("3;")) ?? "").split(";");
  // fio(1), terse version 3: IOPS of reads are the eighth field, of writes the 49th.
  const iops = Number(fields[kind.endsWith("read") ? 7 : 48]);
  if (!(iops > 0)) throw new Error(`fio said: ${said}`);
  return iops;
}

/** Takes so many, all of which stay. */
async function snapshot(target: Target, count: number): Promise<void> {
  if (target === "volume") {
    for (let i = 1; i <= count; i++) await storage.call("snapshot.create", { volume: "v", name: `s${i}` });
    return;
  }
  const line = [
    "dmsetup suspend thin",
    'dmsetup message /dev/mapper/pool 0 "create_snap $i 0"',
    "dmsetup resume thin",
  ].map((each) => `DM_DISABLE_UDEV=1 chroot /t /usr/bin/${each}`);
  await guest.run(`for i in $(seq 1 ${count}); do ${line.join(" && ")} || exit 1; done`);
}

async function dropSnapshots(target: Target): Promise<void> {
  if (target === "volume") {
    const { snapshots } = (await storage.call("volume.get", { name: "v" })) as {
      snapshots: readonly { name: string }[];
    };
    for (const { name } of snapshots) await storage.call("snapshot.delete", { volume: "v", name });
    return;
  }
  for (let i = 1; i <= SNAPSHOTS; i++)
    await dmsetup(`message /dev/mapper/pool 0 "delete ${i}" 2>/dev/null || true`);
}
