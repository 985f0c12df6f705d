// Many small reads from files in one system call: by themselves each costs several times what copying its bytes does.
//
//   begin ─► add … add ─► run: one io_uring_enter ─► results[i]: 0 when read i filled its range
//
// Invariant: nothing is under way when run() returns, so the targets are the caller's again. What was not read whole is to
// be read again the plain way, which finds out why. Thread: its creator. Hot: yes.
import { EAGAIN, EOPNOTSUPP, IORING_OP_READ, IoUring, RWF_NOWAIT } from "../../base/linux/index.js";
import { EIO, OK } from "../errors.js";

export class ReadBatch {
  /** Of the last run(): 0, EAGAIN where the medium would have been waited for, else EIO. */
  readonly results: Int32Array;
  readonly #lengths: Uint32Array;
  #ring: IoUring | "untried" | "none" = "untried";
  #count = 0;
  /** The file systems can tell that they would wait. */
  #tells = true;

  constructor(size: number) {
    this.results = new Int32Array(size);
    this.#lengths = new Uint32Array(size);
  }

  /** False where there is no io_uring. */
  begin(): boolean {
    if (this.#ring === "untried") this.#ring = openRing(this.results.length);
    this.#count = 0;
    return this.#ring !== "none";
  }

  /** At most as many as the batch was made for. With `wait` false only what is in memory is read; the rest is asked for. */
  add(fd: number, address: number, length: number, offset: number, wait: boolean): void {
    const flags = wait || !this.#tells ? 0 : RWF_NOWAIT;
    const n = this.#count++;
    this.#lengths[n] = length;
    this.results[n] = EIO;
    (this.#ring as IoUring).prepare(IORING_OP_READ, fd, address, length, offset, n, 0, flags);
  }

  run(): void {
    const ring = this.#ring as IoUring;
    let left = this.#count;
    while (left > 0) {
      try {
        ring.submit(left);
      } catch (thrown) {
        // The kernel has no memory for it. What it has taken already it would still write to the targets.
        if (ring.entries - ring.room < left) throw thrown;
        ring.close();
        this.#ring = "untried";
        return;
      }
      const count = ring.reap();
      for (let i = 0; i < count; i++) this.#note(ring.userData[i] as number, ring.results[i] as number);
      left -= count;
    }
  }

  #note(n: number, result: number): void {
    if (result === -EOPNOTSUPP) this.#tells = false;
    if (result === this.#lengths[n]) this.results[n] = OK;
    else this.results[n] = result === -EAGAIN ? EAGAIN : EIO;
  }

  close(): void {
    if (typeof this.#ring !== "string") this.#ring.close();
    this.#ring = "none";
  }
}

function openRing(entries: number): IoUring | "none" {
  try {
    return new IoUring(entries);
  } catch {
    return "none"; // switched off, forbidden or too old: reads go one by one
  }
}
