// A Linux guest of our image in a QEMU of its own, told what to do over its serial console: for what goes on between a
// driver and the switch, without an agent, a controller or addresses by DHCP.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import { ensureGuestImage, type GuestImage, READY_MARKER } from "../../hypervisor-core/index.js";
import { cacheDirectory } from "../../stack/daemons/directory.js";

const BOOT_DEADLINE_MS = 90_000;
const COMMAND_DEADLINE_MS = 90_000;

export interface ConsoleCard {
  /** Where QEMU listens for the switch. */
  readonly path: string;
  readonly address: string;
  /** Of virtio-net-pci, e.g. `packed=on`. */
  readonly options?: string;
  /** Queue pairs, a processor for each; 1 when absent. */
  readonly queues?: number;
}

export class ConsoleGuest {
  readonly #process: ChildProcess;
  readonly #id: number;
  #said = "";
  #commands = 0;

  private constructor(image: GuestImage, cards: readonly ConsoleCard[], id: number) {
    this.#id = id;
    const memory = [
      "-object",
      "memory-backend-memfd,id=m,size=128M,share=on",
      "-machine",
      "pc,memory-backend=m",
    ];
    const processors = Math.max(...cards.map(({ queues = 1 }) => queues));
    const network = cards.flatMap(({ path, options, queues = 1 }, i) => [
      ...["-chardev", `socket,id=c${i},path=${path},server=on,wait=off`],
      ...["-netdev", `vhost-user,id=n${i},chardev=c${i},queues=${queues}`],
      "-device",
      // With vectors, QEMU 7.2 dies under TCG when a driver takes the card.
      [
        `virtio-net-pci,netdev=n${i},mac=${macOf(id, i)},romfile=,vectors=0`,
        queues === 1 ? "" : "mq=on",
        options,
      ]
        .filter(Boolean)
        .join(","),
    ]);
    const append = "console=ttyS0 quiet panic=1 mitigations=off no_timer_check cryptomgr.notests";
    this.#process = spawn(
      "qemu-system-x86_64",
      [
        ...[
          "-nodefaults",
          "-display",
          "none",
          "-accel",
          "tcg",
          "-m",
          "128",
          "-smp",
          `${processors}`,
          ...memory,
          ...network,
        ],
        ...["-kernel", image.kernel, "-initrd", image.initramfs, "-append", append, "-serial", "stdio"],
      ],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    const keep = (text: Buffer): void => {
      this.#said = (this.#said + text.toString("latin1")).slice(-20_000);
    };
    this.#process.stdout?.on("data", keep);
    this.#process.stderr?.on("data", keep);
  }

  /** Boots it and gives its cards their addresses (with prefix length). `id`: 0 to 255, tells guests' hardware apart. */
  static async boot(id: number, cards: readonly ConsoleCard[]): Promise<ConsoleGuest> {
    const image = await ensureGuestImage({ cacheDir: join(cacheDirectory(), "images") });
    const guest = new ConsoleGuest(image, cards, id);
    try {
      const ready = (): boolean => guest.#said.includes(READY_MARKER);
      await waitFor(
        ready,
        () => `the guest to boot; it said:\n${guest.#said.slice(-2000)}`,
        BOOT_DEADLINE_MS,
      );
      await guest.run("killall udhcpc; true");
      for (const [i, { address }] of cards.entries()) {
        await guest.run(
          `d=$(${guest.#find(i)}); ip addr flush dev $d; ip addr add ${address} dev $d; ip link set $d up`,
        );
      }
    } catch (thrown) {
      await guest.kill();
      throw thrown;
    }
    return guest;
  }

  /** Several at a time; none runs on when one of them does not boot. */
  static async bootAll(all: readonly (readonly ConsoleCard[])[]): Promise<ConsoleGuest[]> {
    const booted = await Promise.allSettled(all.map((cards, i) => ConsoleGuest.boot(i + 1, cards)));
    const guests = booted.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    const failed = booted.find((one) => one.status === "rejected");
    if (failed === undefined) return guests;
    await Promise.all(guests.map((guest) => guest.kill()));
    throw failed.reason;
  }

  /** What a shell line prints; rejects when it fails. */
  async run(line: string): Promise<string> {
    const mark = `${++this.#commands}`;
    this.#said = "";
    // In quotes, so that an echo of the line itself is not taken for either end. The shell may be a new one, with echo
    // and prompts: init hangs up the console when what it started at boot has ended.
    this.#process.stdin?.write(`{ echo "<""${mark}>"; ${line}\n}; echo "<""${mark}:$?"">"\n`);
    const pattern = new RegExp(`<${mark}>([^]*)<${mark}:(\\d+)>`);
    await waitFor(
      () => pattern.test(this.#said),
      () => `\`${line}\` to end; the guest said:\n${this.#said.slice(-2000)}`,
      COMMAND_DEADLINE_MS,
    );
    const [, text, code] = pattern.exec(this.#said) as unknown as [string, string, string];
    if (code !== "0") throw new Error(`\`${line}\` ended with ${code}: ${text}`);
    return text.trim();
  }

  /** The feature bits that the driver of a card chose: a character each, 0 or 1, bit 0 first. */
  async features(card: number): Promise<string> {
    return this.run(`d=$(${this.#find(card)}); cat /sys/class/net/$d/device/features`);
  }

  /** Has the driver let go of a card and take it again, as after a restart of the guest, and gives it its address. */
  async rebind(card: number, address: string): Promise<void> {
    const driver = "/sys/bus/virtio/drivers/virtio_net";
    await this.run(
      `d=$(${this.#find(card)}); v=$(basename $(readlink /sys/class/net/$d/device)); echo $v >${driver}/unbind; ` +
        `echo $v >${driver}/bind; d=$(${this.#find(card)}); ip addr add ${address} dev $d; ip link set $d up`,
    );
  }

  /** A shell command that prints the name of a card's interface. */
  #find(card: number): string {
    return `grep -l ${macOf(this.#id, card)} /sys/class/net/*/address | cut -d/ -f5`;
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await exited;
  }
}

function macOf(id: number, card: number): string {
  const byte = (value: number): string => value.toString(16).padStart(2, "0");
  return `52:54:00:00:${byte(id)}:${byte(card)}`;
}
