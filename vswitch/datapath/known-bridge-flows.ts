// What the caches of a bridge hold, for dpctl/dump-flows. Thread: datapath worker, between breaths.
import { countKnownFlows, type KnownFlow, type KnownFlowsModules, knownFlows } from "../flow/index.js";
import type { Bridge } from "./bridge.js";

export interface KnownBridgeFlow extends KnownFlow {
  /** OpenFlow number of the input port, and its number in the datapath. */
  readonly inPort: number;
  readonly datapathPort: number;
}

/** What is known, and still true; with what port workers have counted so far. */
export function knownFlowsOf(bridge: Bridge, nowMs: number): KnownBridgeFlow[] {
  bridge.publishing.fold();
  return knownFlows(cachesOf(bridge), nowMs).map((flow) => {
    const inPort = inPortOf(flow);
    return { ...flow, inPort, datapathPort: bridge.slot(inPort)?.datapathPort ?? inPort };
  });
}

/** How many of them there are. */
export function countKnownFlowsOf(bridge: Bridge): number {
  return countKnownFlows(cachesOf(bridge));
}

function cachesOf({ bursts, pipeline, tables }: Bridge): KnownFlowsModules {
  return { verdicts: bursts.cache, paths: pipeline.cache, tables };
}

function inPortOf({ start }: KnownFlow): number {
  let port = 0;
  for (const byte of start.match.find(({ field }) => field === "in_port")?.value ?? [])
    port = port * 256 + byte;
  return port;
}
