// Malformed bytes on the real sockets of running daemons: the protocol's own error or a closed connection, and a daemon
// that is the same process afterwards and serves. What each codec does with arbitrary bytes is told beside it.
import { readFileSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { callControl } from "../../base/jsonrpc/index.js";
import { OFPT } from "../../base/openflow/index.js";
import { Random } from "../../base/random/index.js";
import { ControllerProcess } from "../support/controller-process.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { PLINTH, requirePrograms, runOk } from "../support/run.js";

/** For what must come: an answer, or the end of the connection. */
const DEADLINE_MS = 30_000;
/** How long a peer that need not answer is listened to: it may hold the connection, which is right for half a message. */
const QUIET_MS = 150;

let controller: ControllerProcess;
let token: string;
const daemons = new Map<string, DaemonProcess>();
const at = (...names: string[]): string => join(controller.dir, ...names);

beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl");
  controller = await ControllerProcess.create();
  await controller.start();
  token = readFileSync(at("token"), "utf8").trim();
  await Promise.all([
    start("vswitchd", at("switch", "vswitchd.ctl"), "--dir", at("switch")),
    start("nfd", at("run", "nfd.sock"), "--dir", controller.dir),
    start("storaged", at("storage", "control.sock"), "--dir", at("storage"), "--disk", at("disk", "0")),
    start("host", at("run", "host.sock"), "--dir", controller.dir),
  ]);
  await vsctl("--may-exist", "add-br", "br-test");
  for (const words of [
    "vh type=dpdkvhostuser",
    `st type=stream options:server=true options:path=${at("run", "st.sock")}`,
  ]) {
    const [name = "", ...columns] = words.split(" ");
    await vsctl("add-port", "br-test", name, "--", "set", "interface", name, ...columns);
  }
}, 300_000);

afterAll(async () => {
  for (const daemon of daemons.values()) await daemon.end();
  await controller?.destroy();
});

async function start(name: string, socket: string, ...args: string[]): Promise<void> {
  const daemon = new DaemonProcess({ args: [name, ...args], controlSocket: socket });
  daemons.set(name, daemon);
  await daemon.start();
}

function vsctl(...words: string[]): Promise<string> {
  return runOk("ovs-vsctl", [`--db=unix:${at("switch", "db.sock")}`, "--timeout=10", ...words]);
}

interface Heard {
  readonly bytes: Buffer;
  /** The daemon ended the connection. */
  readonly closed: boolean;
}

/** When to stop listening: at the end of the connection, some quiet after an answer, or when nothing is heard any more. */
type Until = "closed" | "quiet" | ((bytes: Buffer) => boolean);

/** Sends `pieces` and listens. */
function say(socket: Socket, pieces: readonly Uint8Array[], until: Until = "quiet"): Promise<Heard> {
  return new Promise((resolve) => {
    let bytes = Buffer.alloc(0);
    let quiet: NodeJS.Timeout | undefined;
    const done = (closed: boolean): void => {
      clearTimeout(quiet);
      clearTimeout(deadline);
      socket.destroy();
      resolve({ bytes, closed });
    };
    const deadline = setTimeout(() => done(false), DEADLINE_MS);
    const listenOn = (): void => {
      if (until === "closed" || (until !== "quiet" && !until(bytes))) return;
      clearTimeout(quiet);
      quiet = setTimeout(() => done(false), QUIET_MS);
    };
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      listenOn();
    });
    socket.on("drain", listenOn);
    socket.on("error", () => done(true));
    socket.on("close", () => done(true));
    for (const piece of pieces) socket.write(piece);
    listenOn();
  });
}

const unix = (path: string): Socket => connectTcp({ path });

/** Reproducible junk. */
const random = new Random(20_261);
function junk(sizeBytes: number): Buffer {
  return Buffer.from(Array.from({ length: sizeBytes }, () => random.uint32() & 0xff));
}

