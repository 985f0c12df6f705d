// Reads the switch's configuration out of the database. Pure: rows in, SwitchConfig out.
// Source: ovs-vswitchd.conf.db(5). Invariant: any rows that the schema allows give a model; what cannot be done
// carries its error.
import { createHash } from "node:crypto";
import { cpus } from "node:os";
import { isInterfaceName } from "../../base/linux/index.js";
import type { TlsFiles } from "../../base/tls/index.js";
import { CONNECTIONS_MAX } from "../conntrack/index.js";
import type { Database, DatabaseRow } from "../db/index.js";
import { TAGS_READ_MAX } from "../learn/index.js";
import { type DummyAddresses, type DummyMode, datapathOf, isDummyPort } from "./dummy.js";
import type {
  BridgeConfig,
  BridgeModel,
  ControllerConfig,
  ManagerConfig,
  PortConfig,
  SwitchConfig,
} from "./model.js";
import { readFlowTables } from "./read-flow-tables.js";
import { readMirrors } from "./read-mirrors.js";
import { readQos } from "./read-qos.js";
import { readAffinity, readThreads, SPREAD_TYPES } from "./read-threads.js";
import { unsupportedOfBridge, unsupportedOfInterface } from "./read-unsupported.js";
import { readVlan } from "./read-vlan.js";
import { readZoneTimeouts } from "./read-zones.js";
import { readConnectionsMax } from "./start-config.js";

/** Interface types that there always are; "" means "system" in the database. */
export const INTERFACE_TYPES: readonly string[] = [
  "afxdp",
  "dpdkvhostuser",
  "dpdkvhostuserclient",
  "internal",
  "patch",
  "stream",
  "system",
  "tap",
];

/** Whose name is that of a network device. */
const DEVICE_TYPES: readonly string[] = ["afxdp", "system", "tap"];

const MAC = /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/;
const MAC_AGING_S = 300;
const MAC_TABLE_SIZE = 8192;
const STATS_INTERVAL_MS = 5_000;
const EMPTY: SwitchConfig = {
  bridges: [],
  nextCfg: 0,
  managers: [],
  tls: undefined,
  statsIntervalMs: STATS_INTERVAL_MS,
  wantsStatistics: false,
  threads: { cores: [], sleeps: true, assignment: "cycles", isolates: true, problems: [] },
  connectionsMax: CONNECTIONS_MAX,
  zoneTimeouts: [],
};
const BRIDGE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,63}$/;

export interface ReadOptions {
  /** Where dpdkvhostuser ports make their sockets. */
  readonly dir: string;
  readonly dummy: DummyMode;
  /** Processors of the machine; as it says when absent. */
  readonly coresMax?: number;
  readonly addresses: DummyAddresses;
}

export function readModel(database: Database, options: ReadOptions): SwitchConfig {
  const [root] = database.rows("Open_vSwitch").values();
  if (root === undefined) return EMPTY;
  const otherConfig = root.map("other_config");
  const threads = readThreads(otherConfig, options.coresMax ?? cpus().length);
  const problems = [...threads.problems];
  const connectionsMax = readConnectionsMax(otherConfig, problems);
  const tagsRead = boundedInteger(otherConfig.get("vlan-limit"), 1, 0, TAGS_READ_MAX) || TAGS_READ_MAX;
  return {
    bridges: rowsOf(database, root, "bridges", "Bridge").map((row) =>
      readBridge(database, row, { ...options, tagsRead, tls: readTls(database, root), cores: threads.cores }),
    ),
    nextCfg: root.integer("next_cfg") ?? 0,
    managers: rowsOf(database, root, "manager_options", "Manager").map(readManager),
    tls: readTls(database, root),
    statsIntervalMs: boundedInteger(
      otherConfig.get("stats-update-interval"),
      STATS_INTERVAL_MS,
      STATS_INTERVAL_MS,
      999_999_999,
    ),
    threads: { ...threads, problems },
    connectionsMax,
    wantsStatistics: otherConfig.get("enable-statistics") === "true",
    zoneTimeouts: readZoneTimeouts(database, root),
  };
}

