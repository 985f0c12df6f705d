// Who of several processes that share a store leads. One record, taken and renewed by conditional writes; whoever takes it
// gets a term that is higher than all before, and durable before it is told.
//
//   key → JSON {"holder": name, "term": decimal digits, "renewals": number}; holder "" = given back
//
// No clock is compared with another one: a follower takes the lease over when the record has not changed for
// `durationMs` of its own time. A holder that cannot renew it steps down a quarter earlier. One that was stopped meanwhile
// knows nothing of that: those it writes to have to refuse older terms (OpenFlow's generation_id).
import type { Logger } from "../log/index.js";
import type { Clock, Timer } from "../time/index.js";
import { isStoreError } from "./errors.js";
import type { Store, StoreEntry } from "./store.js";

/** Of `durationMs`: how often the record is renewed or looked at, and how long a holder leads without renewing it. */
const CHECK_SHARE = 1 / 6;
const HOLD_SHARE = 3 / 4;

export interface LeaseOptions {
  readonly key: string;
  /** Names this process, as it names no other. */
  readonly holder: string;
  readonly durationMs: number;
  /** No other process can open the store: the lease is taken at once, never renewed, and never lost. */
  readonly exclusive: boolean;
}

interface LeaseRecord {
  readonly holder: string;
  readonly term: bigint;
  readonly renewals: number;
}

interface LeaseModules {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
}

const NOBODY: LeaseRecord = { holder: "", term: 0n, renewals: 0 };

export class Lease {
  readonly #options: LeaseOptions;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  #term: bigint | undefined;
  /** The record as it was last seen or written, its revision, and since when it has been so. */
  #record = NOBODY;
  #revision = 0;
  #sinceMs: number;
  #last: Promise<unknown> = Promise.resolve();
  #timer: Timer | undefined;
  #deadline: Timer | undefined;
  #closed = false;

  private constructor(options: LeaseOptions, { store, clock, log }: LeaseModules) {
    this.#options = options;
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#sinceMs = clock.nowMs();
  }

  /**
   * Takes the lease if it is free. Rejects as the store does; an exclusive lease is content with the term of its
   * predecessor, which is dead, when the store cannot write now.
   */
  static async open(options: LeaseOptions, modules: LeaseModules): Promise<Lease> {
    const lease = new Lease(options, modules);
    lease.#see(await lease.#store.get(options.key));
    if (options.exclusive) await lease.#takeExclusive();
    else {
      await lease.#exclude(() => lease.#check());
      lease.#schedule();
    }
    return lease;
  }

  /** Undefined while another process leads. */
  get term(): bigint | undefined {
    return this.#term;
  }

