// Reads what the connections that a helper watches announce, and expects it.
//
// The text itself is never rewritten. So behind translation only those announcements are expected that are true on the
// other side as they stand: a passive server that keeps its address (227, 229), a 229 of a server whose address is
// translated, and active clients that are not. The others announce nothing, and their data connections are new ones.
// An address that is not the speaker's own is never believed (RFC 2577: the bounce attack).
// Source: RFC 959, 2428; RFC 1350 for TFTP. Thread: datapath worker. Hot: no, only for connections committed with alg.
import type { PacketPool } from "../../base/packet/index.js";
import { ALG_FTP, ALG_TFTP } from "../flow/index.js";
import {
  type ConnectionTable,
  FLAG_DNAT,
  FLAG_FTP,
  FLAG_SNAT,
  FLAG_TFTP,
  REPLY,
} from "./connection-table.js";
import type { Datagram } from "./datagram.js";
import type { Expectations } from "./expectations.js";
import { FTP_LINE_MAX, parseFtp } from "./ftp-wire.js";
import { T_DST, T_KIND, T_PORTS, T_SRC, TCP, TUPLE_WORDS, UDP } from "./tuple.js";

/** The flag of a connection that is committed with this alg. */
export function helperFlag(alg: number, protocol: number): number {
  if (alg === ALG_FTP && protocol === TCP) return FLAG_FTP;
  return alg === ALG_TFTP && protocol === UDP ? FLAG_TFTP : 0;
}

/** An FTP segment of `size` bytes that came along `connection` in `direction`, before it is translated. */
export function watchFtp(
  table: ConnectionTable,
  expectations: Expectations,
  connection: number,
  direction: number,
  pool: PacketPool,
  datagram: Datagram,
  size: number,
  nowMs: number,
): void {
  const payload = pool.bytes.slice(datagram.end - size, datagram.end).slice(0, FTP_LINE_MAX + 2);
  const told = parseFtp(payload, direction !== REPLY);
  if (told === undefined) return;
  const original = connection * 2 * TUPLE_WORDS;
  const reply = original + TUPLE_WORDS;
  const { tuples } = table;
  const flags = table.flags[connection] as number;
  const speaker = told.passive ? reply + T_SRC : original + T_SRC;
  if (told.address !== undefined && !isAddress(tuples, speaker, told.address, datagram.ipv6)) return;
  const kind = tuples[original + T_KIND] as number;
  const snat = (flags & FLAG_SNAT) !== 0;
  const dnat = (flags & FLAG_DNAT) !== 0;
  if (!told.passive) {
    if (snat) return;
    const e = expectations.add(tuples, reply + T_SRC, tuples, original + T_SRC, told.port, kind, nowMs);
    inherit(table, expectations, e, connection);
    if (dnat) expectations.translated(e, T_DST, tuples, original + T_DST, -1);
    return;
  }
  if (dnat && told.address !== undefined) return;
  const e = expectations.add(tuples, original + T_SRC, tuples, original + T_DST, told.port, kind, nowMs);
  inherit(table, expectations, e, connection);
  if (dnat) expectations.translated(e, T_SRC, tuples, reply + T_SRC, told.port);
  if (snat) expectations.translated(e, T_DST, tuples, reply + T_DST, -1);
}

/** A request of a TFTP client: the server answers from a port of its own. */
export function watchTftp(
  table: ConnectionTable,
  expectations: Expectations,
  connection: number,
  nowMs: number,
): void {
  const original = connection * 2 * TUPLE_WORDS;
  const reply = original + TUPLE_WORDS;
  const { tuples } = table;
  const port = (tuples[reply + T_PORTS] as number) & 0xffff;
  const kind = tuples[original + T_KIND] as number;
  const e = expectations.add(tuples, reply + T_SRC, tuples, reply + T_DST, port, kind, nowMs);
  inherit(table, expectations, e, connection);
  const flags = table.flags[connection] as number;
  if ((flags & FLAG_DNAT) !== 0) expectations.translated(e, T_DST, tuples, original + T_DST, -1);
  if ((flags & FLAG_SNAT) !== 0)
    expectations.translated(
      e,
      T_SRC,
      tuples,
      original + T_SRC,
      (tuples[original + T_PORTS] as number) >>> 16,
    );
}

function inherit(table: ConnectionTable, expectations: Expectations, e: number, connection: number): void {
  const at = connection * 2 * TUPLE_WORDS;
  expectations.inherits(e, table.tuples, at, table.marks[connection] as number, table.labels, connection * 4);
}

function isAddress(tuples: Int32Array, at: number, address: Uint8Array, ipv6: boolean): boolean {
  if ((address.byteLength === 16) !== ipv6) return false;
  const view = new DataView(address.buffer, address.byteOffset);
  for (let i = 0; i < address.byteLength / 4; i++) if (view.getInt32(i * 4) !== tuples[at + i]) return false;
  return true;
}
