// What the switch tells through the database: numbers, errors, link states, statistics, cur_cfg. Pure: status in,
// operations out; columns that already hold the value cost nothing.
import { randomUUID } from "node:crypto";
import { hostname, release, type as systemType } from "node:os";
import {
  byUuid,
  mapValue,
  mutateOp,
  type Operation,
  type OvsdbRowJson,
  setValue,
  updateOp,
} from "../../base/ovsdb/index.js";
import type { ConnectionTexts } from "./connection-times.js";
import { datapathCapabilities } from "./datapath-features.js";
import { type DummyMode, dummyTypes } from "./dummy.js";
import type { BridgeConfig, BridgeStatus, NumberedPort, SwitchConfig } from "./model.js";
import type { AppliedSwitch } from "./plan.js";
import { INTERFACE_TYPES } from "./read-model.js";
import { portKey } from "./reconciler.js";

const NONE = setValue([]);

export interface Identity {
  readonly version: string;
  readonly databaseVersion: string;
  /** Where the switch's sockets are. */
  readonly dir: string;
  readonly dummy: DummyMode;
}

/** Facts about this switch that do not change while it runs. What an operator has named stays. */
export function identityOperations({ version, databaseVersion, dir, dummy }: Identity): Operation[] {
  return [
    updateOp("Open_vSwitch", [], {
      ovs_version: version,
      db_version: databaseVersion,
      system_type: systemType().toLowerCase(),
      system_version: release(),
      datapath_types: setValue([...(dummy === "off" ? [] : ["dummy"]), "netdev", "system"]),
      iface_types: setValue([...INTERFACE_TYPES, ...dummyTypes(dummy)].sort()),
      dpdk_initialized: false,
    }),
    mutateOp(
      "Open_vSwitch",
      [],
      [
        ["external_ids", "delete", setValue(["rundir"])],
        // Keys that are there keep their value (RFC 7047, 5.1).
        [
          "external_ids",
          "insert",
          mapValue({ "system-id": randomUUID(), hostname: hostname(), rundir: dir }),
        ],
      ],
    ),
  ];
}

/** After a run: who got which number, what failed, and that the configuration `nextCfg` is in force. */
export function runOperations(
  model: SwitchConfig,
  applied: AppliedSwitch,
  errors: ReadonlyMap<string, string>,
): Operation[] {
  const operations: Operation[] = [];
  const patches = patchesOf(applied);
  for (const { config, ports, unsupported } of model.bridges) {
    const bridge = applied.get(config.name);
    const error = errors.get(config.name);
    operations.push(
      updateOp("Bridge", byUuid(config.uuid), {
        datapath_id: bridge === undefined ? NONE : config.datapathId,
        datapath_version: bridge === undefined ? "" : "<built-in>",
        status: mapValue({ ...(error === undefined ? {} : { error }), ...unsupportedFact(unsupported) }),
      }),
    );
    for (const port of ports) {
      const done = bridge?.ports.get(port.name);
      const reason = errors.get(portKey(config.name, port.name)) ?? whyUnjoined(done, config, patches);
      const row = done === undefined ? absentPort(reason) : presentPort(done, reason);
      operations.push(updateOp("Interface", byUuid(port.uuid), row));
    }
  }
  operations.push(
    updateOp("Datapath", [], { capabilities: mapValue(datapathCapabilities()) }),
    updateOp("Open_vSwitch", [], { cur_cfg: model.nextCfg }),
  );
  return operations;
}

function absentPort(error: string | undefined): OvsdbRowJson {
  return {
    ofport: -1,
    error: error ?? "the switch has not made it",
    admin_state: NONE,
    link_state: NONE,
    link_resets: NONE,
    ifindex: NONE,
    mac_in_use: NONE,
    mtu: NONE,
    statistics: mapValue({}),
    status: mapValue({}),
  };
}

function patchesOf(applied: AppliedSwitch): ReadonlyMap<string, NumberedPort> {
  const ports = [...applied.values()].flatMap((bridge) => [...bridge.ports.values()]);
  return new Map(ports.filter(({ type }) => type === "patch").map((port) => [port.name, port]));
}

/** Why nothing comes or goes through a patch port: the other one is not there, or wants another peer. */
function whyUnjoined(
  port: NumberedPort | undefined,
  bridge: BridgeConfig,
  patches: ReadonlyMap<string, NumberedPort>,
): string | undefined {
  if (port?.type !== "patch") return undefined;
  const peer = port.options["peer"] ?? "";
  if (patches.get(peer)?.options["peer"] === port.name) return undefined;
  return `No usable peer '${peer}' exists in '${bridge.datapath.replace(/@.*/, "")}' datapath.`;
}

/** `error` is why it could not be changed as asked, or does not work. */
function presentPort({ ofport }: NumberedPort, error: string | undefined): OvsdbRowJson {
  return { ofport, error: error ?? NONE };
}

function unsupportedFact(names: readonly string[]): Readonly<Record<string, string>> {
  return names.length === 0 ? {} : { unsupported: names.join(" ") };
}

export interface StatusOptions {
  readonly statuses: ReadonlyMap<string, BridgeStatus>;
  /** By Controller uuid. */
  readonly connectionTimes: ConnectionTexts;
  /** By Interface uuid. */
  readonly linkResets: ReadonlyMap<string, number>;
  /** Whether statistics are told too. */
  readonly counters: boolean;
}

/** Link states and controllers, and with `counters` the statistics. */
export function statusOperations(applied: AppliedSwitch, options: StatusOptions): Operation[] {
  const { statuses, connectionTimes, linkResets, counters } = options;
  const operations: Operation[] = [];
  for (const [name, { config, ports }] of applied) {
    const status = statuses.get(name);
    if (status === undefined) continue;
    for (const [portName, port] of ports) {
      const now = status.ports.get(portName);
      if (now === undefined) continue;
      operations.push(
        updateOp("Interface", byUuid(port.uuid), {
          admin_state: now.adminUp === false ? "down" : "up",
          link_state: now.linkUp ? "up" : "down",
          link_resets: linkResets.get(port.uuid) ?? 0,
          ifindex: now.ifindex ?? 0,
          mac_in_use: now.macAddress ?? port.macAddress,
          mtu: now.mtu ?? NONE,
          status: mapValue({ ...now.facts, ...unsupportedFact(port.unsupported) }),
          ...(counters ? { statistics: mapValue(now.statistics) } : {}),
        }),
      );
    }
    for (const { name: uuid, packets, bytes } of status.mirrors) {
      const statistics = mapValue({ tx_bytes: bytes, tx_packets: packets });
      if (counters) operations.push(updateOp("Mirror", byUuid(uuid), { statistics }));
    }
    for (const controller of config.controllers) {
      const now = status.controllers.find(({ target }) => target === controller.target);
      operations.push(
        updateOp("Controller", byUuid(controller.uuid), {
          is_connected: now?.isConnected ?? false,
          role: now?.role ?? NONE,
          status: mapValue({
            state: now?.state ?? "VOID",
            ...connectionTimes.get(controller.uuid),
            ...(now?.lastError === undefined ? {} : { last_error: now.lastError }),
          }),
        }),
      );
    }
  }
  return operations;
}
