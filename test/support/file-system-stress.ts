// ext4 and XFS on volumes in a guest, with stress-ng at work in both while storaged is killed: what was written before is
// there, stress-ng finds nothing wrong, and afterwards fsck of the distribution neither.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import type { VolumeView } from "../../storage-pool/index.js";
import type { BlkGuest } from "./blk-guest.js";
import { copyProgram } from "./program-root.js";
import { requirePrograms, runOk } from "./run.js";
import type { StorageProcess } from "./storage-process.js";

const MIB = 2 ** 20;
/** The smallest XFS that mkfs.xfs makes is 300 MiB. */
const SIZE = 320 * MIB;
export const FILE_SYSTEMS = ["ext4", "xfs"] as const;

const STRESSORS = "hdd dentry rename fallocate link fpunch xattr sync-file".split(" ");
const DEADLINE_MS = 120_000;

/** Volumes "ext4" and "xfs" with file systems that hold stress-ng, each served to one guest; the sockets. */
export async function makeFileSystems(storage: StorageProcess): Promise<string[]> {
  requirePrograms("mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "stress-ng", "nbdcopy");
  const work = mkdtempSync(join(tmpdir(), "plinth-fs-"));
  try {
    const root = join(work, "root");
    await fillRoot(root);
    const sockets: string[] = [];
    for (const kind of FILE_SYSTEMS) {
      const image = join(work, kind);
      writeFileSync(image, "");
      truncateSync(image, SIZE);
      if (kind === "ext4") await runOk("mkfs.ext4", ["-q", "-d", root, image]);
      else {
        const prototype = join(work, "prototype");
        writeFileSync(prototype, `/none\n0 0\n${prototypeOf(root, "")}`);
        await runOk("mkfs.xfs", ["-q", "-p", prototype, image]);
      }
      await storage.call("volume.create", { name: kind, sizeBytes: SIZE });
      await runOk("nbdcopy", ["--flush", image, storage.uri(kind)], { deadlineMs: DEADLINE_MS });
      const socket = join(storage.dir, `${kind}.sock`);
      await storage.call("export.open", { volume: kind, socket, protocol: "vhost-user-blk" });
      sockets.push(socket);
    }
    return sockets;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Mounts both; `devices`: where the guest has them, in order. */
export async function mountFileSystems(guest: BlkGuest, devices: readonly string[]): Promise<void> {
  for (const [i, kind] of FILE_SYSTEMS.entries()) {
    await guest.run(
      `n=0; until grep -qw ${kind} /proc/filesystems || test $n = 60; do n=$((n+1)); sleep 1; done`,
    );
    await guest.run(`mkdir -p /${kind} && mount -t ${kind} ${devices[i]} /${kind}`);
    await guest.run(`mount -t proc proc /${kind}/proc && mount -t devtmpfs dev /${kind}/dev`);
    await guest.run(
      `cd /${kind}/kept && for i in 1 2 3 4 5 6 7 8; do head -c 300000 /dev/urandom >$i; done; md5sum ? >sums; cd /; sync`,
    );
  }
}

/** So long at work in both, with storaged killed in the middle; what was there before is looked at on the medium. */
export async function stress(storage: StorageProcess, guest: BlkGuest, seconds: number): Promise<void> {
  const before = await writtenBytes(storage);
  const work = FILE_SYSTEMS.map((kind) => `sh /${kind}/stress ${kind} ${seconds}`);
  const ended = guest.start(`${work[0]} & one=$!; ${work[1]}; two=$?; wait $one; echo "ended $? $two"`)();
  let over = false;
  const note = () => {
    over = true;
  };
  ended.then(note, note);
  const busy = async () => over || (await writtenBytes(storage)) > before + 8 * MIB;
  await waitFor(busy, "stress-ng to write", DEADLINE_MS + 60_000);
  await storage.end("SIGKILL");
  await storage.start();
  const said = await ended;
  if (!said.endsWith("ended 0 0")) throw new Error(`stress-ng found something wrong:\n${said}`);
  for (const kind of FILE_SYSTEMS) {
    await guest.run(
      `sync; echo 3 >/proc/sys/vm/drop_caches; cd /${kind}/kept && md5sum -s -c sums; r=$?; cd /; (exit $r)`,
    );
  }
}

/** Unmounts both; then fsck must find nothing. */
export async function judgeFileSystems(storage: StorageProcess, guest: BlkGuest): Promise<void> {
  for (const kind of FILE_SYSTEMS) {
    await guest.run(`umount /${kind}/proc /${kind}/dev && umount /${kind}`);
    const image = join(storage.dir, `${kind}.image`);
    await runOk("nbdcopy", [storage.uri(kind), image], { deadlineMs: DEADLINE_MS });
    if (kind === "ext4") await runOk("e2fsck", ["-f", "-n", image], { deadlineMs: DEADLINE_MS });
    else await runOk("xfs_repair", ["-n", "-f", image], { deadlineMs: DEADLINE_MS });
    rmSync(image);
  }
}

async function writtenBytes(storage: StorageProcess): Promise<number> {
  const volumes = (await storage.call("volume.list")) as VolumeView[];
  const { text } = (await storage.call("metrics")) as { text: string };
  return volumes.reduce((sum, { name }) => {
    const line = new RegExp(
      `^plinth_volume_bytes_total\\{pool="default",volume="${name}",op="write"\\} (\\S+)$`,
      "m",
    );
    return sum + Number(line.exec(text)?.[1] ?? 0);
  }, 0);
}

/** stress-ng with the libraries that it is linked with, and places for it to work. */
async function fillRoot(root: string): Promise<void> {
  const all = STRESSORS.map((name) => `--${name} 1`).join(" ");
  const bytes = "--hdd-bytes 4m --fallocate-bytes 4m --sync-file-bytes 2m";
  const options = `--quiet --verify --oomable --temp-path /work ${bytes}`;
  mkdirSync(root);
  writeFileSync(join(root, "stress"), `chroot /$1 /usr/bin/stress-ng --timeout $2 ${options} ${all}\n`);
  for (const folder of ["proc", "dev", "work", "kept"]) mkdirSync(join(root, folder), { recursive: true });
  await copyProgram(root, "stress-ng");
}

/** A folder as mkfs.xfs(8) takes it in a prototype file. */
function prototypeOf(folder: string, indent: string): string {
  const lines = readdirSync(folder).map((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return `${indent} ${name} ${prototypeOf(path, `${indent} `)}`;
    return `${indent} ${name} ---755 0 0 ${path}\n`;
  });
  return `d--755 0 0\n${lines.join("")}${indent} $\n`;
}
