// Where the switch's database can be reached: TLS by the SSL table, managers that listen and managers that are dialled,
// silent clients; with ovs-vsctl and ovsdb-client.
import { X509Certificate } from "node:crypto";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { JsonRpcConnection, JsonStream } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { runVsctl } from "../../vswitch/index.js";
import { requirePrograms, run, runOk } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";
import { runInside } from "../support/tool-run.js";

const DEADLINE_MS = 30_000;

let dir: string;
let daemon: SwitchProcess;
const file = (name: string) => join(dir, name);

beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovsdb-client", "openssl");
  dir = mkdtempSync("/tmp/otl-");
  await makeCertificates();
  daemon = new SwitchProcess();
  await daemon.start();
}, 120_000);
afterEach(() => daemon.vsctl("--no-wait", "del-manager", "--", "del-ssl"));
afterAll(async () => {
  await daemon?.destroy();
  rmSync(dir, { recursive: true, force: true });
});

/** An authority, a certificate of the switch's and of a client's from it, and a stranger's of his own. */
async function makeCertificates(): Promise<void> {
  const openssl = (...args: string[]) => runOk("openssl", args, { deadlineMs: DEADLINE_MS });
  const key = (name: string) => [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    file(`${name}.key`),
  ];
  for (const name of ["ca", "stranger"])
    await openssl(
      "req",
      "-x509",
      ...key(name),
      "-subj",
      `/CN=${name}`,
      "-days",
      "2",
      "-out",
      file(`${name}.pem`),
    );
  for (const name of ["switch", "client"]) {
    await openssl("req", ...key(name), "-subj", `/CN=${name}`, "-out", file(`${name}.csr`));
    const signer = ["-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial"];
    await openssl(
      "x509",
      "-req",
      "-in",
      file(`${name}.csr`),
      ...signer,
      "-days",
      "2",
      "-out",
      file(`${name}.pem`),
    );
  }
}

const managers = async (): Promise<
  Record<string, { connected: boolean; status: Record<string, string> }>
> => {
  const json = JSON.parse(
    await daemon.vsctl("--format=json", "--columns=target,is_connected,status", "list", "Manager"),
  ) as { data: [string, boolean, ["map", [string, string][]]][] };
  return Object.fromEntries(
    json.data.map(([target, connected, [, pairs]]) => [
      target,
      { connected, status: Object.fromEntries(pairs) },
    ]),
  );
};

const setSsl = () => ["set-ssl", file("switch.key"), file("switch.pem"), file("ca.pem")];
const asClient = (name: string, authority = "ca") => [
  `--private-key=${file(`${name}.key`)}`,
  `--certificate=${file(`${name}.pem`)}`,
  `--ca-cert=${file(`${authority}.pem`)}`,
];

/** The port that a manager of the target was bound to. */
async function boundPort(target: string): Promise<number> {
  await untilManagers((rows) => rows[target]?.status["bound_port"] !== undefined);
  return Number((await managers())[target]?.status["bound_port"]);
}

