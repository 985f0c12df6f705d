// Commits new connections: within the limits of their zone, with a reply tuple of their own, watched by their helper.
// Source: ovs-actions(7) ct(commit). Invariant: the table never has two connections with one tuple. Thread: datapath
// worker. Hot: yes.
import {
  ALG_FTP,
  ALG_TFTP,
  type CtProgram,
  DROP_CONNTRACK_FULL,
  DROP_CONNTRACK_ZONE_LIMIT,
  DROP_NAT_EXHAUSTED,
} from "../flow/index.js";
import {
  type ConnectionTable,
  FLAG_DNAT,
  FLAG_FTP,
  FLAG_RELATED,
  FLAG_SNAT,
  FLAG_TFTP,
} from "./connection-table.js";
import type { Expectations } from "./expectations.js";
import type { FtpHelper } from "./ftp-helper.js";
import { chooseExpectedReply, chooseReply } from "./nat.js";
import type { ObservedPacket } from "./observed-packet.js";
import type { TcpPeers } from "./tcp.js";
import { watchTftp } from "./tftp-helper.js";
import * as T from "./timeouts.js";
import { invert, isIcmp, T_KIND, TCP, TUPLE_WORDS, UDP } from "./tuple.js";
import type { Zones } from "./zones.js";

export interface OpenerModules {
  readonly zones: Zones;
  readonly table: ConnectionTable;
  readonly peers: TcpPeers;
  readonly expectations: Expectations;
  readonly ftp: FtpHelper;
}

export class ConnectionOpener {
  /** The connection that open() has made. */
  opened = -1;
  readonly #modules: OpenerModules;
  readonly #reply = new Int32Array(TUPLE_WORDS);
  /** First tuples of the parents of announced connections. */
  readonly #parents = new Map<number, Int32Array>();

  constructor(modules: OpenerModules) {
    this.#modules = modules;
  }

  /** The first tuple of the connection that has announced this one. */
  parentOf(connection: number): Int32Array | undefined {
    return this.#parents.get(connection);
  }

  /** The connection is over. */
  forget(connection: number): void {
    this.#parents.delete(connection);
  }

  /**
   * Commits the connection that the packet begins; `expected` is the expectation that it meets, or −1. Returns −1, or the
   * drop reason when it may not be.
   */
  open(observed: ObservedPacket, ct: CtProgram, expected: number, port: number, nowMs: number): number {
    const { zones, table, peers, expectations } = this.#modules;
    const { tuple } = observed;
    const { protocol } = observed.datagram;
    const zone = tuple[T_KIND]! & 0xffff;
    const limit = zones.limitOf(zone);
    if (limit > 0 && table.zoneCount(zone) >= limit) return DROP_CONNTRACK_ZONE_LIMIT;
    const translation = this.#chooseReply(ct, tuple, expected, nowMs);
    if (translation < 0) return DROP_NAT_EXHAUSTED;
    const state = protocol === TCP ? T.TCP_SYN_SENT : isIcmp(protocol) ? T.ICMP_FIRST : T.UDP_FIRST;
    const timeoutMs = zones.timeoutMs(zone, state);
    const connection = table.add(tuple, this.#reply, port, state, nowMs, timeoutMs);
    if (connection < 0) return DROP_CONNTRACK_FULL;
    this.opened = connection;
    table.setFlags(connection, translation);
    if (protocol === TCP) peers.open(connection, observed.segment);
    if (expected >= 0) {
      this.#adopt(connection, expected);
      expectations.remove(expected);
    }
    if (ct.alg !== 0) this.#help(observed, connection, ct.alg, nowMs);
    return -1;
  }

  /** What answers look like; returns the FLAG_ of how the connection is translated, 0 for not at all, or −1. */
  #chooseReply(ct: CtProgram, tuple: Int32Array, expected: number, nowMs: number): number {
    const { table, expectations } = this.#modules;
    const reply = this.#reply;
    invert(tuple, reply);
    if (ct.nat !== null) {
      if (expected >= 0 && expectations.translate(expected, reply)) {
        const elsewhere = expectations.goesElsewhere(expected);
        if (!chooseExpectedReply(table, elsewhere, tuple, reply, nowMs)) return -1;
        return elsewhere ? FLAG_DNAT : FLAG_SNAT;
      }
      if (ct.nat.kind !== "existing") {
        if (!chooseReply(table, ct.nat, tuple, reply, nowMs)) return -1;
        return ct.nat.kind === "source" ? FLAG_SNAT : FLAG_DNAT;
      }
    }
    // The answers may belong to another connection, one whose addresses are translated.
    return table.find(reply, nowMs) >= 0 ? -1 : 0;
  }

  /** An announced connection has its parent's mark and label, and remembers its first tuple. */
  #adopt(connection: number, expected: number): void {
    const { table, expectations } = this.#modules;
    const words = expectations.words();
    const at = expectations.parentAt(expected);
    this.#parents.set(connection, words.slice(at, at + TUPLE_WORDS));
    table.setFlags(connection, table.flagsOf(connection) | FLAG_RELATED);
    table.marks[connection] = expectations.mark(expected);
    for (let i = 0; i < 4; i++) table.labels[connection * 4 + i] = words[expectations.labelAt(expected) + i]!;
  }

  #help(observed: ObservedPacket, connection: number, alg: number, nowMs: number): void {
    const { table, expectations, ftp } = this.#modules;
    const { protocol } = observed.datagram;
    let flag = 0;
    if (alg === ALG_FTP && protocol === TCP && ftp.open(connection, observed.segment)) flag = FLAG_FTP;
    if (alg === ALG_TFTP && protocol === UDP) flag = FLAG_TFTP;
    table.setFlags(connection, table.flagsOf(connection) | flag);
    if (flag === FLAG_TFTP) watchTftp(table, expectations, connection, nowMs);
  }
}