/** The same processes as in the beginning, each still doing its work. */
async function allServe(): Promise<void> {
  const sockets: Readonly<Record<string, string>> = {
    vswitchd: at("switch", "vswitchd.ctl"),
    nfd: at("run", "nfd.sock"),
    storaged: at("storage", "control.sock"),
    host: at("run", "host.sock"),
  };
  for (const [name, socket] of Object.entries(sockets))
    expect(await callControl(socket, "ping", {}, 10_000)).toMatchObject({ pid: daemons.get(name)?.pid });
  expect(await callControl(at("run", "controller.sock"), "ping")).toMatchObject({ pid: controller.pid });
  expect(await vsctl("list-br")).toContain("br-test");
  const management = `unix:${at("switch", "br-test.mgmt")}`;
  expect(await runOk("ovs-ofctl", ["-O", "OpenFlow13", "show", management])).toContain("n_tables:");
  expect(await callControl(at("storage", "control.sock"), "volume.list")).toEqual([]);
  expect(await callControl(at("run", "nfd.sock"), "function.list")).toEqual([]);
  expect(
    await runOk(process.execPath, [PLINTH, "get", "ns", "-o", "name", "--dir", controller.dir]),
  ).toContain("default");
}

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString());
    return true;
  } catch {
    return false;
  }
}