describe("TLS by the SSL table", () => {
  it("lets in who the authority has signed, and nobody else", async () => {
    await daemon.vsctl("--no-wait", ...setSsl(), "--", "set-manager", "pssl:0:127.0.0.1");
    const port = await boundPort("pssl:0:127.0.0.1");
    const names = await runOk("ovsdb-client", [...asClient("client"), "list-dbs", `ssl:127.0.0.1:${port}`]);
    expect(names).toContain("Open_vSwitch");
    const vsctl = [`--db=ssl:127.0.0.1:${port}`, "--timeout=20"];
    await runOk("ovs-vsctl", [
      ...asClient("client"),
      ...vsctl,
      "--",
      "set",
      "Open_vSwitch",
      ".",
      "external_ids:over=tls",
    ]);
    expect(await daemon.vsctl("get", "Open_vSwitch", ".", "external_ids:over")).toBe("tls");
    const stranger = await run(
      "ovs-vsctl",
      [...asClient("stranger"), `--db=ssl:127.0.0.1:${port}`, "--timeout=3", "show"],
      {
        deadlineMs: DEADLINE_MS,
      },
    );
    expect(stranger.code).not.toBe(0);
    const plain = await run("ovs-vsctl", [`--db=tcp:127.0.0.1:${port}`, "--timeout=3", "show"], {
      deadlineMs: DEADLINE_MS,
    });
    expect(plain.code).not.toBe(0);
    const ours = (...words: readonly string[]) =>
      runInside("vsctl", (line, io) => runVsctl(line, { ...io, database: "" }), [...vsctl, ...words]);
    const over = ["get", "Open_vSwitch", ".", "external_ids:over"];
    expect(await ours(...asClient("client"), ...over)).toEqual({ code: 0, stdout: "tls\n", stderr: "" });
    const first = file("first.pem");
    const withoutAuthority = asClient("client").slice(0, 2);
    for (const [words, reason] of [
      [asClient("stranger"), "Input/output error"],
      [asClient("client", "stranger"), "Protocol error"],
      [withoutAuthority, "Protocol not available"],
    ] as const) {
      const refused = await ours(...words, ...over);
      expect([refused.code, refused.stdout]).toEqual([1, ""]);
      expect(refused.stderr).toContain(`database connection failed (${reason})`);
    }
    for (const _again of ["learned", "known"]) {
      const { code, stdout } = await ours(...withoutAuthority, `--bootstrap-ca-cert=${first}`, ...over);
      expect([code, stdout]).toEqual([0, "tls\n"]);
      expect(new X509Certificate(readFileSync(first)).fingerprint256).toBe(
        new X509Certificate(readFileSync(file("ca.pem"))).fingerprint256,
      );
    }
    // Others are served all the while.
    expect(await runOk("ovsdb-client", [...asClient("client"), "list-dbs", `ssl:127.0.0.1:${port}`])).toBe(
      names,
    );
  });

  it("says what is missing, and opens when it is there", async () => {
    await daemon.vsctl("--no-wait", "set-manager", "pssl:0:127.0.0.1");
    await untilManagers(
      (rows) => rows["pssl:0:127.0.0.1"]?.status["last_error"]?.includes("private key") === true,
    );
    await daemon.vsctl("--no-wait", ...setSsl());
    const port = await boundPort("pssl:0:127.0.0.1");
    expect(
      await runOk("ovsdb-client", [...asClient("client"), "list-dbs", `ssl:127.0.0.1:${port}`]),
    ).toContain("Open");
  });

  it("opens when a file is there that was missing, and heeds one that is renewed", async () => {
    const authority = file("late.pem");
    const late = ["set-ssl", file("switch.key"), file("switch.pem"), authority];
    await daemon.vsctl("--no-wait", ...late, "--", "set-manager", "pssl:0:127.0.0.1");
    await untilManagers(
      (rows) => rows["pssl:0:127.0.0.1"]?.status["last_error"]?.includes(authority) === true,
    );
    copyFileSync(file("ca.pem"), authority);
    const port = await boundPort("pssl:0:127.0.0.1");
    const listed = (name: string) =>
      run("ovsdb-client", [...asClient(name), "--timeout=10", "list-dbs", `ssl:127.0.0.1:${port}`]);
    expect([(await listed("client")).code, (await listed("stranger")).code]).toEqual([0, 1]);
    copyFileSync(file("stranger.pem"), authority);
    expect([(await listed("stranger")).code, (await listed("client")).code]).toEqual([0, 1]);
    // What cannot be used changes nothing.
    writeFileSync(authority, "half of a cert");
    expect((await listed("stranger")).code).toBe(0);
  });

  it("dials a manager, and takes its authority on first use where asked to", async () => {
    // The authority is sent along, as ovs-pki(8) has it for bootstrapping.
    const cert = Buffer.concat([readFileSync(file("client.pem")), readFileSync(file("ca.pem"))]);
    const peers: JsonRpcConnection[] = [];
    const server = createTlsServer(
      { key: readFileSync(file("client.key")), cert, ca: readFileSync(file("ca.pem")), requestCert: true },
      (socket) => peers.push(new JsonRpcConnection(socket, {})),
    );
    server.on("tlsClientError", () => {});
    const port = await listen(server);
    try {
      const authority = file("learned.pem");
      await daemon.vsctl(
        ...["--no-wait", "--bootstrap", "set-ssl", file("switch.key"), file("switch.pem"), authority],
        ...["--", "set-manager", `ssl:127.0.0.1:${port}`],
      );
      await waitFor(() => peers.length > 0, "the connection", DEADLINE_MS, 100);
      expect(await peers[0]!.call("list_dbs", [])).toContain("Open_vSwitch");
      expect(readFileSync(authority, "utf8").replace(/\s/g, "")).toBe(
        readFileSync(file("ca.pem"), "utf8").replace(/\s/g, ""),
      );
    } finally {
      for (const peer of peers) peer.close();
      server.close();
    }
  });
});

