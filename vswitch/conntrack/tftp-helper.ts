// TFTP: expects the server's answer to a request, which comes from a port of its own. Nothing is written in the text, so
// nothing in it changes under translation.
// Source: RFC 1350, 4 (transfer identifiers). Thread: datapath worker. Hot: no, only for connections committed with
// alg=tftp.
import { tupleAt } from "./connection-memory.js";
import { type ConnectionTable, FLAG_DNAT, FLAG_SNAT } from "./connection-table.js";
import type { Expectations } from "./expectations.js";
import { T_DST, T_KIND, T_PORTS, T_SRC } from "./tuple.js";

/** A request of a TFTP client: the server answers from a port of its own. */
export function watchTftp(
  table: ConnectionTable,
  expectations: Expectations,
  connection: number,
  nowMs: number,
): void {
  const original = tupleAt(connection * 2);
  const reply = tupleAt(connection * 2 + 1);
  const { tuples } = table;
  const port = (tuples[reply + T_PORTS] as number) & 0xffff;
  const kind = tuples[original + T_KIND] as number;
  const e = expectations.add(tuples, reply + T_SRC, tuples, reply + T_DST, port, kind, nowMs);
  const mark = table.marks[connection] as number;
  expectations.inherits(e, tuples, original, mark, table.labels, connection * 4);
  const flags = table.flagsOf(connection);
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