function readManager(row: DatabaseRow): ManagerConfig {
  return {
    uuid: row.uuid,
    target: row.string("target"),
    inactivityProbeMs: row.number("inactivity_probe"),
    maxBackoffMs: row.number("max_backoff"),
  };
}

function readTls(database: Database, root: DatabaseRow): TlsFiles | undefined {
  const [row] = rowsOf(database, root, "ssl", "SSL");
  if (row === undefined) return undefined;
  return {
    privateKey: row.string("private_key"),
    certificate: row.string("certificate"),
    caCert: row.string("ca_cert"),
    bootstrapCaCert: row.boolean("bootstrap_ca_cert"),
  };
}

function readBridge(
  database: Database,
  row: DatabaseRow,
  options: ReadOptions & {
    readonly tagsRead: number;
    readonly tls: TlsFiles | undefined;
    readonly cores: readonly number[];
  },
): BridgeModel {
  const name = row.string("name");
  const otherConfig = row.map("other_config");
  const { dummy, addresses } = options;
  const macAddress =
    macOf(otherConfig.get("hwaddr")) ?? (dummy === "off" ? derivedMac(row.uuid) : addresses.of(row.uuid));
  const datapathType = row.string("datapath_type");
  const config: BridgeConfig = {
    uuid: row.uuid,
    name,
    datapath: datapathOf(datapathType, dummy) ?? "",
    datapathId: datapathIdOf(otherConfig.get("datapath-id"), macAddress),
    macAddress,
    failMode: row.string("fail_mode") === "secure" ? "secure" : "standalone",
    protocols: row.strings("protocols"),
    controllers: rowsOf(database, row, "controller", "Controller").map(readController),
    tls: options.tls,
    macAgingMs: 1000 * boundedInteger(otherConfig.get("mac-aging-time"), MAC_AGING_S, 15, 3600),
    macTableSizeMax: boundedInteger(otherConfig.get("mac-table-size"), MAC_TABLE_SIZE, 10, 1_000_000),
    floodVlans: row.numbers("flood_vlans"),
    forwardReserved: otherConfig.get("forward-bpdu") === "true",
    tagsRead: options.tagsRead,
    mirrors: readMirrors(database, row),
    flowTables: readFlowTables(database, row),
    serialNumber: otherConfig.get("dp-sn") ?? "None",
    description: otherConfig.get("dp-desc") ?? name,
  };
  const ports = rowsOf(database, row, "ports", "Port").flatMap((port) =>
    readPort(database, port, config, options),
  );
  return {
    config,
    ports,
    error: bridgeError(config, datapathType),
    unsupported: unsupportedOfBridge(database, row),
  };
}

function bridgeError({ name, datapath }: BridgeConfig, type: string): string | undefined {
  if (!BRIDGE_NAME.test(name)) return `"${name}" cannot name a bridge`;
  return datapath === "" ? `there is no datapath type "${type}"` : undefined;
}

function readController(row: DatabaseRow): ControllerConfig {
  return {
    uuid: row.uuid,
    target: row.string("target"),
    inactivityProbeMs: row.number("inactivity_probe") ?? 5000,
    maxBackoffMs: row.number("max_backoff") ?? 8000,
  };
}

