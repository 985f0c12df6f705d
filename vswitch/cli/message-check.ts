// What Open vSwitch refuses already when it reads a message, where our codec leaves it to who carries the message out.
// For the printing of recorded messages. Pure.
import {
  type FlowMonitorRequest,
  kindOf,
  type Match,
  type MeterBand,
  type MultipartReplyBody,
  type MultipartRequestBody,
  OFP15_VERSION,
  OFPG_MAX,
  OFPP_ANY,
  OFPP_MAX,
  OFPTT_ALL,
  type OfpErrorName,
  type OpenFlowMessage,
  type OxmEntry,
  type OxmFieldName,
  type PacketIn,
  parseHeader,
  type ReaderChecks,
  sizeFits,
  type TableFeatures,
} from "../../base/openflow/index.js";
import { fitsThere, instructionsFault, listFault, readFault } from "./action-check.js";

const BUNDLED = new Set(["OFPT_FLOW_MOD", "OFPT_GROUP_MOD", "OFPT_PORT_MOD", "OFPT_PACKET_OUT"]);
const FRAGMENT_FLAGS = 3;
const INVALID_TTL_FLAG = 4;
/** Reasons that there are, a bit for each. */
const ASYNC_BITS = { packetIn: 0x07, portStatus: 0x07, flowRemoved: 0x3f } as const;
const OFP12_VERSION = 3;
const OFPFF_ALL = 0x1f;
/** Every bit that a state of a connection has. */
const CT_STATES = 0xff;
const NSH_TTL_MAX = 63;

/** The name of the error, as ovs-ofctl prints it; undefined when there is nothing to refuse. */
export function faultOfMessage(message: OpenFlowMessage, version: number): string | undefined {
  return (
    (message.type === "multipart_request" ? monitorFault(message.body) : undefined) ??
    matchesOf(message).map(matchFault).find(isDefined) ??
    tableFault(message) ??
    cookieFault(message) ??
    actionsFault(message, version) ??
    faultOf(message, version)
  );
}

/** What a flow monitor must ask for: any of its events. */
function monitorFault(body: MultipartRequestBody): string | undefined {
  if (body.kind !== "flow_monitor") return undefined;
  const asks = ({ flags }: FlowMonitorRequest): boolean => flags.add || flags.delete || flags.modify;
  return body.monitors.every(asks) ? undefined : "OFPMOFC_BAD_FLAGS";
}

function faultOf(message: OpenFlowMessage, version: number): string | undefined {
  switch (message.type) {
    case "set_config": {
      const known = FRAGMENT_FLAGS | (version <= OFP12_VERSION ? INVALID_TTL_FLAG : 0);
      return (message.flags & ~known) === 0 ? undefined : "OFPSCFC_BAD_FLAGS";
    }
    case "group_mod":
      return groupFault(message);
    case "meter_mod": {
      return message.bands.map(bandFault).find(isDefined);
    }
    case "queue_get_config_request":
      return message.port >= OFPP_MAX && message.port !== OFPP_ANY ? "OFPQOFC_BAD_PORT" : undefined;
    case "set_async_properties":
      return message.changes.some(({ message: which, mask }) => (mask & ~ASYNC_BITS[which]) !== 0)
        ? "OFPACFC_INVALID"
        : undefined;
    case "packet_in":
      return message.encoding === "nxm2" && !holdsPacket(message) ? "OFPBRC_BAD_LEN" : undefined;
    case "bundle_add":
      return bundledFault(message.message, message.xid, version);
    case "multipart_request":
      return message.body.kind === "table_features" ? tablesFault(message.body.tables, version) : undefined;
    case "multipart_reply":
      if (message.body.kind === "table_features") return tablesFault(message.body.tables, version);
      return message.body.kind === "meter_config"
        ? message.body.meters.flatMap(({ bands }) => bands.map(bandFault)).find(isDefined)
        : undefined;
    default:
      return undefined;
  }
}

function holdsPacket({ totalLength, data }: PacketIn): boolean {
  return data.byteLength > 0 && totalLength >= data.byteLength;
}

