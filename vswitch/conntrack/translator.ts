// Translates packets of known connections, and ICMP errors about them, as their connections say.
// Source: RFC 3022, RFC 5508. Thread: datapath worker. Hot: yes.
import type { PacketPool } from "../../base/packet/index.js";
import { FlowKey, type Headers } from "../flow/index.js";
import { translationBit } from "./connection-key.js";
import { tupleAt } from "./connection-memory.js";
import { type ConnectionTable, FLAG_DNAT, FLAG_FTP, FLAG_SNAT } from "./connection-table.js";
import type { FtpHelper } from "./ftp-helper.js";
import type { ObservedPacket } from "./observed-packet.js";
import { translate, translateError } from "./translate.js";

/** The connection's packets are translated. */
export const TRANSLATED = FLAG_SNAT | FLAG_DNAT;

export class Translator {
  readonly #pool: PacketPool;
  readonly #table: ConnectionTable;
  readonly #ftp: FtpHelper;

  constructor(pool: PacketPool, table: ConnectionTable, ftp: FtpHelper) {
    this.#pool = pool;
    this.#table = table;
    this.#ftp = ftp;
  }

  /** A packet of the connection; what has been translated before is only told in the key. */
  packet(
    observed: ObservedPacket,
    connection: number,
    direction: number,
    key: Int32Array,
    headers: Headers,
  ): void {
    const flags = this.#table.flagsOf(connection);
    if ((flags & TRANSLATED) === 0) return;
    key[FlowKey.K_CT_STATE] = key[FlowKey.K_CT_STATE]! | translationBit((flags & FLAG_SNAT) !== 0, direction);
    if (observed.isTranslated) return;
    const { bytes, view } = this.#pool;
    const { datagram } = observed;
    const other = tupleAt(connection * 2 + (1 - direction));
    translate(this.#table.tuples, other, bytes, view, key, headers, datagram);
    if ((flags & FLAG_FTP) !== 0) this.#ftp.adjust(connection, direction, observed.packet, datagram, headers);
  }

  /** An ICMP error about a packet of the connection; `direction` is the one that the error travels in. */
  error(observed: ObservedPacket, connection: number, direction: number, key: Int32Array): void {
    const flags = this.#table.flagsOf(connection);
    if ((flags & TRANSLATED) === 0) return;
    key[FlowKey.K_CT_STATE] = key[FlowKey.K_CT_STATE]! | translationBit((flags & FLAG_SNAT) !== 0, direction);
    const { bytes, view } = this.#pool;
    const { quoted, datagram } = observed;
    if ((flags & FLAG_FTP) !== 0) {
      const at = quoted.l4 + 4;
      view.setInt32(at, this.#ftp.sentOf(connection, 1 - direction, view.getInt32(at)));
    }
    const seen = tupleAt(connection * 2 + direction);
    const sent = tupleAt(connection * 2 + 1 - direction);
    translateError(this.#table.tuples, seen, sent, bytes, view, key, datagram, quoted);
  }
}
