// A Linux guest of our image in a QEMU of its own whose disks come over vhost-user-blk, told what to do over its
// serial console.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { waitFor } from "../../base/time/index.js";
import { type GuestImage, READY_MARKER } from "../../hypervisor-core/index.js";

const DEADLINE_MS = 120_000;

export interface BlkGuestOptions {
  readonly image: GuestImage;
  /** Where storaged listens. */
  readonly blkSocket: string;
  readonly queues?: number;
  /** Sockets of further disks: vdb, vdc … */
  readonly more?: readonly string[];
  /** Their rings are packed. */
  readonly packed?: boolean;
  /** Raw files of disks that QEMU serves itself, behind those of storaged. */
  readonly files?: readonly string[];
  /** Boot from the disk; else the kernel comes from QEMU. */
  readonly fromDisk?: boolean;
  /** Where its monitor (QMP) listens. */
  readonly monitor?: string;
  /** It does not boot: the guest of another one comes here over this socket, and goes on. */
  readonly incoming?: string;
}

export class BlkGuest {
  readonly #process: ChildProcess;
  #said = "";
  #commands = 0;

  constructor(options: BlkGuestOptions) {
    const {
      image,
      blkSocket,
      queues = 2,
      fromDisk = false,
      more = [],
      packed = false,
      files = [],
      monitor,
      incoming,
    } = options;
    const append = "console=ttyS0 quiet panic=1 mitigations=off no_timer_check cryptomgr.notests";
    const kernel = ["-kernel", image.kernel, "-initrd", image.initramfs, "-append", append];
    this.#process = spawn(
      "qemu-system-x86_64",
      [
        ...["-nodefaults", "-display", "none", "-accel", "tcg", "-smp", "2"],
        ...["-m", "192", "-object", "memory-backend-memfd,id=m,size=192M,share=on"],
        ...["-machine", "pc,memory-backend=m", "-serial", "stdio"],
        ...["-chardev", `socket,id=c,path=${blkSocket},reconnect=1`],
        ...["-device", `vhost-user-blk-pci,chardev=c,num-queues=${queues}${fromDisk ? ",bootindex=0" : ""}`],
        ...more.flatMap((path, i) => [
          ...["-chardev", `socket,id=c${i},path=${path},reconnect=1`],
          ...[
            "-device",
            `vhost-user-blk-pci,chardev=c${i},num-queues=${queues},packed=${packed ? "on" : "off"}`,
          ],
        ]),
        ...files.flatMap((path, i) => [
          ...["-drive", `file=${path},format=raw,if=none,id=f${i}`],
          ...["-device", `virtio-blk-pci,drive=f${i},num-queues=${queues}`],
        ]),
        ...(fromDisk ? [] : kernel),
        ...(monitor === undefined ? [] : ["-qmp", `unix:${monitor},server=on,wait=off`]),
        ...(incoming === undefined ? [] : ["-incoming", `unix:${incoming}`]),
      ],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    const keep = (text: Buffer): void => {
      this.#said = (this.#said + text.toString("latin1")).slice(-20_000);
    };
    this.#process.stdout?.on("data", keep);
    this.#process.stderr?.on("data", keep);
  }

  /** Resolves when its shell takes commands. */
  async booted(): Promise<void> {
    await this.#hears(() => this.#said.includes(READY_MARKER), "the guest to boot");
    await this.run("PS1= PS2=; stty -echo; true");
  }

  /** What a shell line prints; rejects when it fails. */
  async run(line: string): Promise<string> {
    return this.start(line)();
  }

  /** As run(), in two halves: the line is on its way when this returns. */
  start(line: string): () => Promise<string> {
    const mark = `${++this.#commands}`;
    this.#said = "";
    // In quotes, so that an echo of the line itself is not taken for its end.
    this.#process.stdin?.write(`{ ${line}\n}; echo "<""${mark}:$?"">"\n`);
    return async () => {
      const pattern = new RegExp(`<${mark}:(\\d+)>`);
      await this.#hears(() => pattern.test(this.#said), `\`${line}\` to end`);
      const [text, code] = this.#said.split(pattern) as [string, string];
      if (code !== "0") throw new Error(`\`${line}\` ended with ${code}: ${text}`);
      return text.trim();
    };
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await exited;
  }

  #hears(condition: () => boolean, what: string): Promise<void> {
    const checked = (): boolean => {
      if (this.#process.exitCode !== null) throw new Error(`QEMU ended: ${this.#said.slice(-2000)}`);
      return condition();
    };
    return waitFor(checked, () => `${what}; the guest said:\n${this.#said.slice(-2000)}`, DEADLINE_MS);
  }
}
