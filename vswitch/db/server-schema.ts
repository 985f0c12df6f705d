// The _Server database: tells clients which databases there are. Source: ovsdb-server(5). In memory only.
import type { DatabaseSchema } from "../../base/ovsdb/index.js";
import { boolean, one, oneOf, optional, optionalInteger, table, text } from "./column-types.js";

export const SERVER_SCHEMA: DatabaseSchema = {
  name: "_Server",
  version: "1.2.0",
  cksum: "3009684573 744",
  tables: new Map([
    [
      "Database",
      table(
        "Database",
        {
          name: text,
          model: one(oneOf("standalone", "clustered", "relay")),
          connected: boolean,
          leader: boolean,
          schema: optional({ type: "string" }),
          cid: optional({ type: "uuid" }),
          sid: optional({ type: "uuid" }),
          index: optionalInteger,
        },
        { isRoot: true },
      ),
    ],
  ]),
};
