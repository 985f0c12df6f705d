// The real flow, group and meter tables behind the agent's switch model, without ports or packets.
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
  type TableStats,
} from "../../base/openflow/index.js";
import {
  type ChangeRefusal,
  GROUP_FEATURES,
  METER_FEATURES,
  type SwitchChange,
  TABLE_FEATURES,
} from "../../vswitch/agent/index.js";
import { MemorySwitch } from "../../vswitch/agent/memory-switch.js";
import { FlowTables } from "../../vswitch/flow/index.js";

export class TablesSwitch extends MemorySwitch {
  readonly #tables = new FlowTables({ onRemoved: (message) => this.emit(message) });
  override readonly tableCount = this.#tables.tableCount;
  override readonly tableFeatures = TABLE_FEATURES;
  override readonly groupFeatures = GROUP_FEATURES;
  override readonly meterFeatures = METER_FEATURES;

  override async change(changes: readonly SwitchChange[]): Promise<readonly (ChangeRefusal | undefined)[]> {
    const results: (ChangeRefusal | undefined)[] = [];
    for (const change of changes) results.push(await this.#one(change));
    return results;
  }

  async #one(change: SwitchChange): Promise<ChangeRefusal | undefined> {
    const nowMs = performance.now();
    try {
      if (change.type === "flow_mod") this.#tables.applyFlowMod(change, nowMs);
      else if (change.type === "group_mod") this.#tables.applyGroupMod(change, nowMs);
      else if (change.type === "meter_mod") this.#tables.applyMeterMod(change, nowMs);
      else return (await super.change([change]))[0];
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || !Object.hasOwn(OFP_ERRORS, thrown.code)) throw thrown;
      return { error: thrown.code as OfpErrorName, message: describeError(thrown) };
    }
  }

  override get flowCount(): number {
    return this.#tables.flowCount;
  }

  override async flowStats(filter: FlowStatsFilter): Promise<readonly FlowStats[]> {
    return this.#tables.flowStats(filter, performance.now());
  }

  override async aggregateStats(filter: FlowStatsFilter): Promise<AggregateStats> {
    return this.#tables.aggregateStats(filter);
  }

  override async tableStats(): Promise<readonly TableStats[]> {
    return this.#tables.tableStats();
  }

  override async groupStats(): Promise<readonly GroupStats[]> {
    return this.#tables.groups.stats(performance.now(), (groupId) => this.#tables.flowsOfGroup(groupId));
  }

  override async groupDescriptions(): Promise<readonly GroupDescription[]> {
    return this.#tables.groups.descriptions();
  }

  override async meterStats(): Promise<readonly MeterStats[]> {
    return this.#tables.meters.stats(performance.now(), (meterId) => this.#tables.flowsOfMeter(meterId));
  }

  override async meterConfigs(): Promise<readonly MeterConfig[]> {
    return this.#tables.meters.configs();
  }
}
