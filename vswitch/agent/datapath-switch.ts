// A bridge of the datapath as the agent's switch model: every call is one request to where the datapath runs.
// Thread: main.

import {
  type AggregateStats,
  type FlowStats,
  type FlowStatsFilter,
  type GroupDescription,
  type GroupStats,
  type MeterConfig,
  type MeterStats,
  OFPC_FRAG_NORMAL,
  type PortDescription,
  type PortStats,
  type QueueStats,
  type SwitchDescription,
  type TableStats,
} from "../../base/openflow/index.js";
import { GROUP_FEATURES, METER_FEATURES, TABLE_FEATURES } from "./datapath-abilities.js";
import type { BridgeRequest, DatapathMethod, DatapathRequests } from "./datapath-requests.js";
import type { ChangeRefusal, SwitchChange, SwitchEvent, SwitchModel } from "./switch-model.js";

/** Carries a request to the datapath: in order, answered once. `WorkerHandle.request` is one. */
export type RequestDatapath = <Method extends DatapathMethod>(
  method: Method,
  body: BridgeRequest<Method>,
) => Promise<DatapathRequests[Method][1]>;

export interface DatapathSwitchOptions {
  readonly bridge: string;
  readonly datapathId: bigint;
  readonly version: string;
  readonly request: RequestDatapath;
}

export class DatapathSwitch implements SwitchModel {
  readonly datapathId: bigint;
  readonly tableCount = TABLE_FEATURES.length;
  readonly description: SwitchDescription;
  readonly tableFeatures = TABLE_FEATURES;
  readonly groupFeatures = GROUP_FEATURES;
  readonly meterFeatures = METER_FEATURES;
  readonly #bridge: string;
  readonly #request: RequestDatapath;
  readonly #listeners = new Set<(event: SwitchEvent) => void>();

  constructor(options: DatapathSwitchOptions) {
    this.datapathId = options.datapathId;
    this.#bridge = options.bridge;
    this.#request = options.request;
    this.description = {
      manufacturer: "Plinth",
      hardware: "Plinth vSwitch",
      software: options.version,
      serialNumber: "None",
      datapath: options.bridge,
    };
  }

  /** What the datapath told of this bridge; call it in the order in which it was told. */
  deliver(events: readonly SwitchEvent[]): void {
    for (const event of events) for (const listener of this.#listeners) listener(event);
  }

  onEvent(listener: (event: SwitchEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  change(changes: readonly SwitchChange[]): Promise<readonly (ChangeRefusal | undefined)[]> {
    return this.#ask("openflow.change", changes);
  }

  async barrier(): Promise<void> {
    await this.#ask("openflow.barrier", undefined);
  }

  async setFragmentHandling(flags: number): Promise<boolean> {
    return flags === OFPC_FRAG_NORMAL;
  }

  flowStats(filter: FlowStatsFilter): Promise<readonly FlowStats[]> {
    return this.#ask("openflow.flowStats", filter);
  }

  aggregateStats(filter: FlowStatsFilter): Promise<AggregateStats> {
    return this.#ask("openflow.aggregateStats", filter);
  }

  tableStats(): Promise<readonly TableStats[]> {
    return this.#ask("openflow.tableStats", undefined);
  }

  ports(): Promise<readonly PortDescription[]> {
    return this.#ask("openflow.ports", undefined);
  }

  portStats(): Promise<readonly PortStats[]> {
    return this.#ask("openflow.portStats", undefined);
  }

  groupStats(): Promise<readonly GroupStats[]> {
    return this.#ask("openflow.groupStats", undefined);
  }

  groupDescriptions(): Promise<readonly GroupDescription[]> {
    return this.#ask("openflow.groupDescriptions", undefined);
  }

  meterStats(): Promise<readonly MeterStats[]> {
    return this.#ask("openflow.meterStats", undefined);
  }

  meterConfigs(): Promise<readonly MeterConfig[]> {
    return this.#ask("openflow.meterConfigs", undefined);
  }

  /** There are no queues. */
  async queueStats(): Promise<readonly QueueStats[]> {
    return [];
  }

  #ask<Method extends DatapathMethod>(
    method: Method,
    argument: DatapathRequests[Method][0],
  ): Promise<DatapathRequests[Method][1]> {
    return this.#request(method, { bridge: this.#bridge, argument });
  }
}
