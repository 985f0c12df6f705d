// How often each interface's link was seen to change (Interface.link_resets). Thread: main.
// Source: ovs-vswitchd.conf.db(5): "the number of times … has observed the link_state of this Interface change".
import type { BridgeStatus } from "./model.js";
import type { AppliedSwitch } from "./plan.js";

export class LinkResets {
  #seen = new Map<string, { readonly linkUp: boolean; readonly count: number }>();

  /** Takes a look and returns the counts by Interface uuid; interfaces that are gone are forgotten. */
  observe(applied: AppliedSwitch, statuses: ReadonlyMap<string, BridgeStatus>): ReadonlyMap<string, number> {
    const seen = new Map<string, { readonly linkUp: boolean; readonly count: number }>();
    for (const [name, { ports }] of applied) {
      for (const [portName, { uuid }] of ports) {
        const before = this.#seen.get(uuid);
        const linkUp = statuses.get(name)?.ports.get(portName)?.linkUp ?? before?.linkUp;
        if (linkUp === undefined) continue;
        const changed = before !== undefined && before.linkUp !== linkUp;
        seen.set(uuid, { linkUp, count: (before?.count ?? 0) + (changed ? 1 : 0) });
      }
    }
    this.#seen = seen;
    return new Map([...seen].map(([uuid, { count }]) => [uuid, count]));
  }
}