describe("JSON-RPC", () => {
  const text = (value: string): Buffer => Buffer.from(value);
  const broken: Readonly<Record<string, Buffer>> = {
    junk: junk(400),
    zeros: Buffer.alloc(100),
    words: text("hello\n"),
    "a list": text("[1,2]"),
    "a bare word": text('{"id":1,"method":nope}'),
    "params that are no list": text('{"id":1,"method":"ping","params":5}'),
    "endless nesting": text(`{"id":1,"method":"ping","params":${"[".repeat(100_000)}`),
    "too many bytes": text(`{"id":1,"method":"ping","params":["${"a".repeat(80 << 20)}`),
  };
  const noUtf8 = Buffer.from([0xff, 0xfe]);
  test.each([
    ["controller", "run/controller.sock"],
    ["nfd", "run/nfd.sock"],
    ["host", "run/host.sock"],
    ["storaged", "storage/control.sock"],
    ["unixctl", "switch/vswitchd.ctl"],
    ["OVSDB", "switch/db.sock"],
  ])("of %s closes what is none, and names a method that is not there", async (_name, path) => {
    for (const [what, bytes] of Object.entries(broken)) {
      const { closed } = await say(unix(at(path)), [bytes], "closed");
      expect(closed, what).toBe(true);
    }
    for (const method of [text("nosuch"), text("__proto__"), text("constructor"), noUtf8]) {
      const request = Buffer.concat([text('{"id":{"a":[7]},"method":"'), method, text('","params":[{}]}')]);
      const { bytes, closed } = await say(unix(at(path)), [request], isJson);
      const answer = JSON.parse(bytes.toString()) as { id: unknown; result: unknown; error: unknown };
      expect([closed, answer.id, answer.result]).toEqual([false, { a: [7] }, null]);
      expect(JSON.stringify(answer.error)).toMatch(/there is no method|not a valid command|unknown method/);
    }
    // Half a request and then nothing; an answer that nobody asked for.
    for (const half of ['{"id":1,', '{"id":99,"result":{},"error":null}'])
      await say(unix(at(path)), [text(half)]);
  });

  test("params of every control method are judged", async () => {
    const wrong = [
      {},
      { name: 5 },
      { name: "a/b", sizeBytes: -1 },
      { name: "x".repeat(5000) },
      { name: "../../etc" },
      { socket: "/" },
    ];
    for (const path of ["run/controller.sock", "run/nfd.sock", "run/host.sock", "storage/control.sock"]) {
      const refused = await callControl(at(path), "nosuch").catch((thrown: { remedy?: string }) => thrown);
      const methods = /methods: (.*)/.exec((refused as { remedy: string }).remedy)?.[1]?.split(", ") ?? [];
      expect(methods).toContain("ping");
      for (const method of methods.filter(
        (name) => !/^(ping|shutdown|vms\.stop|.*\.list|.*\.describe)$/.test(name),
      )) {
        for (const params of wrong) {
          const answer = await callControl(at(path), method, params).catch((thrown: unknown) => thrown);
          // Not one of them asks for something that can be done, or is our bug.
          const { code } = answer as { code?: string };
          expect(code ?? "answered", `${method} ${JSON.stringify(params)}`).not.toMatch(/INTERNAL|TypeError/);
        }
      }
    }
  });

  test("OVSDB operations that are none are answered", async () => {
    const transact = (...params: unknown[]): Promise<Heard> =>
      say(
        unix(at("switch", "db.sock")),
        [text(JSON.stringify({ id: 1, method: "transact", params }))],
        isJson,
      );
    for (const operations of [
      [5],
      ["Open_vSwitch", 5],
      ["Open_vSwitch", { op: "fly" }],
      ["Open_vSwitch", { op: "insert", table: "Nothing", row: {} }],
      ["Open_vSwitch", { op: "insert", table: "Bridge", row: { name: ["map", []] } }],
      ["Open_vSwitch", { op: "select", table: "Bridge", where: [["name", "~", "x"]] }],
      ["Open_vSwitch", { op: "mutate", table: "Bridge", where: [], mutations: [["name", "+=", 1]] }],
      [
        "Open_vSwitch",
        { op: "wait", table: "Bridge", where: [], columns: ["x"], until: "==", rows: [], timeout: -1 },
      ],
    ]) {
      const { bytes } = await transact(...operations);
      expect(bytes.toString(), JSON.stringify(operations)).toMatch(/"error":"?[^n]/);
    }
  });

  afterAll(allServe);
});

function openFlow(
  type: number,
  body: Uint8Array = new Uint8Array(),
  header: { version?: number; length?: number } = {},
): Buffer {
  const bytes = Buffer.alloc(8 + body.byteLength);
  bytes.writeUInt8(header.version ?? 4, 0);
  bytes.writeUInt8(type, 1);
  bytes.writeUInt16BE(header.length ?? bytes.byteLength, 2);
  bytes.writeUInt32BE(7, 4);
  bytes.set(body, 8);
  return bytes;
}

describe("OpenFlow", () => {
  const hello = openFlow(OFPT.hello);
  /** Type and code of the last error that the daemon sent. */
  const errorIn = (bytes: Buffer): string | undefined => {
    let found: string | undefined;
    for (let offset = 0; offset + 12 <= bytes.byteLength; offset += bytes.readUInt16BE(offset + 2)) {
      if (bytes.readUInt8(offset + 1) === OFPT.error)
        found = `${bytes.readUInt16BE(offset + 8)},${bytes.readUInt16BE(offset + 10)}`;
    }
    return found;
  };

  test.each([
    ["a header shorter than itself", [openFlow(OFPT.hello, undefined, { length: 0 })], "1,6", true],
    ["a version that nobody speaks", [openFlow(OFPT.hello, undefined, { version: 2 })], "0,0", true],
    ["no hello", [openFlow(OFPT.flow_mod, junk(48))], "0,0", true],
    ["an unknown type", [hello, openFlow(99, junk(20))], "1,1", false],
    ["half a flow-mod", [hello, openFlow(OFPT.flow_mod, junk(3))], "1,6", false],
    ["an unknown multipart", [hello, openFlow(OFPT.multipart_request, Buffer.alloc(8, 0x77))], "1,2", false],
    ["an unknown experimenter", [hello, openFlow(OFPT.experimenter, junk(16))], "1,3", false],
    [
      "an unknown group command",
      [hello, openFlow(OFPT.group_mod, Buffer.from("5555000000000001", "hex"))],
      "6,11",
      false,
    ],
  ] as const)("the switch answers %s with the right error", async (_what, pieces, error, closes) => {
    const until = closes ? "closed" : (bytes: Buffer) => errorIn(bytes) !== undefined;
    const heard = await say(unix(at("switch", "br-test.mgmt")), pieces, until);
    expect([errorIn(heard.bytes), heard.closed]).toEqual([error, closes]);
  });

  test.each([
    ["switch", "switch/br-test.mgmt"],
    ["controller", "run/openflow.sock"],
  ])("the %s outlives messages of every type with junk in them", async (_name, path) => {
    await Promise.all([
      say(unix(at(path)), [junk(500)]),
      say(unix(at(path)), [hello, openFlow(OFPT.flow_mod, undefined, { length: 500 })]),
    ]);
    for (let round = 0; round < 4; round++) {
      const types = Array.from({ length: 36 }, (_, type) => type);
      await Promise.all(
        types.map((type) => say(unix(at(path)), [hello, openFlow(type, junk(random.uint32() % 200)), hello])),
      );
    }
  });

  afterAll(allServe);
});

/** A vhost-user message: request, flags, size, payload; little-endian. */
function vhostUser(
  request: number,
  payload: Uint8Array = new Uint8Array(),
  flags = 1,
  sizeBytes = payload.byteLength,
): Buffer {
  const bytes = Buffer.alloc(12 + payload.byteLength);
  for (const [i, word] of [request, flags, sizeBytes].entries()) bytes.writeUInt32LE(word, 4 * i);
  bytes.set(payload, 12);
  return bytes;
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value >>> 0, 4 * i);
  return bytes;
}

