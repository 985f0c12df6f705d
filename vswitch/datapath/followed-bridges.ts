// Bridges of another process that still forwards, made ready here: their tables hold what it keeps in its files, so that
// whoever takes its ports over needs only what it has changed since. Thread: datapath worker, between breaths.
import type { Datapath } from "./datapath.js";
import type { RestoredFlows } from "./requests.js";
import type { BridgeSettings } from "./settings.js";

export class FollowedBridges {
  readonly #datapath: Datapath;
  /** By name, the file. */
  readonly #files = new Map<string, string>();

  constructor(datapath: Datapath) {
    this.#datapath = datapath;
  }

  add(name: string, flowFile: string, nowMs: number): void {
    this.#datapath.addBridge(name).followFlows(flowFile, nowMs);
    this.#files.set(name, flowFile);
  }

  /** The bridge is ours now. undefined when it was not followed, or in vain: it is to be made as any other. */
  take(
    name: string,
    flowFile: string | undefined,
    settings: BridgeSettings,
    nowMs: number,
  ): RestoredFlows | undefined {
    const followed = this.#files.get(name);
    if (followed === undefined) return undefined;
    this.#files.delete(name);
    const bridge = this.#datapath.bridge(name);
    const restored = followed === flowFile ? bridge.keepFlows(flowFile, nowMs) : undefined;
    if (restored === undefined) this.#datapath.removeBridge(name);
    else bridge.setBridge(settings);
    return restored;
  }

  /** Those that were not taken go. */
  clear(): void {
    for (const name of this.#files.keys()) this.#datapath.removeBridge(name);
    this.#files.clear();
  }
}