/** NXM has the cookie among its fields, where no bit may stand outside its mask. */
function cookieFault(message: OpenFlowMessage): string | undefined {
  const { cookie, cookieMask } =
    message.type === "flow_mod" && message.openflow10 === true
      ? message
      : message.type === "multipart_request" && "encoding" in message.body && message.body.encoding === "nxm"
        ? message.body
        : { cookie: 0n, cookieMask: 0n };
  return cookieMask !== 0n && (cookie & ~cookieMask) !== 0n ? "OFPBMC_BAD_WILDCARDS" : undefined;
}

function tableFault(message: OpenFlowMessage): string | undefined {
  if (message.type !== "flow_mod" || message.tableId !== OFPTT_ALL) return undefined;
  return message.command.startsWith("delete") || message.openflow10 === true
    ? undefined
    : "OFPFMFC_BAD_TABLE_ID";
}

function groupFault(mod: OpenFlowMessage & { type: "group_mod" }): string | undefined {
  const { command, groupType, buckets } = mod;
  if (command === "delete") return buckets.length > 0 ? "OFPGMFC_INVALID_GROUP" : undefined;
  if (groupType === "indirect" && buckets.length !== 1) return "OFPGMFC_INVALID_GROUP";
  if (groupType !== "select" && buckets.some(({ weight }) => weight > 0)) return "OFPGMFC_INVALID_GROUP";
  const watched = buckets.every(
    ({ watchPort, watchGroup }) => watchPort !== OFPP_ANY || watchGroup <= OFPG_MAX,
  );
  return groupType === "ff" && !watched ? "OFPGMFC_INVALID_GROUP" : undefined;
}

/** Bands of others are unknown there, and all bands have one size. */
function bandFault(band: MeterBand): string | undefined {
  if (band.type !== "experimenter") return undefined;
  return band.data.byteLength === 0 ? "OFPMMFC_BAD_BAND" : "OFPBRC_BAD_LEN";
}

const REQUIRED = [
  ...(["instructions", "next_tables", "write_actions", "apply_actions", "match", "wildcards"] as const),
  ...(["write_setfield", "apply_setfield"] as const),
];

function tablesFault(tables: readonly TableFeatures[], version: number): string | undefined {
  for (const { properties } of tables) {
    // 1.5 asks for them only where there are any.
    if (properties.length === 0 && version >= OFP15_VERSION) continue;
    const masked = properties.some(
      (one) => "fields" in one && one.type !== "match" && one.fields.some(({ maskable }) => maskable),
    );
    if (masked) return "OFPBMC_BAD_MASK";
    if (REQUIRED.some((type) => !properties.some((one) => one.type === type && !one.miss)))
      return "OFPTFFC_BAD_FEATURES";
  }
  return undefined;
}

function bundledFault(bytes: Uint8Array, xid: number, version: number): string | undefined {
  const header = parseHeader(bytes);
  if (header === undefined || header.length !== bytes.byteLength) return "OFPBFC_MSG_BAD_LEN";
  if (header.version !== version) return "OFPBFC_BAD_VERSION";
  if (header.xid !== xid) return "OFPBFC_MSG_BAD_XID";
  const kind = kindOf(bytes);
  return typeof kind === "string" || !sizeFits(kind, header.length) || !BUNDLED.has(kind.name)
    ? "OFPBFC_MSG_UNSUP"
    : undefined;
}

function isDefined<T>(value: T | undefined): value is T {
  return value !== undefined;
}

function matchesOf(message: OpenFlowMessage): readonly Match[] {
  switch (message.type) {
    case "flow_mod":
    case "flow_removed":
    case "packet_in":
      return [message.match];
    case "multipart_request":
      if (message.body.kind === "flow" || message.body.kind === "aggregate") return [message.body.match];
      return message.body.kind === "flow_monitor" ? message.body.monitors.map(({ match }) => match) : [];
    case "multipart_reply":
      return message.body.kind === "flow_monitor"
        ? message.body.updates.flatMap((update) => (update.event === "abbreviated" ? [] : [update.match]))
        : [];
    default:
      return [];
  }
}

