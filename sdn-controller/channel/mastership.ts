// Whether this controller is the one that changes a switch: the process that leads asks to be its master, with its term as
// the generation, so that an older instance that still lives is refused; the others are slaves, which say nothing.
// A switch that knows no roles is driven by the process that leads all the same. Source: OpenFlow 1.3.5, 6.3.6 and 7.3.9.
//
//   leads?   ──no──► slave ──(leads now)──► ask to be master ──► master, asked again every ROLE_CHECK_MS
//   stale    ──► a newer generation, stored first, and again       │ no more, though we lead: a controller that
//   no roles ──► "equal", driven like a master                     ▼ does not know our store
//                                               slave, asks again after RIVAL_RETRY_MS, doubled each time
// Thread: the controller's.
import { describeError, PlinthError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { ControllerRole } from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import {
  ELECTION_ATTEMPTS_MAX,
  RIVAL_RETRY_MS,
  RIVAL_RETRY_MS_MAX,
  ROLE_CHECK_MS,
  ROLE_RETRY_MS,
} from "../limits.js";

/** The role that a switch says this channel has, and the newest generation that it knows. */
export interface HeldRole {
  readonly role: ControllerRole;
  readonly generationId: bigint;
}

/** The part of a SwitchLink that an election needs. */
export interface RoleChannel {
  /**
   * Rejects with ROLE_STALE when the switch has seen a newer generation, with SWITCH_REFUSED when it takes no such
   * request, and with SWITCH_GONE or SWITCH_TIMEOUT.
   */
  requestRole(role: ControllerRole, generationId: bigint): Promise<HeldRole>;
}

/** Which of the instances that share a store leads; base/store's Lease is one. */
export interface Leadership {
  /** Undefined while another instance leads. Durable, and higher than any before. */
  readonly term: bigint | undefined;
  /** Calls `listener` after `term` has changed. Returns what ends that. */
  onChange(listener: () => void): () => void;
  /** Stores and resolves to a term after both this one and `seen`; undefined when this instance does not lead. */
  raiseAbove(seen: bigint): Promise<bigint | undefined>;
}

/** "equal": the switch knows no roles, and this instance leads. */
export type Standing = "master" | "slave" | "equal";

export interface MastershipEvents {
  onStanding(standing: Standing): void;
  /** Although this instance leads, the switch takes somebody else for its master. */
  onRival(retryMs: number): void;
}

export class Mastership {
  readonly #channel: RoleChannel;
  readonly #leadership: Leadership;
  readonly #events: MastershipEvents;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #unsubscribe: () => void;
  #standing: Standing = "slave";
  #running = false;
  #again = false;
  #closed = false;
  #timer: Timer | undefined;
  #waitMs = RIVAL_RETRY_MS;
  /** Before that no claim is made against a rival. */
  #notBeforeMs = 0;

  constructor(
    options: {
      readonly channel: RoleChannel;
      readonly leadership: Leadership;
      readonly events: MastershipEvents;
    },
    modules: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#channel = options.channel;
    this.#leadership = options.leadership;
    this.#events = options.events;
    this.#clock = modules.clock;
    this.#log = modules.log;
    this.#unsubscribe = this.#leadership.onChange(() => {
      if (this.#leadership.term === undefined) this.#become("slave");
      this.#notBeforeMs = 0;
      this.review();
    });
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** Asks for the role that is due, or asks the switch whether it still holds. */
  review(): void {
    this.#again = true;
    if (!this.#running && !this.#closed) void this.#run();
  }

  /** The channel is gone. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#again && !this.#closed) {
      this.#again = false;
      this.#timer?.cancel();
      let nextMs: number | undefined;
      try {
        nextMs = await this.#judge();
      } catch (thrown) {
        nextMs = ROLE_RETRY_MS;
        if (!this.#closed) this.#log.warn({ error: describeError(thrown) }, "the switch gives no role");
      }
      if (nextMs !== undefined && !this.#closed) this.#timer = this.#clock.after(nextMs, () => this.review());
    }
    this.#running = false;
  }

  /** Time to the next look; undefined = when something happens. */
  async #judge(): Promise<number | undefined> {
    try {
      if (this.#leadership.term === undefined) return await this.#follow();
      if (this.#standing === "master") return await this.#confirm();
      const waitMs = this.#notBeforeMs - this.#clock.nowMs();
      if (waitMs > 0) return waitMs;
      if (await becomeMaster(this.#channel, this.#leadership)) {
        this.#become("master");
        return ROLE_CHECK_MS;
      }
      return ROLE_RETRY_MS;
    } catch (thrown) {
      if (!isCode(thrown, "SWITCH_REFUSED")) throw thrown;
      // It knows no roles: the lease alone decides.
      this.#become("equal");
      return undefined;
    }
  }

  /** A slave is spared packet-ins, and its switch a mistake of ours. */
  async #follow(): Promise<undefined> {
    this.#become("slave");
    const { generationId } = await this.#channel.requestRole("nochange", 0n);
    if (this.#leadership.term === undefined) await this.#channel.requestRole("slave", generationId);
    return undefined;
  }

  async #confirm(): Promise<number> {
    const { role } = await this.#channel.requestRole("nochange", 0n);
    if (role === "master") return ROLE_CHECK_MS;
    this.#become("slave");
    if (this.#leadership.term === undefined) return 0;
    const waitMs = this.#waitMs;
    this.#notBeforeMs = this.#clock.nowMs() + waitMs;
    this.#waitMs = Math.min(2 * waitMs, RIVAL_RETRY_MS_MAX);
    this.#events.onRival(waitMs);
    return waitMs;
  }

  /** Only who leads is anything but a slave, however late an answer came. */
  #become(asked: Standing): void {
    const standing = this.#leadership.term === undefined ? "slave" : asked;
    if (this.#closed || standing === this.#standing) return;
    this.#standing = standing;
    this.#events.onStanding(standing);
  }
}

/**
 * Whether the channel is master now; false when another instance leads or brings in ever newer generations. Rejects as
 * `requestRole` and `raiseAbove` do, but for ROLE_STALE.
 */
export async function becomeMaster(channel: RoleChannel, leadership: Leadership): Promise<boolean> {
  let generationId = leadership.term;
  for (let attempt = 0; attempt < ELECTION_ATTEMPTS_MAX && generationId !== undefined; attempt++) {
    try {
      return (await channel.requestRole("master", generationId)).role === "master";
    } catch (thrown) {
      if (!isCode(thrown, "ROLE_STALE")) throw thrown;
    }
    const { generationId: seen } = await channel.requestRole("nochange", 0n);
    generationId = await leadership.raiseAbove(seen);
  }
  return false;
}

function isCode(thrown: unknown, code: string): boolean {
  return thrown instanceof PlinthError && thrown.code === code;
}
