// Bytes of the messages about the channel and the switch as a whole: hello, error, echo, features,
// configuration, table-mod, role, asynchronous configuration.
// Source: OpenFlow Switch Specification 1.3.5, 7.3.1–7.3.3, 7.3.9, 7.3.10, 7.4.4, 7.5.

import { OFP13_VERSION } from "./constants.js";
import { OFPET_EXPERIMENTER } from "./error-codes.js";
import type {
  AsyncConfig,
  AsyncMask,
  ControllerRole,
  ErrorMessage,
  ExperimenterError,
  FeaturesReply,
  Hello,
  PortDescription,
  Role,
  SwitchConfig,
  TableMod,
} from "./messages.js";
import { readPortDescription } from "./port-wire.js";
import { nameOf, type Reader, type Writer } from "./wire.js";

const OFPHET_VERSIONBITMAP = 1;
const OFPCR_ROLE: Readonly<Record<ControllerRole, number>> = { nochange: 0, equal: 1, master: 2, slave: 3 };

/** Versions of OpenFlow fit one word of the bitmap; more words are read but can name only versions up to 255. */
const HELLO_VERSION_MAX = 255;

/** Unknown elements are skipped, as 7.5.1 asks. */
export function readHello(reader: Reader, xid: number, version: number): Hello {
  let versions: number[] | undefined;
  while (reader.left >= 4) {
    const at = reader.offset;
    const type = reader.u16("hello.element.type");
    const length = reader.u16("hello.element.length");
    if (length < 4)
      throw reader.fail("OFPBRC_BAD_LEN", "hello.element.length", `${length} is less than 4`, at);
    const body = reader.within(length - 4, "hello.element");
    reader.skip(Math.min(reader.left, (8 - (length % 8)) % 8));
    if (type === OFPHET_VERSIONBITMAP) versions = readBitmap(body);
  }
  reader.skip(reader.left);
  return versions === undefined ? { type: "hello", xid, version } : { type: "hello", xid, version, versions };
}

function readBitmap(body: Reader): number[] {
  const versions: number[] = [];
  for (let base = 0; body.left >= 4 && base <= HELLO_VERSION_MAX; base += 32) {
    const word = body.u32("hello.bitmap");
    for (let bit = 0; bit < 32; bit++) if ((word & (1 << bit)) !== 0) versions.push(base + bit);
  }
  return versions;
}

export function writeHello(writer: Writer, hello: Hello): void {
  if (hello.versions === undefined) return;
  const start = writer.size;
  const words = Math.floor(Math.max(0, ...hello.versions) / 32) + 1;
  writer.u16(OFPHET_VERSIONBITMAP).u16(4 + words * 4);
  for (let word = 0; word < words; word++) {
    const inWord = hello.versions.filter((version) => Math.floor(version / 32) === word);
    writer.u32(inWord.reduce((bits, version) => bits | (1 << (version % 32)), 0) >>> 0);
  }
  writer.align8(start);
}

export function readError(reader: Reader, xid: number): ErrorMessage | ExperimenterError {
  const errorType = reader.u16("error.type");
  const code = reader.u16("error.code");
  if (errorType !== OFPET_EXPERIMENTER) return { type: "error", xid, errorType, code, data: reader.rest() };
  const experimenter = reader.u32("error.experimenter");
  return { type: "experimenter_error", xid, expType: code, experimenter, data: reader.rest() };
}

export function writeError(writer: Writer, error: ErrorMessage): void {
  writer.u16(error.errorType).u16(error.code).put(error.data);
}

export function writeExperimenterError(writer: Writer, error: ExperimenterError): void {
  writer.u16(OFPET_EXPERIMENTER).u16(error.expType).u32(error.experimenter).put(error.data);
}

export function readFeaturesReply(reader: Reader, xid: number): FeaturesReply {
  const datapathId = reader.u64("features.datapath_id");
  const bufferCount = reader.u32("features.n_buffers");
  const tableCount = reader.u8("features.n_tables");
  const auxiliary = reader.u8("features.auxiliary_id");
  reader.skip(2);
  const capabilities = reader.u32("features.capabilities");
  reader.skip(4);
  const auxiliaryId = reader.version < OFP13_VERSION ? 0 : auxiliary;
  const reply = { type: "features_reply", xid, datapathId, bufferCount, tableCount, auxiliaryId } as const;
  if (reader.version >= OFP13_VERSION) return { ...reply, capabilities };
  const ports: PortDescription[] = [];
  while (reader.left > 0) ports.push(readPortDescription(reader));
  return { ...reply, capabilities, openflow10: { actions: 0, ports } };
}

export function writeFeaturesReply(writer: Writer, reply: FeaturesReply): void {
  writer.u64(reply.datapathId).u32(reply.bufferCount).u8(reply.tableCount).u8(reply.auxiliaryId).zero(2);
  writer.u32(reply.capabilities).u32(0);
}

export function readConfig(reader: Reader, xid: number, type: SwitchConfig["type"]): SwitchConfig {
  return { type, xid, flags: reader.u16("config.flags"), missSendLength: reader.u16("config.miss_send_len") };
}

export function writeConfig(writer: Writer, config: SwitchConfig): void {
  writer.u16(config.flags).u16(config.missSendLength);
}

export function readTableMod(reader: Reader, xid: number): TableMod {
  const tableId = reader.u8("table_mod.table_id");
  reader.skip(3);
  return { type: "table_mod", xid, tableId, config: reader.u32("table_mod.config") };
}

export function writeTableMod(writer: Writer, message: TableMod): void {
  writer.u8(message.tableId).zero(3).u32(message.config);
}

export function readRole(reader: Reader, xid: number, type: Role["type"]): Role {
  const at = reader.offset;
  const code = reader.u32("role.role");
  reader.skip(4);
  const generationId = reader.u64("role.generation_id");
  const role = nameOf(OFPCR_ROLE, code);
  if (role === undefined) throw reader.fail("OFPRRFC_BAD_ROLE", "role.role", `unknown role ${code}`, at);
  return { type, xid, role, generationId };
}

export function writeRole(writer: Writer, message: Role): void {
  writer.u32(OFPCR_ROLE[message.role]).zero(4).u64(message.generationId);
}

export function readAsync(reader: Reader, xid: number, type: AsyncConfig["type"]): AsyncConfig {
  const pair = (field: string): AsyncMask => [reader.u32(field), reader.u32(field)];
  return {
    type,
    xid,
    packetIn: pair("async.packet_in_mask"),
    portStatus: pair("async.port_status_mask"),
    flowRemoved: pair("async.flow_removed_mask"),
  };
}

export function writeAsync(writer: Writer, config: AsyncConfig): void {
  for (const [active, slave] of [config.packetIn, config.portStatus, config.flowRemoved]) {
    writer.u32(active).u32(slave);
  }
}
