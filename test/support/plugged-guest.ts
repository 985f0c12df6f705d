// A guest whose QEMU listens for the switch, over the lives of several: its memory, rings and frames stay when a switch
// ends, and the next one that dials goes on with them.
import { closeFile, listenUnix, sysAccept } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import { FakeGuest, MERGEABLE } from "../../vswitch/port/fake-guest.js";

const DIAL_DEADLINE_MS = 60_000;
const LOOK_INTERVAL_MS = 1;

export class PluggedGuest {
  readonly path: string;
  /** Every frame that arrived. */
  readonly received: Uint8Array[] = [];
  /** How long none had arrived before some did. */
  readonly pausesMs: number[] = [];
  #lastMs = Number.NaN;
  /** How often a switch came back, and between when it was missed and when all was set up again. */
  readonly absences: { readonly fromMs: number; readonly toMs: number }[] = [];
  readonly #listener: number;
  #guest: FakeGuest | undefined;
  #isClosed = false;
  #watching: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.path = path;
    this.#listener = listenUnix(path);
  }

  /** Resolves when a switch has dialled for the first time. */
  async plugged(): Promise<void> {
    const fd = await this.#accept();
    const guest = new FakeGuest({ fd, features: MERGEABLE });
    await guest.start();
    this.#guest = guest;
    this.#watching = this.#watch(guest);
  }

  /** Whether a switch is there, as far as is known. */
  get isPlugged(): boolean {
    return this.#guest !== undefined && !this.#guest.frontEnd.isClosed();
  }

  send(frame: Uint8Array): Promise<void> {
    if (this.#guest === undefined) throw new Error("no switch has dialled yet");
    return this.#guest.send(frame, () => {});
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#watching;
    closeFile(this.#listener);
    this.#guest?.close();
  }

  async #watch(guest: FakeGuest): Promise<void> {
    while (!this.#isClosed) {
      if (guest.frontEnd.isClosed()) {
        const fromMs = performance.now();
        const fd = await this.#accept();
        if (fd < 0) return;
        await guest.frontEnd.reconnect(fd);
        this.absences.push({ fromMs, toMs: performance.now() });
      }
      this.#take(guest.receive());
      await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS));
    }
  }

  #take(frames: readonly Uint8Array[]): void {
    if (frames.length === 0) return;
    const nowMs = performance.now();
    if (!Number.isNaN(this.#lastMs)) this.pausesMs.push(nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    this.received.push(...frames);
  }

  async #accept(): Promise<number> {
    let fd = -1;
    await waitFor(
      () => {
        fd = sysAccept(this.#listener);
        return fd >= 0 || this.#isClosed;
      },
      `a switch to dial ${this.path}`,
      DIAL_DEADLINE_MS,
      LOOK_INTERVAL_MS,
    );
    return fd;
  }
}
