// Keeps one switch's flows equal to the desired ones. At connect it reads what is there and sends only differences;
// afterwards only what a change touched; now and then it reads everything again (audit), which is also when counters
// are taken. One change is under way at a time and ends with a barrier. Thread: the controller's.
//
//   connected ──► read all ──► plan ──► send in portions, each with a barrier ──► settled ──(touched)──► plan …
//                    ▲                                                              │
//                    └────────────────────── audit, or an answer that failed ◄──────┘
import { describeError } from "../../base/errors/index.js";
import type { Logger } from "../../base/log/index.js";
import type { FlowStats } from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import { AUDIT_INTERVAL_MS, CHANGE_RECORDS_MAX, FLOW_MODS_PER_BARRIER } from "../limits.js";
import type { FlowStore } from "../pipeline/flow-store.js";
import { type FlowPlanStep, type InstalledFlows, installedFrom, planFlows } from "./flow-sync.js";
import type { SwitchLink } from "./switch-link.js";

const RETRY_MS = 1_000;

/** One batch of flow-mods that reached the switch. */
export interface ChangeRecord {
  readonly cause: "connect" | "change" | "audit";
  readonly added: number;
  readonly changed: number;
  readonly deleted: number;
  readonly refused: number;
  /** Flows on the switch afterwards. */
  readonly installed: number;
  /** From plan to the last barrier's answer. */
  readonly durationMs: number;
}

export interface FlowDriverEvents {
  /** Every report of all flows. */
  onReport(flows: readonly FlowStats[]): void;
  /** The switch has taken a batch. */
  onChanged(record: ChangeRecord): void;
  /** The switch has everything that is desired. */
  onSettled(): void;
  onRefused(step: FlowPlanStep, error: string): void;
}

export class FlowDriver {
  readonly #store: FlowStore;
  readonly #events: FlowDriverEvents;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #auditIntervalMs: number;
  readonly #touched = new Set<string>();
  readonly #records: ChangeRecord[] = [];
  #link: SwitchLink | undefined;
  #installed: InstalledFlows = new Map();
  #readAll: "connect" | "audit" | undefined;
  #running = false;
  #enabled = false;
  #timer: Timer | undefined;
  #sent = new Map<number, FlowPlanStep>();
  #refused = 0;

  constructor(
    options: {
      readonly store: FlowStore;
      readonly events: FlowDriverEvents;
      readonly auditIntervalMs?: number;
    },
    modules: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#store = options.store;
    this.#events = options.events;
    this.#auditIntervalMs = options.auditIntervalMs ?? AUDIT_INTERVAL_MS;
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
    this.#readAll ??= "audit";
    this.#kick();
  }

  /** An error answer that no request waits for. */
  refuse(xid: number, error: string): void {
    const step = this.#sent.get(xid);
    if (step === undefined) return;
    this.#sent.delete(xid);
    this.#refused++;
    this.#installed.delete(step.key);
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
      this.#readAll ??= "audit";
      this.#log.warn({ error: describeError(thrown) }, "the switch's flows could not be brought up to date");
    }
    this.#running = false;
    if (this.#link === undefined) return;
    if (failed && this.#link === link) this.#after(RETRY_MS, () => this.#kick());
    else if (!this.isSettled) this.#kick();
    else {
      this.#after(this.#auditIntervalMs, () => this.audit());
      this.#events.onSettled();
    }
  }

  #after(delayMs: number, callback: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(delayMs, callback);
  }

  async #settle(link: SwitchLink): Promise<void> {
    const cause = this.#readAll ?? "change";
    let steps: FlowPlanStep[];
    if (this.#readAll !== undefined) {
      const reported = await link.flowStats();
      this.#events.onReport(reported);
      this.#installed = installedFrom(reported);
      this.#readAll = undefined;
      this.#touched.clear();
      steps = planFlows(this.#installed, this.#store);
    } else {
      steps = planFlows(this.#installed, this.#store, this.#touched);
      this.#touched.clear();
    }
    if (steps.length === 0 && cause === "audit") return;
    this.#events.onChanged(await this.#send(link, steps, cause));
  }

  async #send(
    link: SwitchLink,
    steps: readonly FlowPlanStep[],
    cause: ChangeRecord["cause"],
  ): Promise<ChangeRecord> {
    const startMs = this.#clock.nowMs();
    const refusedBefore = this.#refused;
    for (let start = 0; start < steps.length || start === 0; start += FLOW_MODS_PER_BARRIER) {
      this.#sent = new Map();
      for (const step of steps.slice(start, start + FLOW_MODS_PER_BARRIER)) {
        this.#sent.set(link.send(step.message), step);
        if (step.after === undefined) this.#installed.delete(step.key);
        else this.#installed.set(step.key, step.after);
      }
      await link.barrier();
    }
    const count = (kind: FlowPlanStep["kind"]): number => steps.filter((step) => step.kind === kind).length;
    const record: ChangeRecord = {
      cause,
      added: count("add"),
      changed: count("change"),
      deleted: count("delete"),
      refused: this.#refused - refusedBefore,
      installed: this.#installed.size,
      durationMs: this.#clock.nowMs() - startMs,
    };
    this.#records.push(record);
    if (this.#records.length > CHANGE_RECORDS_MAX) this.#records.shift();
    return record;
  }
}
