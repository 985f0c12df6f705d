// Bytes for an OVSDB server, right ones and wrong ones, to which ours and ovsdb-server do the same.

const echo = (params: string, id = "1"): string => `{"id":${id},"method":"echo","params":${params}}`;
const call = (method: string, ...params: unknown[]): string => JSON.stringify({ id: 1, method, params });
const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
/** `text` with a byte in place of each ¤. */
const bytes = (text: string, ...parts: readonly number[][]): Buffer =>
  Buffer.concat(text.split("¤").flatMap((one, i) => [Buffer.from(one), Buffer.from(parts[i] ?? [])]));
const named = (...invalid: number[]): Buffer =>
  bytes(call("transact", "Open_vSwitch", { op: "insert", table: "Bridge", row: { name: "a¤" } }), invalid);

export const RAW_BYTES: readonly (string | Uint8Array)[] = [
  ...["hello", "5 ", '"x"', "null ", "[]", `[${echo("[]")}]`, "{}", "}", '{"id" 1}', "{'id':1}"],
  ...[
    '{"method":"echo","params":[]}',
    echo("[]", "null"),
    echo("{}"),
    echo("null"),
    '{"id":1,"params":[]}',
    '{"id":1,"method":5,"params":[]}',
    '{"id":1,"method":null,"params":[]}',
    call("fly"),
    '{"id":null,"method":"fly","params":[]}',
    call("toString"),
    call("monitor", "Open_vSwitch", null, { constructor: {} }),
    call("transact"),
    call("cancel", 1),
  ],
  ...['{"b":1,"a":2}', "[1,[2]]", "1.50", "1e15", "false", "9223372036854775807", '""'].map((id) =>
    echo("[]", id),
  ),
  // Of two members of one name, the last counts.
  '{"id":1,"id":2,"method":"echo","params":[1],"params":[2]}',
  echo('[{"a":1,"a":2}]'),
  echo('[{"__proto__":{"a":1}}]'),
  ...["[1.0,1e2,100e-2,-0.0,0e5]", "[1e309]", "[-1e309]", "[01]", "[+1]", "[1.]", "[-]", "[1e]", "[NaN]"].map(
    (params) => echo(params),
  ),
  ...[
    "[TRUE]",
    "[truex]",
    "[1,]",
    "[/**/]",
    '["\\x"]',
    '["\\u12"]',
    '["a\nb"]',
    '["\\/\\b\\f\\n\\r\\t\\"\\\\"]',
  ].map((params) => echo(params)),
  `\r\n \t${echo("[]")}\r\n`,
  `${echo("[]")},`,
  echo('["\\ud83d\\ude00\ufeff\u007f"]'),
  bytes(`¤${echo("[]")}`, [0xef, 0xbb, 0xbf]),
  bytes(`¤${echo("[]")}`, [0]),
  bytes(echo('["a¤b"]'), [0]),
  bytes(echo('["a¤b"]'), [1]),
  bytes('{"id":1,¤"method":"echo","params":[]}', [0x0b]),
  named(0xff),
  named(0xe2, 0x82),
  named(0xc0, 0x80),
  named(0xed, 0xa0, 0x80),
  named(0xf4, 0x90, 0x80, 0x80),
  ...[900, 999, 1000].map((depth) => echo(nested(depth))),
  call("transact", "Open_vSwitch", { op: "select", table: "Bridge", where: "§" }).replace('"§"', nested(900)),
  echo("[]").repeat(500),
  `${call("steal", "a")}${call("lock", "a")}${call("unlock", "a")}${call("unlock", "a")}`,
  // The first of them waits.
  call("transact", "Open_vSwitch", {
    op: "wait",
    timeout: 60_000,
    table: "SSL",
    until: "==",
    where: [],
    rows: [{}],
  }) + call("transact", "Open_vSwitch"),
];