describe("managers", () => {
  it("are dialled again and again, served, and told of in their rows", async () => {
    const port = await freePort();
    const target = `tcp:127.0.0.1:${port}`;
    await daemon.vsctl(
      "--no-wait",
      "set-manager",
      target,
      "--",
      "set",
      "Manager",
      target,
      "max_backoff=1000",
    );
    await untilManagers((rows) => rows[target]?.status["last_error"] !== undefined);
    const peers: JsonRpcConnection[] = [];
    const server = createServer((socket) => peers.push(new JsonRpcConnection(socket, {})));
    await listen(server, port);
    try {
      await waitFor(() => peers.length > 0, "the connection", DEADLINE_MS, 100);
      const [peer] = peers as [JsonRpcConnection];
      expect(await peer.call("list_dbs", [])).toContain("Open_vSwitch");
      expect(await peer.call("lock", ["mine"])).toEqual({ locked: true });
      await untilManagers((rows) => {
        const { connected, status } = rows[target]!;
        return connected && status["state"] === "ACTIVE" && status["locks_held"] === "mine";
      });
      peer.close();
      await waitFor(() => peers.length > 1, "the second connection", DEADLINE_MS, 100);
      await daemon.vsctl("--no-wait", "del-manager");
      await peers[1]!.closed;
    } finally {
      for (const peer of peers) peer.close();
      server.close();
    }
  });

  it("ask a client that says nothing whether it is there, and hang up when it is not", async () => {
    await daemon.vsctl("--no-wait", "set-manager", "ptcp:0:127.0.0.1");
    await daemon.vsctl("--no-wait", "set", "Manager", "ptcp:0:127.0.0.1", "inactivity_probe=300");
    const port = await boundPort("ptcp:0:127.0.0.1");
    const heard: unknown[] = [];
    const closed = new Promise<void>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      const stream = new JsonStream();
      socket.on("data", (bytes: Buffer) => heard.push(...stream.push(bytes)));
      socket.on("close", resolve);
      socket.on("error", () => {});
    });
    await closed;
    expect(heard).toEqual([expect.objectContaining({ method: "echo", params: [] })]);
  });

  it("are listed, added and removed by ovs-appctl", async () => {
    const remote = `punix:${daemon.path("more.sock")}`;
    await daemon.appctl("ovsdb-server/add-remote", remote);
    expect(await daemon.appctl("ovsdb-server/list-remotes")).toContain(`${remote}\n`);
    expect(await runOk("ovsdb-client", ["list-dbs", remote.slice(1)])).toContain("_Server");
    await daemon.appctl("ovsdb-server/remove-remote", remote);
    expect(
      (await run("ovsdb-client", ["list-dbs", remote.slice(1)], { deadlineMs: DEADLINE_MS })).code,
    ).not.toBe(0);
    for (const [words, complaint] of [
      [["ovsdb-server/add-remote", "warp:1"], "no endpoint"],
      [["ovsdb-server/remove-remote", remote], "no such remote"],
      [["ovsdb-server/compact", "nope"], "no database by that name"],
    ] as const) {
      const refused = await run("ovs-appctl", ["-t", daemon.path("vswitchd.ctl"), ...words], {
        deadlineMs: DEADLINE_MS,
      });
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toContain(complaint);
    }
    expect(await daemon.appctl("ovsdb-server/list-dbs")).toBe("Open_vSwitch\n_Server\n");
    await daemon.appctl("ovsdb-server/compact");
    expect(await daemon.appctl("ovsdb-server/get-db-storage-status", "Open_vSwitch")).toContain("status: ok");
  });
});

/** Polls the Manager rows until they are as wanted. */
async function untilManagers(
  isAsWanted: (rows: Awaited<ReturnType<typeof managers>>) => boolean,
): Promise<void> {
  let last: unknown;
  await waitFor(
    async () => {
      const rows = await managers();
      last = rows;
      return isAsWanted(rows);
    },
    () => `the Manager rows: ${JSON.stringify(last)}`,
    DEADLINE_MS,
    100,
  );
}

/** Resolves with the port. */
function listen(server: Server, port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

/** A port that nobody listens on just now. */
async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}
