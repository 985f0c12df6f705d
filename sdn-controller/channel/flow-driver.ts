// Keeps one switch's flows equal to the desired ones. At connect it reads what is there and sends only differences;
// afterwards only what a change touched; now and then it reads again (audit), which is also when counters are taken:
// everything, or of very many flows a part, the parts in turn, and everything at once when the number is not right. A change is one bundle: the switch judges by all of it or by none. One change is under way at a time and
// ends with a barrier. What an audit repaired is read once more, so that a switch that says yes and does nothing is
// told from one that somebody else changed. Thread: the controller's.
//
//   connected ──► read all ──► plan ──► send as a bundle, with a barrier ──► settled ──(touched)──► plan …
//                    ▲                                                         │
//                    └──────────────────── audit, or an answer that failed ◄───┘   (a part is read the same way)
import { describeError, PlinthError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { FlowStats } from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import {
  AUDIT_FLOWS_MAX,
  AUDIT_INTERVAL_MS,
  BUNDLE_ATTEMPTS_MAX,
  BUNDLE_FLOWS_MAX,
  CHANGE_RECORDS_MAX,
  FLOW_MODS_PER_BARRIER,
} from "../limits.js";
import { type CookieSlice, cookieSlices } from "../pipeline/cookie.js";
import type { FlowStore } from "../pipeline/flow-store.js";
import {
  desiredKeys,
  type FlowModBody,
  type FlowPlanStep,
  type InstalledFlows,
  installedFrom,
  planFlows,
  replaceSlice,
} from "./flow-sync.js";
import type { SwitchLink } from "./switch-link.js";

const RETRY_MS = 1_000;

/** One batch of flow-mods that reached the switch. */
export interface ChangeRecord {
  readonly cause: "connect" | "change" | "audit";
  readonly added: number;
  readonly changed: number;
  readonly deleted: number;
  readonly refused: number;
  /** Bundles that it took; 0 = flow-mod by flow-mod, to a switch that knows no bundles or refused them. */
  readonly bundles: number;
  /** Flows on the switch afterwards. */
  readonly installed: number;
  /** From plan to the last barrier's answer. */
  readonly durationMs: number;
}

export interface FlowDriverEvents {
  /** Every report of flows: of all, or of all in a slice. */
  onReport(flows: readonly FlowStats[], slice: CookieSlice | undefined): void;
  /** The switch has taken a batch. */
  onChanged(record: ChangeRecord): void;
  /** The switch has everything that is desired. */
  onSettled(): void;
  onRefused(step: FlowPlanStep, error: string): void;
  /** An audit found flows that are not as they were acknowledged; they are about to be repaired. */
  onDrift(steps: readonly FlowPlanStep[]): void;
  /** The switch acknowledged a repair, and what it reports still differs in these. */
  onDisagreement(steps: readonly FlowPlanStep[]): void;
}

export class FlowDriver {
  readonly #store: FlowStore;
  readonly #events: FlowDriverEvents;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #auditIntervalMs: number;
  readonly #auditFlowsMax: number;
  readonly #touched = new Set<string>();
  readonly #records: ChangeRecord[] = [];
  #link: SwitchLink | undefined;
  #installed: InstalledFlows = new Map();
  #readAll: "connect" | "audit" | "slice" | undefined;
  /** Counts the audits of a part. */
  #turn = 0;
  #running = false;
  #enabled = false;
  #timer: Timer | undefined;
  #sent = new Map<number, FlowPlanStep>();
  /** Of the batch under way. */
  #refusedSteps = new Set<FlowPlanStep>();
  #refused = 0;

  constructor(
    options: {
      readonly store: FlowStore;
      readonly events: FlowDriverEvents;
      readonly auditIntervalMs?: number;
      readonly auditFlowsMax?: number;
    },
    modules: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#store = options.store;
    this.#events = options.events;
    this.#auditIntervalMs = options.auditIntervalMs ?? AUDIT_INTERVAL_MS;
    this.#auditFlowsMax = options.auditFlowsMax ?? AUDIT_FLOWS_MAX;
    this.#clock = modules.clock;
    this.#log = modules.log;
  }

  get installedCount(): number {
    return this.#installed.size;
  }

  get records(): readonly ChangeRecord[] {
    return this.#records;
  }

  /** Whether the switch is connected and has all that is desired. */
  get isSettled(): boolean {
    return (
      this.#link !== undefined &&
      this.#enabled &&
      !this.#running &&
      this.#readAll === undefined &&
      this.#touched.size === 0
    );
  }

  /** Those of the keys whose flows are not on the switch as they are desired, as far as it has told. */
  differing(keys: ReadonlySet<string>): ReadonlySet<string> {
    return new Set(planFlows(this.#installed, this.#store, keys).map(({ key }) => key));
  }

  /** The desired flows are complete from now on; before that no flow is touched. */
  enable(): void {
    this.#enabled = true;
    this.#kick();
  }

  connect(link: SwitchLink): void {
    this.#link = link;
    this.#readAll = "connect";
    this.#kick();
  }

  drives(link: SwitchLink): boolean {
    return this.#link === link;
  }

  disconnect(link: SwitchLink): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#timer?.cancel();
  }

  /** The desired flows under `keys` may have changed. */
  touch(keys: Iterable<string>): void {
    for (const key of keys) this.#touched.add(key);
    this.#kick();
  }

  /** Reads everything again and repairs what differs. */
  audit(): void {
    if (this.#readAll !== "connect") this.#readAll = "audit";
    this.#kick();
  }

  /** The same with the next part of them, if they are very many. */
  #auditNext(): void {
    this.#readAll ??= "slice";
    this.#kick();
  }

  /** An error answer that no request waits for. */
  refuse(xid: number, error: string): void {
    const step = this.#sent.get(xid);
    if (step === undefined) return;
    this.#sent.delete(xid);
    this.#refused++;
    this.#refusedSteps.add(step);
    this.#events.onRefused(step, error);
  }

  close(): void {
    this.#link = undefined;
    this.#timer?.cancel();
  }

  #kick(): void {
    if (this.#running || this.#link === undefined || !this.#enabled) return;
    if (this.#readAll === undefined && this.#touched.size === 0) return;
    this.#running = true;
    void this.#run(this.#link);
  }

  async #run(link: SwitchLink): Promise<void> {
    this.#timer?.cancel();
    let failed = false;
    try {
      await this.#settle(link);
    } catch (thrown) {
      failed = true;
      if (this.#readAll !== "connect") this.#readAll = "audit";
      this.#log.warn({ error: describeError(thrown) }, "the switch's flows could not be brought up to date");
    }
    this.#running = false;
    if (this.#link === undefined) return;
    if (failed && this.#link === link) this.#after(RETRY_MS, () => this.#kick());
    else if (!this.isSettled) this.#kick();
    else {
      this.#after(this.#auditIntervalMs, () => this.#auditNext());
      this.#events.onSettled();
    }
  }

  #after(delayMs: number, callback: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(delayMs, callback);
  }

  async #settle(link: SwitchLink): Promise<void> {
    const cause = this.#readAll ?? "change";
    if (cause === "change") {
      const steps = planFlows(this.#installed, this.#store, this.#touched);
      this.#touched.clear();
      this.#events.onChanged(await this.#send(link, steps, cause));
      return;
    }
    const slice = cause === "slice" ? await this.#nextSlice(link) : undefined;
    const { steps, drift } = await this.#compare(link, slice);
    this.#readAll = undefined;
    if (cause === "connect") {
      this.#events.onChanged(await this.#send(link, steps, cause));
      return;
    }
    if (drift.length > 0) this.#events.onDrift(drift);
    if (steps.length > 0)
      this.#events.onChanged(await this.#send(link, steps, drift.length > 0 ? "audit" : "change"));
    if (drift.length > 0) await this.#verify(link, drift, slice);
  }

  /** The part whose turn it is; undefined = all, where they are few or another number than they should be. */
  async #nextSlice(link: SwitchLink): Promise<CookieSlice | undefined> {
    const slices = cookieSlices(this.#installed.size, this.#auditFlowsMax);
    if (slices === 1 || (await this.#countOf(link)) !== this.#installed.size) return undefined;
    return { mask: slices - 1, value: this.#turn++ & (slices - 1) };
  }

  /** A switch that does not count is trusted in this: its parts are read all the same. */
  async #countOf(link: SwitchLink): Promise<number> {
    try {
      return await link.flowCount();
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || thrown.code !== "SWITCH_REFUSED") throw thrown;
      return this.#installed.size;
    }
  }

  /** Reads what the switch has; returns what makes it what is desired now, and what of that is no change of ours. */
  async #compare(
    link: SwitchLink,
    slice: CookieSlice | undefined,
  ): Promise<{ steps: FlowPlanStep[]; drift: FlowPlanStep[] }> {
    const reported = await link.flowStats(slice);
    this.#events.onReport(reported, slice);
    const present = installedFrom(reported, this.#store);
    let keys: Set<string> | undefined;
    if (slice === undefined) this.#installed = present;
    else {
      replaceSlice(this.#installed, present, slice);
      keys = new Set([...present.keys(), ...desiredKeys(this.#store, slice), ...this.#touched]);
    }
    const steps = planFlows(this.#installed, this.#store, keys);
    const drift = steps.filter(({ key }) => !this.#touched.has(key));
    this.#touched.clear();
    return { steps, drift };
  }

  /** Whether what was repaired is as the switch said. */
  async #verify(
    link: SwitchLink,
    repaired: readonly FlowPlanStep[],
    slice: CookieSlice | undefined,
  ): Promise<void> {
    const acknowledged = new Map(repaired.map((step) => [step.key, step]));
    for (const step of this.#refusedSteps) acknowledged.delete(step.key);
    const { steps: again } = await this.#compare(link, slice);
    const wrong = again.filter(({ key, after }) => {
      const before = acknowledged.get(key);
      return before !== undefined && before.after?.body === after?.body;
    });
    if (wrong.length > 0) this.#events.onDisagreement(wrong);
    // What else came up meanwhile is a change like any other.
    const known = new Set(wrong);
    for (const step of again) if (!known.has(step)) this.#touched.add(step.key);
  }

  async #send(
    link: SwitchLink,
    steps: readonly FlowPlanStep[],
    cause: ChangeRecord["cause"],
  ): Promise<ChangeRecord> {
    const startMs = this.#clock.nowMs();
    const refusedBefore = this.#refused;
    this.#refusedSteps = new Set();
    let bundles = 0;
    for (let start = 0; start < steps.length; start += BUNDLE_FLOWS_MAX) {
      this.#checkDriven(link);
      if (await this.#sendBundle(link, steps.slice(start, start + BUNDLE_FLOWS_MAX))) bundles++;
    }
    const count = (kind: FlowPlanStep["kind"]): number => steps.filter((step) => step.kind === kind).length;
    const record: ChangeRecord = {
      cause,
      added: count("add"),
      changed: count("change"),
      deleted: count("delete"),
      refused: this.#refused - refusedBefore,
      bundles,
      installed: this.#installed.size,
      durationMs: this.#clock.nowMs() - startMs,
    };
    this.#records.push(record);
    if (this.#records.length > CHANGE_RECORDS_MAX) this.#records.shift();
    return record;
  }

  /**
   * Whether the steps went as one bundle. A step that the switch refuses is reported and left out of the next attempt,
   * so that one bad flow does not keep all others away; after some attempts each step goes by itself.
   */
  async #sendBundle(link: SwitchLink, steps: readonly FlowPlanStep[]): Promise<boolean> {
    let left = steps;
    for (let attempt = 0; attempt < BUNDLE_ATTEMPTS_MAX; attempt++) {
      const sending = left;
      const { messages, steps: stepOf } = messagesOf(sending);
      this.#sent = new Map();
      try {
        await link.bundle(messages, (xid, index) => this.#sent.set(xid, stepOf[index] as FlowPlanStep));
        for (const step of sending) this.#taken(step);
        return true;
      } catch (thrown) {
        const code = thrown instanceof PlinthError ? thrown.code : "";
        if (code !== "SWITCH_REFUSED" && code !== "BUNDLES_UNSUPPORTED") throw thrown;
        left = sending.filter((step) => !this.#refusedSteps.has(step));
        if (left.length === sending.length) break;
      }
    }
    await this.#sendSingly(link, left);
    return false;
  }

  async #sendSingly(link: SwitchLink, steps: readonly FlowPlanStep[]): Promise<void> {
    for (let start = 0; start < steps.length; start += FLOW_MODS_PER_BARRIER) {
      this.#checkDriven(link);
      const portion = steps.slice(start, start + FLOW_MODS_PER_BARRIER);
      const { messages, steps: stepOf } = messagesOf(portion);
      this.#sent = new Map(messages.map((message, i) => [link.send(message), stepOf[i] as FlowPlanStep]));
      await link.barrier();
      for (const step of portion) this.#taken(step);
    }
  }

  /** Throws when the switch is no longer this controller's to change. */
  #checkDriven(link: SwitchLink): void {
    if (this.#link !== link) throw new PlinthError("SWITCH_GONE", "the switch is driven by somebody else");
  }

  #taken(step: FlowPlanStep): void {
    if (this.#refusedSteps.has(step)) return;
    if (step.after === undefined) this.#installed.delete(step.key);
    else this.#installed.set(step.key, step.after);
  }
}

/** What `steps` send, in order, and for each message the step that it is of. */
function messagesOf(steps: readonly FlowPlanStep[]): {
  readonly messages: readonly FlowModBody[];
  readonly steps: readonly FlowPlanStep[];
} {
  const messages: FlowModBody[] = [];
  const stepOf: FlowPlanStep[] = [];
  for (const step of steps)
    for (const message of step.messages()) {
      messages.push(message);
      stepOf.push(step);
    }
  return { messages, steps: stepOf };
}