/** Fields that Open vSwitch has in one place; what asks for something there has to come once. */
function placesOf(field: OxmFieldName): readonly string[] {
  const [, wide, number] = /^(x{0,2})reg(\d+)$/.exec(field) ?? [];
  if (wide !== undefined) {
    const count = 1 << wide.length;
    return Array.from({ length: count }, (_, i) => `reg${Number(number) * count + i}`);
  }
  if (field === "vlan_tci") return ["vlan_vid", "vlan_pcp"];
  if (field === "nxm_in_port") return ["in_port"];
  return field === "ip_tos" ? ["ip_dscp"] : [field];
}

/** Those of its places of which an entry asks for some bits. */
function askedPlaces({ field, mask }: OxmEntry): readonly string[] {
  // What has a priority has a tag.
  const places = field === "vlan_pcp" ? ["vlan_vid", "vlan_pcp"] : placesOf(field);
  if (mask === undefined) return places;
  if (field === "vlan_tci") {
    const [high, low] = [mask[0] as number, mask[1] as number];
    return [...((high & 0x1f) + low === 0 ? [] : ["vlan_vid"]), ...((high & 0xe0) === 0 ? [] : ["vlan_pcp"])];
  }
  const size = mask.byteLength / places.length;
  return places.filter((_, i) => mask.subarray(i * size, (i + 1) * size).some((byte) => byte !== 0));
}

/** For parseMessage(): what Open vSwitch refuses as soon as it has read it. */
export const READER_CHECKS: ReaderChecks = { matchEntry: entryFault, actions: readFault };

function entryFault({ field, value }: OxmEntry): OfpErrorName | undefined {
  const number = Number(value.reduce((sum, byte) => sum * 256 + byte, 0));
  const isWrong =
    (field === "ct_state" && number > CT_STATES) ||
    (field === "nsh_ttl" && number > NSH_TTL_MAX) ||
    (field === "nsh_mdtype" && number !== 1 && number !== 2) ||
    !fitsThere(field, value);
  return isWrong ? "OFPBMC_BAD_VALUE" : undefined;
}

/** Bytes of all options of a tunnel, each in whole words. */
const TUN_METADATA_SIZE_MAX = 256;

function matchFault(match: Match): string | undefined {
  const places = new Set<string>();
  const options = match.filter(({ field }) => field.startsWith("tun_metadata"));
  if (
    options.reduce((sum, { value }) => sum + 4 * Math.ceil(value.byteLength / 4), 0) > TUN_METADATA_SIZE_MAX
  )
    return "OFPBMC_BAD_VALUE";
  for (const entry of match) {
    if (placesOf(entry.field).some((place) => places.has(place))) return "OFPBMC_DUP_FIELD";
    for (const place of askedPlaces(entry)) places.add(place);
  }
  const packetType = match.find(({ field }) => field === "packet_type");
  const isEthernet = packetType?.value.every((byte) => byte === 0) ?? true;
  if (!isEthernet && match.some(({ field }) => /^(eth|vlan)_/.test(field))) return "OFPBMC_BAD_PREREQ";
  return undefined;
}

function actionsFault(message: OpenFlowMessage, version: number): string | undefined {
  switch (message.type) {
    case "flow_mod":
      return instructionsFault(message.instructions, message.match, message.tableId, version);
    case "packet_out":
      return listFault(message.actions, version);
    case "group_mod":
      return message.buckets.map(({ actions }) => listFault(actions)).find(isDefined);
    case "multipart_reply":
      return replyFault(message.body, version);
    default:
      return undefined;
  }
}

function replyFault(body: MultipartReplyBody, version: number): string | undefined {
  switch (body.kind) {
    case "flow":
      return body.flows
        .map(
          ({ instructions, match, flags }) =>
            matchFault(match) ??
            ((flags & ~OFPFF_ALL) === 0
              ? instructionsFault(instructions, match, undefined, version, true)
              : "OFPFMFC_BAD_FLAGS"),
        )
        .find(isDefined);
    case "group_desc":
      return body.groups
        .flatMap(({ buckets }) => buckets.map(({ actions }) => listFault(actions)))
        .find(isDefined);
    case "flow_monitor":
      return body.updates
        .map((update) =>
          update.event === "abbreviated"
            ? undefined
            : instructionsFault(update.instructions, undefined, undefined, version),
        )
        .find(isDefined);
    default:
      return undefined;
  }
}
