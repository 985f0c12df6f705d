// Since when each controller is connected, or has not been (Controller.status). Thread: main.
// Source: ovs-vswitchd.conf.db(5), Controller, sec_since_connect and sec_since_disconnect.
// Invariant: between two tellings the numbers stay unless a connection began or ended, so that time alone is written as
// seldom as counters are.
import type { BridgeStatus, ControllerStatus } from "./model.js";
import type { AppliedSwitch } from "./plan.js";

export type ConnectionTexts = ReadonlyMap<string, Readonly<Record<string, string>>>;

export class ConnectionTimes {
  #toldAtMs = 0;

  /** The status entries by Controller uuid, of a look at `nowMs`; `tell` moves the numbers on. */
  observe(
    applied: AppliedSwitch,
    statuses: ReadonlyMap<string, BridgeStatus>,
    nowMs: number,
    tell: boolean,
  ): ConnectionTexts {
    if (tell) this.#toldAtMs = nowMs;
    const texts = new Map<string, Readonly<Record<string, string>>>();
    for (const [name, { config }] of applied) {
      for (const { uuid, target } of config.controllers) {
        const status = statuses.get(name)?.controllers.find((one) => one.target === target);
        if (status !== undefined) texts.set(uuid, this.#print(status));
      }
    }
    return texts;
  }

  #print({ connectedAtMs, disconnectedAtMs }: ControllerStatus): Record<string, string> {
    const seconds = (atMs: number): string => String(Math.max(0, Math.floor((this.#toldAtMs - atMs) / 1000)));
    return {
      ...(connectedAtMs === undefined ? {} : { sec_since_connect: seconds(connectedAtMs) }),
      ...(disconnectedAtMs === undefined ? {} : { sec_since_disconnect: seconds(disconnectedAtMs) }),
    };
  }
}
