// A disk image that boots by itself: a FAT file system with the syslinux boot loader, and the guest's kernel and
// initial RAM disk on it. A second's work, so it is made where it is needed.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { GuestImage } from "../../hypervisor-core/index.js";
import { requirePrograms } from "./run.js";

/** On the kernel's command line when it was the boot loader of this disk that started it. */
export const BOOT_DISK_MARK = "plinth.from=disk";

const LOADER = `SERIAL 0 115200
DEFAULT guest
LABEL guest
 KERNEL /kernel
 INITRD /initrd
 APPEND console=ttyS0 quiet panic=1 mitigations=off no_timer_check cryptomgr.notests ${BOOT_DISK_MARK}
`;
const KIB = 1024;

/** Makes the image at `path`, in a folder and with rights for us alone; its SHA-256. */
export function makeBootDisk(guest: GuestImage, path: string, format: string): string {
  requirePrograms("mkfs.fat", "syslinux", "mcopy", "qemu-img");
  const work = mkdtempSync(join(tmpdir(), "plinth-disk-"));
  try {
    const raw = join(work, "disk");
    const loader = join(work, "syslinux.cfg");
    writeFileSync(loader, LOADER);
    const sizeKib = Math.ceil((statSync(guest.kernel).size + statSync(guest.initramfs).size) / KIB) + 4 * KIB;
    const run = (program: string, ...words: string[]): unknown =>
      execFileSync(program, words, {
        stdio: ["ignore", "ignore", "inherit"],
        env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
      });
    run("mkfs.fat", "-C", raw, String(sizeKib));
    run("syslinux", "--install", raw);
    run("mcopy", "-i", raw, guest.kernel, "::/kernel");
    run("mcopy", "-i", raw, guest.initramfs, "::/initrd");
    run("mcopy", "-i", raw, loader, "::/syslinux.cfg");
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const image = join(work, "image");
    if (format === "qcow2") run("qemu-img", "convert", "-O", "qcow2", "-c", raw, image);
    else renameSync(raw, image);
    writeFileSync(path, readFileSync(image), { mode: 0o600 });
    return sha256(path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export function sha256(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