function readPort(
  database: Database,
  row: DatabaseRow,
  bridge: BridgeConfig,
  options: ReadOptions & { readonly cores: readonly number[] },
): PortConfig[] {
  const interfaces = rowsOf(database, row, "interfaces", "Interface");
  const vlan = readVlan(row);
  const qos = readQos(database, row);
  const portError = interfaces.length > 1 ? "bonds of several interfaces are not built" : undefined;
  return interfaces.map((iface) => {
    const name = iface.string("name");
    const type = name === bridge.name ? "internal" : iface.string("type") || "system";
    const interfaceOptions = Object.fromEntries(iface.map("options"));
    const isDummy = isDummyPort(type, options.dummy);
    const { affinity, isHeeded } = readAffinity(iface, options.cores, SPREAD_TYPES.includes(type));
    const ofportBefore = iface.number("ofport");
    return {
      uuid: iface.uuid,
      name,
      type,
      isDummy,
      options:
        type === "dpdkvhostuser" ? { ...interfaceOptions, path: `${options.dir}/${name}` } : interfaceOptions,
      macAddress:
        macOf(iface.optionalString("mac")) ??
        (name === bridge.name ? bridge.macAddress : undefined) ??
        (isDummy ? options.addresses.of(iface.uuid) : derivedMac(iface.uuid)),
      mtu: iface.number("mtu_request"),
      vlan,
      isProtected: row.boolean("protected"),
      qos,
      ...(affinity === undefined ? {} : { affinity }),
      unsupported: [
        ...unsupportedOfInterface(database, row, iface),
        ...(isHeeded ? [] : ["other_config:pmd-rxq-affinity"]),
      ],
      policing: {
        rateKbps: iface.number("ingress_policing_rate") ?? 0,
        burstKb: iface.number("ingress_policing_burst") ?? 0,
        rateKpkts: iface.number("ingress_policing_kpkts_rate") ?? 0,
        burstKpkts: iface.number("ingress_policing_kpkts_burst") ?? 0,
      },
      ofportRequest: iface.number("ofport_request"),
      ofportBefore: ofportBefore !== undefined && ofportBefore > 0 ? ofportBefore : undefined,
      error: portError ?? interfaceError(name, type, interfaceOptions, options.dummy),
    };
  });
}

function interfaceError(
  name: string,
  type: string,
  options: Readonly<Record<string, string>>,
  dummy: DummyMode,
): string | undefined {
  if (isDummyPort(type, dummy)) return undefined;
  if (DEVICE_TYPES.includes(type) && !isInterfaceName(name))
    return `could not open network device ${name} (Invalid argument)`;
  if (!INTERFACE_TYPES.includes(type)) return `there is no interface type "${type}"`;
  if (type === "patch") return patchError(name, options);
  const required = { dpdkvhostuserclient: "vhost-server-path", stream: "path" }[type];
  if (required !== undefined && !options[required]) return `type ${type} needs options:${required}`;
  if (type === "dpdkvhostuser" && !BRIDGE_NAME.test(name)) return `"${name}" cannot name a socket`;
  return undefined;
}

function patchError(name: string, options: Readonly<Record<string, string>>): string | undefined {
  const { peer } = options;
  if (peer === undefined) return `${name}: patch type requires valid 'peer' argument`;
  if (Object.keys(options).length > 1) return `${name}: patch type takes only a 'peer' argument`;
  return peer === name ? `${name}: patch peer must not be self` : undefined;
}

function rowsOf(database: Database, row: DatabaseRow, column: string, table: string): DatabaseRow[] {
  const rows = database.rows(table);
  const found = row.strings(column).flatMap((uuid) => rows.get(uuid) ?? []);
  // By name, so that the same configuration is carried out in the same order whatever the uuids.
  return found.sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
}

function sortKey(row: DatabaseRow): string {
  return row.string(row.schema.columns.has("name") ? "name" : "target");
}

function macOf(text: string | undefined): string | undefined {
  return text !== undefined && MAC.test(text) && (Number.parseInt(text.slice(0, 2), 16) & 1) === 0
    ? text.toLowerCase()
    : undefined;
}

/** A locally administered address that stays with the row. */
function derivedMac(uuid: string): string {
  const digest = createHash("sha256").update(uuid).digest();
  digest[0] = ((digest[0] as number) & 0xfc) | 0x02;
  return [...digest.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function datapathIdOf(text: string | undefined, macAddress: string): string {
  const hex = text?.replace(/^0x/i, "").toLowerCase();
  if (hex !== undefined && /^[0-9a-f]{1,16}$/.test(hex) && !/^0+$/.test(hex)) return hex.padStart(16, "0");
  return macAddress.replaceAll(":", "").padStart(16, "0");
}

function boundedInteger(text: string | undefined, absent: number, min: number, max: number): number {
  if (text === undefined || !/^\d{1,9}$/.test(text)) return absent;
  return Math.min(max, Math.max(min, Number(text)));
}
