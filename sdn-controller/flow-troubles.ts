// What goes wrong between the flows that are wanted and those that the switch has: counted, logged, told as Events, and
// kept as one condition of the Host, NetworkProgrammed, until it is put right.
//
//   no switch ──► driven, behind ──(all is there)──► True        behind for PENDING_MS, refused, denied ──► False
//
// Thread: the controller's.
import type { Logger } from "../base/log/index.js";
import type { Clock, Timer } from "../base/time/index.js";
import type { FlowPlanStep } from "./channel/flow-sync.js";
import type { SdnEvent, StatusCondition } from "./inputs.js";

const TYPE = "NetworkProgrammed";
/** A switch that has not taken all that is wanted for so long is behind; a change takes milliseconds. */
const PENDING_MS = 5_000;
/** Resources named in one event. */
const SUMMARY_MAX = 5;

export interface FlowTroublesOptions {
  /** The resource whose flow has this key; undefined where it is not wanted any more. */
  readonly resourceOf: (key: string) => string | undefined;
  /** Those of the keys whose flows are not as they should be. */
  readonly differing: (keys: ReadonlySet<string>) => ReadonlySet<string>;
  readonly onEvent: (event: SdnEvent) => void;
  /** Only when it differs from the last one. */
  readonly onCondition: (condition: StatusCondition) => void;
}

/** Why a flow is not in force. */
interface Trouble {
  readonly reason: "FlowsRefused" | "SwitchDisagrees";
  readonly message: string;
}

export class FlowTroubles {
  /** Flows that audits found altered, missing or foreign. */
  repaired = 0;
  refused = 0;
  /** Repairs that the switch acknowledged and did not make. */
  disagreed = 0;
  readonly #options: FlowTroublesOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** By key of the flow. */
  readonly #open = new Map<string, Trouble>();
  #switchName = "";
  #isDriven = false;
  #late: Timer | undefined;
  #told = "";

  constructor(options: FlowTroublesOptions, modules: { readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
    this.#clock = modules.clock;
    this.#log = modules.log;
  }

  /** All that is wanted is known, and no switch has come yet; what was said before a restart may not hold. */
  awaited(): void {
    this.#late ??= this.#clock.after(PENDING_MS, () => this.#tellGone());
  }

  /** This controller drives the switch of that name from now on. */
  driven(switchName: string): void {
    this.left();
    this.#switchName = switchName;
    this.#isDriven = true;
    this.behind();
  }

  /** Another controller drives it: what is to be said of it, that one says. */
  left(): void {
    this.#isDriven = false;
    this.#late?.cancel();
    this.#late = undefined;
    // Whatever stands there then is that one's.
    this.#told = "";
  }

  /** No switch is connected any more. Of one that another controller drives nothing is said. */
  gone(): void {
    const wasDriven = this.#isDriven;
    this.left();
    if (wasDriven) this.#tellGone();
  }

  #tellGone(): void {
    this.#tell("False", "SwitchNotConnected", "no switch is connected: what it had last is in force");
  }

  /** The switch has not all that is wanted. */
  behind(): void {
    if (!this.#isDriven || this.#late !== undefined) return;
    this.#late = this.#clock.after(PENDING_MS, () => {
      const message = `${this.#switchName} has not confirmed for ${PENDING_MS / 1000} s what is wanted`;
      this.#tell("False", "Pending", message);
    });
  }

  /** The switch has confirmed or refused all that is wanted. */
  settled(): void {
    if (!this.#isDriven) return;
    this.#late?.cancel();
    this.#late = undefined;
    const wrong = this.#options.differing(new Set(this.#open.keys()));
    for (const key of [...this.#open.keys()]) if (!wrong.has(key)) this.#open.delete(key);
    const [first] = this.#open.values();
    if (first === undefined) {
      this.#tell("True", "Programmed", `${this.#switchName} has every flow`);
      return;
    }
    const more = this.#open.size === 1 ? "" : `, and ${this.#open.size - 1} more are not as they should be`;
    this.#tell("False", first.reason, first.message + more);
  }

  refuse(step: FlowPlanStep, error: string): void {
    this.refused++;
    const origin = this.#options.resourceOf(step.key) ?? "a flow that is gone";
    const message = `the switch refused a flow of ${origin}: ${error}`;
    this.#open.set(step.key, { reason: "FlowsRefused", message });
    this.#log.error({ flow: step.key, error, origin }, "the switch refused a flow");
    this.#warn("SwitchRefusedFlow", message);
  }

  drift(steps: readonly FlowPlanStep[]): void {
    this.repaired += steps.length;
    const message =
      `${this.#switchName} had ${steps.length} flows that differ from what it was given, now repaired: ` +
      this.#summary(steps);
    this.#log.warn({ flows: textsOf(steps) }, message);
    this.#warn("FlowsRepaired", message);
  }

  disagree(steps: readonly FlowPlanStep[]): void {
    this.disagreed += steps.length;
    const message =
      `${this.#switchName} acknowledged ${steps.length} changes and does not have them: ` +
      this.#summary(steps);
    for (const { key } of steps) {
      const text = `${this.#switchName} acknowledged a flow and does not have it: ${this.#options.resourceOf(key) ?? key}`;
      this.#open.set(key, { reason: "SwitchDisagrees", message: text });
    }
    this.#log.error({ flows: textsOf(steps) }, message);
    this.#warn("SwitchDisagrees", message);
  }

  close(): void {
    this.#late?.cancel();
  }

  /** What is wrong with which resources' flows, as the steps that put it right tell. */
  #summary(steps: readonly FlowPlanStep[]): string {
    const words = { add: "missing", change: "altered", delete: "foreign" } as const;
    const texts = steps.map(({ kind, key }) => {
      const resource = this.#options.resourceOf(key);
      return `${words[kind]} ${resource === undefined ? `in table ${key.split(" ")[0]}` : `of ${resource}`}`;
    });
    const distinct = [...new Set(texts)];
    const more = distinct.length > SUMMARY_MAX ? `, and ${distinct.length - SUMMARY_MAX} more` : "";
    return `${distinct.slice(0, SUMMARY_MAX).join(", ")}${more}`;
  }

  #warn(reason: string, message: string): void {
    this.#options.onEvent({ kind: "Host", key: "", type: "Warning", reason, message });
  }

  #tell(status: StatusCondition["status"], reason: string, message: string): void {
    const text = `${status} ${reason} ${message}`;
    if (this.#told === text) return;
    this.#told = text;
    this.#options.onCondition({ type: TYPE, status, reason, message });
  }
}

function textsOf(steps: readonly FlowPlanStep[]): string[] {
  return steps.slice(0, 10).map(({ kind, key }) => `${kind} ${key}`);
}
