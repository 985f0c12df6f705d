// What the agent asks of the datapath, handled where the datapath runs: between two breaths, in order.
// Invariant: when a request returns, its changes judge the next packet: a barrier is nothing but a request that is
// answered in its turn. Thread: datapath worker (or a test).

import { describeError, PlinthError } from "../../base/errors/index.js";
import {
  type AggregateStats,
  type FlowStats,
  type FlowStatsFilter,
  type GroupDescription,
  type GroupStats,
  type MeterConfig,
  type MeterStats,
  OFP_ERRORS,
  type OfpErrorName,
  type PortDescription,
  type PortStats,
  type TableStats,
} from "../../base/openflow/index.js";
import type { Bridge, Datapath } from "../datapath/index.js";
import type { ChangeRefusal, SwitchChange } from "./switch-model.js";

/** Requests by name: what goes in beside the bridge's name, and what comes out. */
export interface DatapathRequests {
  "openflow.change": [changes: readonly SwitchChange[], results: readonly (ChangeRefusal | undefined)[]];
  "openflow.barrier": [undefined, undefined];
  "openflow.flowStats": [FlowStatsFilter, readonly FlowStats[]];
  "openflow.aggregateStats": [FlowStatsFilter, AggregateStats];
  "openflow.tableStats": [undefined, readonly TableStats[]];
  "openflow.ports": [undefined, readonly PortDescription[]];
  "openflow.portStats": [undefined, readonly PortStats[]];
  "openflow.groupStats": [undefined, readonly GroupStats[]];
  "openflow.groupDescriptions": [undefined, readonly GroupDescription[]];
  "openflow.meterStats": [undefined, readonly MeterStats[]];
  "openflow.meterConfigs": [undefined, readonly MeterConfig[]];
}

export type DatapathMethod = keyof DatapathRequests;

/** The body of each request. */
export interface BridgeRequest<Method extends DatapathMethod> {
  readonly bridge: string;
  readonly argument: DatapathRequests[Method][0];
}

export type DatapathHandlers = {
  readonly [Method in DatapathMethod]: (body: BridgeRequest<Method>) => DatapathRequests[Method][1];
};

/** Handlers for a Mailbox. They throw BRIDGE_UNKNOWN, or a PlinthError named as an OpenFlow error for bad filters. */
export function datapathHandlers(datapath: Datapath, nowMs: () => number): DatapathHandlers {
  const tables = (name: string): Bridge["tables"] => datapath.bridge(name).tables;
  return {
    "openflow.change": ({ bridge, argument }) =>
      changeAll(datapath, datapath.bridge(bridge), argument, nowMs()),
    "openflow.barrier": () => undefined,
    "openflow.flowStats": ({ bridge, argument }) => tables(bridge).flowStats(argument, nowMs()),
    "openflow.aggregateStats": ({ bridge, argument }) => tables(bridge).aggregateStats(argument),
    "openflow.tableStats": ({ bridge }) => tables(bridge).tableStats(),
    "openflow.ports": ({ bridge }) => slotsOf(datapath.bridge(bridge)).map((slot) => slot.description()),
    "openflow.portStats": ({ bridge }) =>
      slotsOf(datapath.bridge(bridge)).map((slot) => slot.portStats(nowMs())),
    "openflow.groupStats": ({ bridge }) => {
      const { groups } = tables(bridge);
      return groups.stats(nowMs(), (groupId) => tables(bridge).flowsOfGroup(groupId));
    },
    "openflow.groupDescriptions": ({ bridge }) => tables(bridge).groups.descriptions(),
    "openflow.meterStats": ({ bridge }) => {
      const { meters } = tables(bridge);
      return meters.stats(nowMs(), (meterId) => tables(bridge).flowsOfMeter(meterId));
    },
    "openflow.meterConfigs": ({ bridge }) => tables(bridge).meters.configs(),
  };
}

function changeAll(
  datapath: Datapath,
  bridge: Bridge,
  changes: readonly SwitchChange[],
  nowMs: number,
): readonly (ChangeRefusal | undefined)[] {
  const results = changes.map((change): ChangeRefusal | undefined => {
    try {
      bridge.change(change, nowMs);
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || !Object.hasOwn(OFP_ERRORS, thrown.code)) throw thrown;
      return { error: thrown.code as OfpErrorName, message: describeError(thrown) };
    }
  });
  // Flow-removed messages of these changes leave before the answer does.
  datapath.deliver();
  return results;
}

/** By number, which puts OFPP_LOCAL last. */
function slotsOf(bridge: Bridge): readonly Bridge["slots"][number][] {
  return [...bridge.slots].sort((a, b) => a.ofport - b.ofport);
}
