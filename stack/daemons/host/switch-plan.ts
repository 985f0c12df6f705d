// The rows of the Open_vSwitch database that this host wants, and the operations that lead there. Only our own bridge
// and, on it, the ports with our names are touched: what a user adds by ovs-vsctl stays. Pure.
import {
  byUuid,
  insertOp,
  mapValue,
  mutateOp,
  namedUuid,
  type Operation,
  type OvsdbRow,
  setValue,
  updateOp,
  uuidValue,
} from "../../../base/ovsdb/index.js";

export const INTEGRATION_BRIDGE = "br-int";

export interface DesiredPort {
  /** Of Port and Interface: vm<id>n<index> or nf<id>. */
  readonly name: string;
  readonly type: "dpdkvhostuserclient" | "stream";
  readonly options: Readonly<Record<string, string>>;
  readonly externalIds: Readonly<Record<string, string>>;
  readonly vlan: number;
}

export interface DesiredSwitch {
  /** Where the switch dials its controller, "unix:PATH". */
  readonly controller: string;
  readonly ports: readonly DesiredPort[];
}

/** The tables as they are, by uuid: what OvsdbClient.rows() gives. */
export interface SwitchRows {
  rows(table: "Open_vSwitch" | "Bridge" | "Port" | "Interface" | "Controller"): ReadonlyMap<string, OvsdbRow>;
}

/** Columns that have to be monitored for the plan. */
export const SWITCH_TABLES = {
  Open_vSwitch: { columns: ["bridges"] },
  Bridge: { columns: ["name", "ports", "controller", "fail_mode", "datapath_type", "protocols"] },
  Port: { columns: ["name", "interfaces", "tag"] },
  Interface: { columns: ["name", "type", "options", "external_ids"] },
  Controller: { columns: ["target"] },
} as const;

const OURS = /^(?:vm[0-9a-f]{8}n\d+|nf[0-9a-f]{8})$/;

/** The operations of one transaction; empty when everything is as it should be. */
export function planSwitch(actual: SwitchRows, desired: DesiredSwitch): Operation[] {
  const bridge = [...actual.rows("Bridge").values()].find((row) => row.string("name") === INTEGRATION_BRIDGE);
  return bridge === undefined ? createBridge(actual, desired) : alterBridge(actual, bridge, desired);
}

const BRIDGE_COLUMNS = {
  datapath_type: "netdev",
  fail_mode: "secure",
  protocols: "OpenFlow13",
} as const;

function createBridge(actual: SwitchRows, desired: DesiredSwitch): Operation[] {
  const operations: Operation[] = [
    insertOp("Interface", { name: INTEGRATION_BRIDGE, type: "internal" }, "localInterface"),
    insertOp("Port", { name: INTEGRATION_BRIDGE, interfaces: namedUuid("localInterface") }, "localPort"),
    insertOp("Controller", { target: desired.controller }, "controller"),
  ];
  const ports = desired.ports.map((port, index) => insertPort(port, index, operations));
  const row = {
    ...BRIDGE_COLUMNS,
    name: INTEGRATION_BRIDGE,
    controller: namedUuid("controller"),
    ports: setValue([namedUuid("localPort"), ...ports.map(namedUuid)]),
  };
  operations.push(insertOp("Bridge", row, "bridge"));
  const [root] = actual.rows("Open_vSwitch").keys();
  operations.push(
    root === undefined
      ? insertOp("Open_vSwitch", { bridges: namedUuid("bridge") })
      : mutateOp("Open_vSwitch", byUuid(root), [["bridges", "insert", setValue([namedUuid("bridge")])]]),
  );
  return operations;
}

function alterBridge(actual: SwitchRows, bridge: OvsdbRow, desired: DesiredSwitch): Operation[] {
  const operations: Operation[] = [];
  const columns = Object.entries(BRIDGE_COLUMNS).filter(
    ([column, value]) => bridge.strings(column).join() !== value,
  );
  if (columns.length > 0)
    operations.push(updateOp("Bridge", byUuid(bridge.uuid), Object.fromEntries(columns)));
  const targets = bridge
    .strings("controller")
    .map((uuid) => actual.rows("Controller").get(uuid)?.string("target"));
  if (targets.length !== 1 || targets[0] !== desired.controller) {
    operations.push(insertOp("Controller", { target: desired.controller }, "controller"));
    operations.push(updateOp("Bridge", byUuid(bridge.uuid), { controller: namedUuid("controller") }));
  }
  alterPorts(actual, bridge, desired.ports, operations);
  return operations;
}

function alterPorts(
  actual: SwitchRows,
  bridge: OvsdbRow,
  desired: readonly DesiredPort[],
  operations: Operation[],
): void {
  const wanted = new Map(desired.map((port) => [port.name, port]));
  const removed: string[] = [];
  for (const uuid of bridge.strings("ports")) {
    const row = actual.rows("Port").get(uuid);
    if (row === undefined || !OURS.test(row.string("name"))) continue;
    const port = wanted.get(row.string("name"));
    const device = actual.rows("Interface").get(row.strings("interfaces")[0] ?? "");
    // Another type is another device: made anew.
    if (port === undefined || device === undefined || device.string("type") !== port.type) {
      removed.push(uuid);
      continue;
    }
    wanted.delete(port.name);
    alterPort(row, device, port, operations);
  }
  const added = [...wanted.values()].map((port, index) => insertPort(port, index, operations));
  const mutations = [
    ...(removed.length === 0 ? [] : [["ports", "delete", setValue(removed.map(uuidValue))] as const]),
    ...(added.length === 0 ? [] : [["ports", "insert", setValue(added.map(namedUuid))] as const]),
  ];
  if (mutations.length > 0) operations.push(mutateOp("Bridge", byUuid(bridge.uuid), mutations));
}

function alterPort(row: OvsdbRow, device: OvsdbRow, port: DesiredPort, operations: Operation[]): void {
  if (row.number("tag") !== port.vlan)
    operations.push(updateOp("Port", byUuid(row.uuid), { tag: port.vlan }));
  const columns: Record<string, ReturnType<typeof mapValue>> = {};
  if (!sameMap(device.map("options"), port.options)) columns["options"] = mapValue(port.options);
  if (!sameMap(device.map("external_ids"), port.externalIds))
    columns["external_ids"] = mapValue(port.externalIds);
  if (Object.keys(columns).length > 0) operations.push(updateOp("Interface", byUuid(device.uuid), columns));
}

/** Adds the inserts of one port; its name in the transaction. */
function insertPort(port: DesiredPort, index: number, operations: Operation[]): string {
  const { name, type, vlan } = port;
  operations.push(
    insertOp(
      "Interface",
      { name, type, options: mapValue(port.options), external_ids: mapValue(port.externalIds) },
      `interface${index}`,
    ),
    insertOp("Port", { name, tag: vlan, interfaces: namedUuid(`interface${index}`) }, `port${index}`),
  );
  return `port${index}`;
}

function sameMap(actual: ReadonlyMap<string, string>, desired: Readonly<Record<string, string>>): boolean {
  const entries = Object.entries(desired);
  return actual.size === entries.length && entries.every(([key, value]) => actual.get(key) === value);
}
