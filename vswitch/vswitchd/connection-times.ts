// Since when each controller is connected, or has not been (Controller.status). Thread: main.
// Source: ovs-vswitchd.conf.db(5), Controller, sec_since_connect and sec_since_disconnect.
// Invariant: between two tellings the numbers stay, so that time alone is written as seldom as counters are.
import type { BridgeStatus } from "./model.js";
import type { AppliedSwitch } from "./plan.js";

interface Times {
  readonly isConnected: boolean;
  readonly connectedAtMs: number | undefined;
  readonly disconnectedAtMs: number | undefined;
}

export type ConnectionTexts = ReadonlyMap<string, Readonly<Record<string, string>>>;

export class ConnectionTimes {
  #seen = new Map<string, Times>();
  #toldAtMs = 0;

  /** Takes a look at `nowMs` and returns the status entries by Controller uuid; `tell` moves the numbers on. */
  observe(
    applied: AppliedSwitch,
    statuses: ReadonlyMap<string, BridgeStatus>,
    nowMs: number,
    tell: boolean,
  ): ConnectionTexts {
    if (tell) this.#toldAtMs = nowMs;
    const seen = new Map<string, Times>();
    for (const [name, { config }] of applied) {
      for (const { uuid, target } of config.controllers) {
        const status = statuses.get(name)?.controllers.find((one) => one.target === target);
        const before = this.#seen.get(uuid);
        const isConnected = status?.isConnected ?? before?.isConnected ?? false;
        seen.set(uuid, follow(before, isConnected, nowMs));
      }
    }
    this.#seen = seen;
    return new Map([...seen].map(([uuid, times]) => [uuid, this.#print(times)]));
  }

  #print({ connectedAtMs, disconnectedAtMs }: Times): Record<string, string> {
    const seconds = (atMs: number): string => String(Math.max(0, Math.floor((this.#toldAtMs - atMs) / 1000)));
    return {
      ...(connectedAtMs === undefined ? {} : { sec_since_connect: seconds(connectedAtMs) }),
      ...(disconnectedAtMs === undefined ? {} : { sec_since_disconnect: seconds(disconnectedAtMs) }),
    };
  }
}

function follow(before: Times | undefined, isConnected: boolean, nowMs: number): Times {
  if (before !== undefined && before.isConnected === isConnected) return before;
  return {
    isConnected,
    connectedAtMs: isConnected ? nowMs : before?.connectedAtMs,
    // One that was never connected has not been disconnected.
    disconnectedAtMs: !isConnected && before !== undefined ? nowMs : before?.disconnectedAtMs,
  };
}
