// `plinth volume serve` and what clients of others see of the NBD server there: TCP, TLS by certificates and by keys,
// socket activation, several exports, metadata contexts (libnbd through Python, nbdinfo, nbdcopy, nbd-client, QEMU).
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type NetConnectOpts } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { PLINTH, requirePrograms, run, runOk } from "../support/run.js";
import { ServeProcess } from "../support/serve-process.js";

const MIB = 1024 * 1024;
let dir: string;
let served: ServeProcess | undefined;
beforeEach(() => {
  requirePrograms("nbdinfo", "nbdcopy", "nbdsh", "nbd-client", "qemu-img", "openssl");
  dir = mkdtempSync("/tmp/sv-");
});
afterEach(async () => {
  await served?.end("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

async function serve(...args: string[]): Promise<string[]> {
  served = new ServeProcess("--dir", join(dir, "pool"), ...args);
  return served.ready();
}

function plinth(...args: string[]): Promise<string> {
  return runOk(process.execPath, [PLINTH, ...args, "--dir", join(dir, "pool")]);
}

/** Clients that connect and say nothing; what ends them. */
async function silentClients(where: NetConnectOpts): Promise<() => void> {
  const clients = Array.from({ length: 80 }, () => connect(where).on("error", () => {}));
  await Promise.all(clients.map((client) => once(client, "connect")));
  return () => {
    for (const client of clients) client.destroy();
  };
}

/** Runs libnbd's Python binding, that of the distribution, with `h` connected to `uri` unless told otherwise. */
function libnbd(script: string): Promise<string> {
  return runOk("/usr/bin/python3", ["-c", `import nbd\nh = nbd.NBD()\n${script}`]);
}

test("volumes at a TCP port and a unix socket: names, default export, read-only, pid file, an orderly end", async () => {
  const [socket, pidFile] = [join(dir, "s"), join(dir, "pid")];
  const listen = ["--listen", "localhost:0", "--listen", socket, "--pid-file", pidFile];
  const uris = await serve("one", "shop/two", "--size", "8MiB", ...listen);
  expect(uris.slice(1)).toEqual([
    expect.stringMatching(/^nbd:\/\/localhost:\d+\/shop\/two$/),
    `nbd+unix:///one?socket=${socket}`,
    `nbd+unix:///shop/two?socket=${socket}`,
  ]);
  const [tcp = ""] = uris;
  const port = new URL(tcp).port;
  expect(readFileSync(pidFile, "utf8")).toBe(`${served?.pid}\n`);
  for (const uri of uris) expect(await runOk("nbdinfo", ["--size", uri])).toBe(`${8 * MIB}\n`);
  const fallback = JSON.parse(await runOk("nbdinfo", ["--json", `nbd://localhost:${port}`]));
  expect(fallback.exports[0]).toMatchObject({ "export-size": 8 * MIB, can_cache: true, is_read_only: false });
  expect(await runOk("nbd-client", ["-l", "localhost", port])).toMatch(/one.*\n.*shop\/two/);
  expect((await run("nbdinfo", [`nbd://localhost:${port}/three`])).code).not.toBe(0);
  const second = await run(process.execPath, [
    ...[PLINTH, "volume", "serve", "--dir", join(dir, "other"), "--listen", `localhost:${port}`],
  ]);
  expect([second.code, second.stderr]).toEqual([1, expect.stringContaining("EADDRINUSE")]);
  const same = await run(process.execPath, [PLINTH, "volume", "serve", "--dir", join(dir, "pool")]);
  expect([same.code, same.stderr]).toEqual([1, expect.stringContaining("ALREADY_RUNNING")]);
  const lame = ["--tls", "require", "--tls-certificates", dir];
  const third = await run(process.execPath, [PLINTH, "volume", "serve", "--dir", join(dir, "new"), ...lame]);
  expect([third.code, third.stderr]).toEqual([1, expect.stringContaining("server-cert.pem")]);
  expect(existsSync(join(dir, "new", "catalogue"))).toBe(false);
  expect(await served?.end()).toBe(0);
  expect([existsSync(socket), existsSync(pidFile)]).toEqual([false, false]);
  const asked = await run(process.execPath, [PLINTH, "volume", "list", "--dir", join(dir, "pool")]);
  expect([asked.code, asked.stderr]).toEqual([1, expect.stringContaining("is storaged running")]);
  const [again = ""] = await serve("one", "--listen", socket, "--read-only");
  expect(await runOk("nbdinfo", ["--is", "read-only", again])).toBe("");
});

test("its directory is that of the other commands: $PLINTH_DIR, a storaged's own or below a data centre's, without naming the pool's disks again", async () => {
  const socket = join(dir, "s");
  const env = { ...process.env, PLINTH_DIR: join(dir, "centre") };
  const list = () => runOk(process.execPath, [PLINTH, "volume", "list"], { env });
  const turn = async (...args: string[]): Promise<string> => {
    ServeProcess.env = env;
    try {
      served = new ServeProcess(...args, "--listen", socket);
    } finally {
      ServeProcess.env = process.env;
    }
    await served.ready();
    const listed = await list();
    await served.end("SIGTERM");
    return listed;
  };
  expect(await turn("one", "--size", "8MiB", "--disk", join(dir, "elsewhere"))).toMatch(/default\/one/);
  expect(existsSync(join(dir, "centre", "storage", "catalogue"))).toBe(true);
  // The pool has other disks than the one that a new one would get.
  expect(await turn("one")).toMatch(/default\/one/);
  env.PLINTH_DIR = join(dir, "centre", "storage");
  expect(await turn()).toMatch(/default\/one/);
});

test("a socket that we are started with is served, and nothing else", async () => {
  const command = [process.execPath, PLINTH, "volume", "serve", "v", "--dir", join(dir, "pool")];
  const info = JSON.parse(await runOk("nbdinfo", ["--json", "--", "[", ...command, "--size", "4MiB", "]"]));
  expect(info.exports[0]["export-size"]).toBe(4 * MIB);
});

test("TLS by certificates: required of all, clients verified, data unharmed, strangers get nothing", async () => {
  const pki = await certificates();
  const tls = ["--tls", "require", "--tls-certificates", pki, "--tls-verify-peer"];
  const [uri = ""] = await serve("v", "--size", "16MiB", "--listen", "localhost:0", ...tls);
  expect(uri).toMatch(/^nbds:\/\//);
  const secure = `${uri}?tls-certificates=${pki}`;
  const image = join(dir, "image");
  writeFileSync(image, randomBytes(16 * MIB));
  await runOk("nbdcopy", ["--flush", image, secure]);
  await runOk("nbdcopy", [secure, `${image}.back`]);
  expect(readFileSync(`${image}.back`).equals(readFileSync(image))).toBe(true);
  expect(await runOk("nbdinfo", [secure])).toContain("with TLS, using structured packets");
  const { hostname, port } = new URL(uri);
  const server = { type: "inet", host: hostname, port };
  const qemu = { driver: "raw", file: { driver: "nbd", server, export: "v", "tls-creds": "t" } };
  const creds = ["--object", `tls-creds-x509,id=t,endpoint=client,dir=${pki}`];
  expect(await runOk("qemu-img", ["info", ...creds, `json:${JSON.stringify(qemu)}`])).toContain("16 MiB");
  const plain = await run("nbdinfo", [uri.replace("nbds", "nbd")]);
  expect([plain.code, plain.stderr]).toEqual([1, expect.stringContaining("server replied with error")]);
  // A client without a certificate is turned away before it can say anything.
  expect((await run("nbdinfo", [uri])).code).toBe(1);
  await waitFor(
    () => served?.errors.includes("a client could not agree on TLS") === true,
    () => `not told of: ${served?.errors}`,
    10_000,
    20,
  );
  // Plain words behind STARTTLS are no TLS: nothing of them is answered.
  const said = await injected(Number(port));
  expect(said.subarray(18).toString("hex")).toBe("0003e889045565a9000000050000000100000000");
  // More than there are places: nobody is kept out by them.
  const end = await silentClients({ host: hostname, port: Number(port) });
  expect(await runOk("nbdinfo", ["--size", secure])).toContain(String(16 * MIB));
  end();
});

test("TLS by keys, for clients that ask for it; others go on in the clear", async () => {
  const keys = join(dir, "keys");
  writeFileSync(keys, `alice:${randomBytes(32).toString("hex")}\n`);
  const socket = join(dir, "s");
  await serve("v", "--size", "4MiB", "--listen", socket, "--tls", "on", "--tls-psk", keys);
  const at = (user: string): string => `nbds+unix://${user}/v?socket=${socket}&tls-psk-file=${keys}`;
  expect(await runOk("nbdinfo", [at("alice@")])).toContain("with TLS");
  const end = await silentClients({ path: socket });
  expect(await runOk("nbdinfo", [at("alice@")])).toContain("with TLS");
  expect(await runOk("nbdinfo", [`nbd+unix:///v?socket=${socket}`])).toContain("without TLS");
  end();
  writeFileSync(keys, `alice:${randomBytes(32).toString("hex")}\n`);
  expect((await run("nbdinfo", [at("alice@")])).code).toBe(1);
  await libnbd(
    [
      `h.connect_uri("nbd+unix:///v?socket=${socket}")`,
      `h.pwrite(b"x" * 4096, 8192, nbd.CMD_FLAG_FUA)`,
      `assert h.pread(4096, 8192) == b"x" * 4096`,
    ].join("\n"),
  );
});

test("what changed since a snapshot is a metadata context, and enough for an incremental copy", async () => {
  const socket = join(dir, "s");
  const [uri] = await serve("v", "--size", "1MiB", "--listen", socket);
  await libnbd(`h.connect_uri("${uri}")\nh.pwrite(b"a" * 1048576, 0)\n`);
  await plinth("volume", "snapshot", "v", "monday");
  await libnbd(`h.connect_uri("${uri}")\nh.pwrite(b"b" * 65536, 131072)\nh.trim(4096, 1044480)\n`);
  const said = await libnbd(
    [
      `h.set_opt_mode(True)`,
      `h.connect_uri("${uri}")`,
      `names = []`,
      `h.opt_list_meta_context(lambda name: names.append(name))`,
      `print(names)`,
      `h.add_meta_context("x-plinth:diff:monday")`,
      `h.add_meta_context("base:allocation")`,
      `h.opt_go()`,
      `found = {}`,
      `h.block_status(1048576, 0, lambda name, offset, entries, error: found.update({name: entries}))`,
      `print(sorted(found.items()))`,
      `h.block_status(917504, 131072, lambda n, o, e, x: print(n, e), nbd.CMD_FLAG_REQ_ONE)`,
      `h.shutdown()`,
    ].join("\n"),
  );
  expect(said.split("\n")).toEqual([
    "['base:allocation', 'x-plinth:diff:monday']",
    "[('base:allocation', [1044480, 0, 4096, 3]), ('x-plinth:diff:monday', [131072, 0, 65536, 1, 847872, 0, 4096, 1])]",
    "base:allocation [913408, 0]",
    "x-plinth:diff:monday [65536, 1]",
    "",
  ]);
});

/** A CA, a server and a client, in the files that NBD programs look for. */
async function certificates(): Promise<string> {
  const pki = join(dir, "pki");
  mkdirSync(pki);
  const openssl = (...args: string[]): Promise<string> => runOk("openssl", args, { cwd: pki });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  await openssl(
    ...[
      "req",
      "-x509",
      ...key,
      "-keyout",
      "ca-key.pem",
      "-out",
      "ca-cert.pem",
      "-subj",
      "/CN=ca",
      "-days",
      "2",
    ],
  );
  writeFileSync(join(pki, "names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
  for (const who of ["server", "client"]) {
    const request = ["-keyout", `${who}-key.pem`, "-out", `${who}.csr`, "-subj", "/CN=localhost"];
    await openssl("req", ...key, ...request);
    const sign = ["-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "names"];
    await openssl("x509", "-req", "-in", `${who}.csr`, ...sign, "-out", `${who}-cert.pem`, "-days", "2");
  }
  return pki;
}

/** Everything that is said to a client that sends STARTTLS and LIST at once, in the clear, until it is closed. */
function injected(port: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const said: Buffer[] = [];
    const socket = connect(port, "localhost");
    socket.on("data", (chunk: Buffer) => said.push(chunk));
    socket.on("error", reject);
    socket.on("close", () => resolve(Buffer.concat(said)));
    const option = (number: number): string =>
      `49484156454f5054${number.toString(16).padStart(8, "0")}00000000`;
    socket.write(Buffer.from(`00000003${option(5)}${option(3)}`, "hex"));
  });
}