describe("a guest's side", () => {
  test.each([
    ["junk", junk(300)],
    ["an unknown request", vhostUser(999)],
    ["a size without end", vhostUser(5, undefined, 1, 0xffff_ffff)],
    ["another version", vhostUser(1, undefined, 3)],
    ["memory without its descriptor", vhostUser(5, Buffer.concat([words(1, 0), Buffer.alloc(32, 0x10)]))],
    ["more regions than there can be", vhostUser(5, words(9000, 0))],
    ["a ring of no size", vhostUser(8, words(0, 0))],
    ["a ring larger than any", vhostUser(8, words(0, 0x8000_0001))],
    ["a ring that is not there", vhostUser(8, words(77, 256))],
    ["addresses outside of memory", vhostUser(9, words(0, 0, 1, 1, 2, 2, 3, 3, 0, 0))],
    ["a kick without its descriptor", vhostUser(12, words(0, 0))],
  ])("vhost-user with %s is closed", async (_what, bytes) => {
    const { closed } = await say(unix(at("switch", "vh")), [vhostUser(3), bytes], "closed");
    expect(closed).toBe(true);
  });

  test("a port takes the next front-end after all these", async () => {
    const { bytes, closed } = await say(
      unix(at("switch", "vh")),
      [vhostUser(1)],
      (all) => all.byteLength >= 20,
    );
    expect([bytes.readUInt32LE(0), bytes.byteLength, closed]).toEqual([1, 20, false]);
  });

  test("a stream port closes a frame without end, and takes or drops every other", async () => {
    const path = at("run", "st.sock");
    const frame = (bytes: Buffer): Buffer => {
      const size = Buffer.alloc(4);
      size.writeUInt32BE(bytes.byteLength);
      return Buffer.concat([size, bytes]);
    };
    expect((await say(unix(path), [Buffer.alloc(104, 0xff)], "closed")).closed).toBe(true);
    const frames = Array.from({ length: 300 }, () => frame(junk(random.uint32() % 1600)));
    await say(unix(path), [
      ...frames,
      Buffer.alloc(400),
      frame(Buffer.from("short")),
      Buffer.from([0, 0, 5]),
    ]);
    expect((await say(unix(path), [frame(junk(64))])).closed).toBe(false);
  });

  afterAll(allServe);
});