  /** Calls `listener` after `term` has changed. Returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Stores and resolves to a term after both this one and `seen`, as a signed distance of 64 bits; undefined when this
   * process does not lead. Rejects as the store does.
   */
  raiseAbove(seen: bigint): Promise<bigint | undefined> {
    return this.#exclude(async () => {
      const term = this.#term;
      if (term === undefined) return undefined;
      const newest = BigInt.asIntN(64, seen - term) > 0n ? seen : term;
      await this.#write({ holder: this.#options.holder, term: BigInt.asUintN(64, newest + 1n), renewals: 0 });
      return this.#term;
    });
  }

  /** Gives the lease back, so that another process need not wait for it to run out. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#deadline?.cancel();
    this.#listeners.clear();
    await this.#exclude(async () => {
      if (this.#term === undefined || this.#options.exclusive) return;
      this.#term = undefined;
      const value = encode({ ...this.#record, holder: "" });
      await this.#store.put(this.#options.key, value, { expectedRevision: this.#revision });
    }).catch((thrown: unknown) => this.#log.debug({ err: thrown }, "the lease runs out by itself"));
  }

  async #takeExclusive(): Promise<void> {
    const before = this.#record;
    const next = { holder: this.#options.holder, term: BigInt.asUintN(64, before.term + 1n), renewals: 0 };
    try {
      await this.#write(next);
    } catch (thrown) {
      if (this.#revision === 0 || isStoreError(thrown, "STORE_CLOSED")) throw thrown;
      this.#log.warn(
        { err: thrown },
        "the store cannot write: this process goes on with the last one's term",
      );
      this.#term = before.term;
    }
  }

  #schedule(): void {
    this.#timer = this.#clock.after(this.#options.durationMs * CHECK_SHARE, () => {
      void this.#exclude(() => this.#check())
        .catch((thrown: unknown) => this.#log.warn({ err: thrown }, "the lease could not be looked at"))
        .then(() => {
          if (!this.#closed) this.#schedule();
        });
    });
  }

  /** Renews the record, or takes it when its holder has let it run out. */
  async #check(): Promise<void> {
    if (this.#closed) return;
    const { holder } = this.#options;
    if (this.#term !== undefined) {
      const mine = { holder, term: this.#term, renewals: this.#record.renewals + 1 };
      if (await this.#tryWrite(mine)) return;
    }
    // Somebody else wrote it, or a write of ours is there after all that was told to have failed.
    this.#see(await this.#store.get(this.#options.key));
    const { holder: other, term } = this.#record;
    if (other !== holder) this.#stepDown("another process holds the lease");
    const isFree = other === "" || other === holder;
    if (!isFree && this.#clock.nowMs() - this.#sinceMs < this.#options.durationMs) return;
    await this.#tryWrite({ holder, term: BigInt.asUintN(64, term + 1n), renewals: 0 });
  }

  /** False when the record is not as it was last seen. */
  async #tryWrite(record: LeaseRecord): Promise<boolean> {
    try {
      await this.#write(record);
      return true;
    } catch (thrown) {
      if (isStoreError(thrown, "REVISION_CONFLICT")) return false;
      throw thrown;
    }
  }

  async #write(record: LeaseRecord): Promise<void> {
    const startMs = this.#clock.nowMs();
    const { key, exclusive, durationMs } = this.#options;
    this.#revision = await this.#store.put(key, encode(record), { expectedRevision: this.#revision });
    this.#record = record;
    this.#sinceMs = startMs;
    if (this.#closed) return;
    if (!exclusive) {
      // Others count from when they see the record, which is not before it was sent.
      const leftMs = startMs + durationMs * HOLD_SHARE - this.#clock.nowMs();
      if (leftMs <= 0) {
        this.#stepDown("the store is too slow to keep the lease");
        return;
      }
      this.#deadline?.cancel();
      this.#deadline = this.#clock.after(leftMs, () => this.#stepDown("the lease could not be renewed"));
    }
    this.#tell(record.term);
  }

  #see(entry: StoreEntry | undefined): void {
    const revision = entry?.revision ?? 0;
    if (revision !== this.#revision) this.#sinceMs = this.#clock.nowMs();
    this.#revision = revision;
    this.#record = parse(entry?.value) ?? { ...NOBODY, term: this.#record.term };
  }

  #stepDown(reason: string): void {
    this.#deadline?.cancel();
    if (this.#term !== undefined) this.#log.warn({ reason }, "this process does not lead any more");
    this.#tell(undefined);
  }

  #tell(term: bigint | undefined): void {
    if (this.#term === term) return;
    this.#term = term;
    for (const listener of [...this.#listeners]) listener();
  }

  /** One look or write at a time. */
  #exclude<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

function encode({ holder, term, renewals }: LeaseRecord): Uint8Array {
  return Buffer.from(JSON.stringify({ holder, term: String(term), renewals }));
}

/** Undefined for what is no record of ours. */
function parse(value: Uint8Array | undefined): LeaseRecord | undefined {
  if (value === undefined) return undefined;
  try {
    const { holder, term, renewals } = JSON.parse(Buffer.from(value).toString()) as Record<string, unknown>;
    if (typeof holder !== "string" || typeof renewals !== "number") return undefined;
    if (typeof term !== "string" || !/^\d{1,20}$/.test(term)) return undefined;
    return { holder, term: BigInt.asUintN(64, BigInt(term)), renewals };
  } catch {
    return undefined;
  }
}
