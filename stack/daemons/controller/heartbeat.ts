// A host whose agent is silent is not known to be ready. Times are taken here, by when the heartbeat last changed, so
// that clocks need not agree and a restart of the controller blames nobody.
import type { Clock } from "../../../base/time/index.js";
import { type ResourceClient, updateConditions } from "../../api/index.js";
import type { Host } from "../../resources/index.js";

export const HEARTBEAT_TIMEOUT_MS = 10_000;
export const HEARTBEAT_CHECK_MS = 1_000;

export class HeartbeatMonitor {
  readonly #clock: Clock;
  readonly #seen = new Map<string, { readonly time: string | undefined; readonly atMs: number }>();

  constructor(modules: { readonly clock: Clock }) {
    this.#clock = modules.clock;
  }

  /** The hosts that have been silent for too long, after a look at all hosts. */
  silent(hosts: readonly Host[]): Host[] {
    const nowMs = this.#clock.nowMs();
    const present = new Set<string>();
    const result: Host[] = [];
    for (const host of hosts) {
      const { uid } = host.metadata;
      present.add(uid);
      const time = host.status?.lastHeartbeatTime;
      const before = this.#seen.get(uid);
      if (before === undefined || before.time !== time) this.#seen.set(uid, { time, atMs: nowMs });
      else if (nowMs - before.atMs > HEARTBEAT_TIMEOUT_MS) result.push(host);
    }
    for (const uid of this.#seen.keys()) if (!present.has(uid)) this.#seen.delete(uid);
    return result;
  }
}

/** Sets Ready=Unknown; the agent sets it again when it is back. */
export async function reportSilent(client: ResourceClient, hosts: readonly Host[]): Promise<void> {
  for (const host of hosts) {
    const ready = host.status?.conditions?.find((condition) => condition.type === "Ready");
    if (ready?.status === "Unknown") continue;
    const message = `the host agent has not reported for ${HEARTBEAT_TIMEOUT_MS / 1000} s`;
    await updateConditions(client, "Host", host.metadata, [
      { type: "Ready", status: "Unknown", reason: "HeartbeatLost", message },
    ]);
    await client.recordEvent(host, { type: "Warning", reason: "HeartbeatLost", message });
  }
}
