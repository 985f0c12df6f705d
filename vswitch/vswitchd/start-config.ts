// What the switch reads when it starts, and not again while it runs. Pure.
// Source: ovs-vswitchd.conf.db(5), Open_vSwitch other_config:pmd-cpu-mask; ct-maxconns is ours.
import { CONNECTIONS_MAX } from "../conntrack/index.js";
import type { SwitchConfig } from "./model.js";

/** Connections at most that may be asked for: 590 MB of memory, and as much of the disk. */
const CONNECTIONS_CAPACITY = 1 << 22;
const CONNECTIONS_LEAST = 1 << 10;

export interface StartConfig {
  /** Processors that other_config:pmd-cpu-mask names. */
  readonly cores: readonly number[];
  /** Connections that the table has room for: a power of two. */
  readonly connectionsMax: number;
}

export function startConfigOf({
  threads,
  connectionsMax,
}: Pick<SwitchConfig, "threads" | "connectionsMax">): StartConfig {
  return { cores: threads.cores, connectionsMax };
}

/** From other_config; `problems` gets what makes no sense, for people. */
export function readConnectionsMax(otherConfig: ReadonlyMap<string, string>, problems: string[]): number {
  const text = otherConfig.get("ct-maxconns");
  if (text === undefined) return CONNECTIONS_MAX;
  const wanted = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (wanted < CONNECTIONS_LEAST || wanted > CONNECTIONS_CAPACITY) {
    problems.push(
      `other_config:ct-maxconns is "${text}", ${CONNECTIONS_LEAST} to ${CONNECTIONS_CAPACITY} connections were expected`,
    );
    return CONNECTIONS_MAX;
  }
  return 2 ** Math.ceil(Math.log2(wanted));
}