describe("NBD", () => {
  const path = (): string => at("storage", "nbd.sock");
  const option = (code: number, data: Buffer, size = data.byteLength): Buffer => {
    const bytes = Buffer.alloc(16 + data.byteLength);
    bytes.write("IHAVEOPT", "latin1");
    bytes.writeUInt32BE(code, 8);
    bytes.writeUInt32BE(size, 12);
    bytes.set(data, 16);
    return bytes;
  };
  const flags = Buffer.from([0, 0, 0, 3]);

  test.each([
    ["junk", [junk(400)]],
    ["unknown client flags", [Buffer.from([0xff, 0xff, 0xff, 0xff])]],
    ["an option without magic", [flags, Buffer.alloc(16)]],
    ["an option without end", [flags, option(7, Buffer.alloc(0), 0xffff_ffff)]],
    ["the old export name of a volume that is not there", [flags, option(1, Buffer.from("nobody"))]],
  ] as const)("of %s is closed", async (_what, pieces) => {
    expect((await say(unix(path()), pieces, "closed")).closed).toBe(true);
  });

  test("an unknown option and a volume that is not there are answered", async () => {
    const name = Buffer.concat([Buffer.from([0, 0, 0, 6]), Buffer.from("nobody"), Buffer.from([0, 0])]);
    // Behind the greeting of 18 bytes: magic, option, reply type, size.
    const first = 18;
    const secondIn = (bytes: Buffer): number =>
      bytes.byteLength < first + 20 ? Infinity : first + 20 + bytes.readUInt32BE(first + 16);
    const { bytes } = await say(
      unix(path()),
      [flags, option(9999, Buffer.alloc(3)), option(7, name)],
      (all) => all.byteLength >= secondIn(all) + 20,
    );
    const second = secondIn(bytes);
    expect([first, second].map((offset) => bytes.readUInt32BE(offset + 12))).toEqual([
      0x8000_0001, // NBD_REP_ERR_UNSUP
      0x8000_0006, // NBD_REP_ERR_UNKNOWN
    ]);
  });

  afterAll(allServe);
});

describe("HTTPS", () => {
  const plain = (): Socket => connectTcp(controller.port, "127.0.0.1");
  const tls = (): Socket =>
    connectTls({ port: controller.port, host: "127.0.0.1", rejectUnauthorized: false });
  const post = (headers: string, body = ""): Buffer =>
    Buffer.from(
      `POST /api/v1/namespaces HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n${headers}\r\n\r\n${body}`,
    );

  test.each([
    ["junk below TLS", plain, junk(500), ""],
    ["HTTP without TLS", plain, Buffer.from("GET / HTTP/1.1\r\n\r\n"), ""],
    ["junk", tls, Buffer.concat([junk(300), Buffer.from("\r\n\r\n")]), "400"],
    ["a version that is none", tls, Buffer.from("GET / HTTP/9.9\r\n\r\n"), "400"],
    ["headers without end", tls, Buffer.from(`GET / HTTP/1.1\r\nx: ${"a".repeat(200_000)}\r\n\r\n`), "431"],
    ["two lengths", tls, "content-length: 5\r\ntransfer-encoding: chunked", "400"],
    ["a negative length", tls, "content-length: -5", "400"],
    ["a chunk that is none", tls, "content-type: application/json\r\ntransfer-encoding: chunked", "400"],
    [
      "a WebSocket nowhere",
      tls,
      Buffer.from("GET /%zz HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
      "40",
    ],
  ] as const)("%s is refused and closed", async (_what, open, input, status) => {
    const bytes = typeof input === "string" ? post(input, "ZZZ\r\n") : input;
    const heard = await say(open(), [bytes], "closed");
    expect(heard.closed).toBe(true);
    if (status !== "") expect(heard.bytes.toString()).toMatch(new RegExp(`^HTTP/1.1 ${status}`));
    expect(heard.bytes.toString()).not.toContain("HTTP/1.1 5");
  });

  afterAll(allServe);
});
