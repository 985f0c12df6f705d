// Controllers that others wrote drive the switch: os-ken (OpenFlow 1.0 and 1.3) and ovs-testcontroller, over TCP, TLS
// and unix sockets, dialled by the switch and dialling it. Frames show that they got what they wanted.
import { type ChildProcess, spawn } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { freePort } from "../support/controller-process.js";
import { createIdentity } from "../support/identity.js";
import { OsKen } from "../support/os-ken.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { endChild, requirePrograms } from "../support/run.js";
import { ethernetFrame, textOf } from "../support/switch.js";

const DEADLINE_MS = 30_000;

let ovs: PlinthSwitch;
let osKen: OsKen | undefined;
let testController: ChildProcess | undefined;

beforeAll(async () => {
  requirePrograms("osken-manager", "ovs-testcontroller", "openssl");
  ovs = await PlinthSwitch.open();
});
afterAll(() => ovs?.destroy());

beforeEach(async () => {
  await ovs.vsctl("add-br", "br0", "--", "set-fail-mode", "br0", "secure");
  for (const n of [1, 2, 3]) await ovs.addPort("br0", `p${n}`, n, `vm${n}`);
  await ovs.plugged();
});

afterEach(async () => {
  await osKen?.close();
  osKen = undefined;
  if (testController !== undefined) await endChild(testController);
  testController = undefined;
  await ovs.vsctl("del-ssl");
  await ovs.deleteBridge("br0");
});

const texts = (port: number): string[] => ovs.sentBy(port).map(textOf);

async function arrives(port: number, text: string): Promise<void> {
  await waitFor(
    () => texts(port).includes(text),
    () => `${text} at port ${port}, which got ${texts(port).join(", ")}`,
    DEADLINE_MS,
  );
}

/** Two stations talk; the controller must learn where they are. */
async function conversation(): Promise<void> {
  ovs.inject(1, ethernetFrame({ to: 2, from: 1, text: "first" }));
  await arrives(2, "first");
  await arrives(3, "first");
  ovs.inject(2, ethernetFrame({ to: 1, from: 2, text: "answer" }));
  await arrives(1, "answer");
  ovs.inject(1, ethernetFrame({ to: 2, from: 1, text: "second" }));
  await arrives(2, "second");
  expect(texts(3)).toEqual(["first"]);
}

async function connected(): Promise<void> {
  await waitFor(
    async () => (await ovs.vsctl("get", "controller", "br0", "is_connected")) === "true",
    "not connected",
    DEADLINE_MS,
  );
}

/** Options of osken-manager, and what the Controller row is to say. */
async function meeting(how: "tcp" | "ssl" | "ptcp"): Promise<[options: string[], target: string]> {
  const port = await freePort();
  const here = ["--ofp-listen-host", "127.0.0.1"];
  if (how === "tcp") return [[...here, "--ofp-tcp-listen-port", String(port)], `tcp:127.0.0.1:${port}`];
  const idle = String(await freePort());
  if (how === "ptcp") {
    const dial = ["--ofp-switch-address-list", `127.0.0.1:${port}`, "--ofp-switch-connect-interval", "1"];
    return [[...here, "--ofp-tcp-listen-port", idle, ...dial], `ptcp:${port}:127.0.0.1`];
  }
  const path = (name: string): string => ovs.path(name);
  const [ours, theirs] = [await createIdentity(path, "switch"), await createIdentity(path, "controller")];
  await ovs.vsctl("set-ssl", ours.key, ours.certificate, theirs.certificate);
  const files = [
    ...["--ctl-privkey", theirs.key, "--ctl-cert", theirs.certificate],
    ...["--ca-certs", ours.certificate],
  ];
  const listen = ["--ofp-tcp-listen-port", idle, "--ofp-ssl-listen-port", String(port)];
  return [[...here, ...listen, ...files], `ssl:127.0.0.1:${port}`];
}

describe("os-ken", () => {
  it.each([
    ["1.0", 1, "tcp"],
    ["1.3", 4, "tcp"],
    ["1.3", 4, "ssl"],
    ["1.0", 1, "ptcp"],
    ["1.3", 4, "ptcp"],
  ] as const)("is a learning switch in OpenFlow %s (%d) over %s", async (version, number, how) => {
    const [options, target] = await meeting(how);
    osKen = new OsKen("learning_switch", options, version);
    await ovs.vsctl("set-controller", "br0", target);
    const features = await osKen.line({ event: "features" });
    expect(features).toMatchObject({ version: number, tables: 254 });
    await osKen.line({ event: "ready" });
    await conversation();
    expect(await ovs.ofctl("dump-flows", "br0")).toContain("cookie=0x7");
    await ovs.vsctl("del-port", "br0", "p3");
    expect(await osKen.line({ event: "port" })).toMatchObject({ name: "p3", reason: 1 });
    await ovs.ofctl("del-flows", "br0", "cookie=7/-1");
    expect(await osKen.line({ event: "removed" })).toMatchObject({ reason: 2 });
    expect(osKen.lines.filter(({ event }) => event === "error")).toEqual([]);
    await ovs.vsctl("del-controller", "br0");
    await osKen.line({ event: "gone" });
  });

  it("gets an answer to everything that it can ask in 1.3", async () => {
    const [options, target] = await meeting("tcp");
    osKen = new OsKen("asks_everything", options, "1.3");
    await ovs.vsctl("set-controller", "br0", target);
    await osKen.line({ asked: "end" });
    const answers = new Map(
      osKen.lines.map(({ asked, answer }) => [asked, Object.values((answer ?? {}) as object)[0] as unknown]),
    );
    expect(answers.get("desc")).toMatchObject({ mfr_desc: expect.stringContaining("Plinth") });
    expect(answers.get("flow")).toMatchObject([
      {
        table_id: 2,
        priority: 9,
        cookie: 5,
        match: { nw_src: "10.0.0.0/255.0.0.0", tp_dst: 80 },
        actions: [
          { WRITE_ACTIONS: ["GROUP:1"] },
          "WRITE_METADATA:0x55/0xff",
          "GOTO_TABLE:3",
          "SET_FIELD: {ipv4_dst:10.1.1.1}",
        ],
      },
    ]);
    expect(answers.get("aggregate")).toMatchObject([{ flow_count: 1 }]);
    expect(answers.get("table")).toHaveLength(254);
    expect(answers.get("table_features")).toHaveLength(254);
    expect(answers.get("port")).toHaveLength(4);
    expect(answers.get("port_desc")).toHaveLength(4);
    expect(answers.get("queue")).toEqual([]);
    expect(answers.get("meter")).toMatchObject([{ meter_id: 1, flow_count: 0 }]);
    expect(answers.get("meter_config")).toMatchObject([
      { meter_id: 1, flags: ["KBPS", "BURST", "STATS"], bands: [{ type: "DROP", rate: 1000 }] },
    ]);
    expect(answers.get("group")).toMatchObject([{ group_id: 1, ref_count: 1 }]);
    expect(answers.get("group_desc")).toMatchObject([
      { type: "SELECT", buckets: [{ actions: ["OUTPUT:1"] }] },
    ]);
    expect(answers.get("group_features")).toMatchObject([
      { types: expect.arrayContaining(["SELECT", "FF"]), capabilities: expect.arrayContaining(["CHAINING"]) },
    ]);
    expect(answers.get("role")).toMatchObject([{ role: "EQUAL" }]);
    expect(answers.get("role_set")).toMatchObject([{ role: "MASTER" }]);
    expect(answers.get("flow_after")).toEqual([]);
    const errors = osKen.lines.filter(({ asked }) => asked === "error").map(({ answer }) => answer);
    expect(errors).toEqual([
      [6, 0],
      [2, 9],
    ]);
    // The column is written a little later.
    await waitFor(
      async () => (await ovs.vsctl("get", "controller", "br0", "role")) === "master",
      "the role in the database",
      5000,
    );
  });
});

function start(...args: string[]): void {
  testController = spawn("ovs-testcontroller", ["-v", "--unixctl", ovs.path("tc.ctl"), ...args], {
    env: { ...process.env, OVS_RUNDIR: ovs.path(".") },
    stdio: "ignore",
  });
}

describe("ovs-testcontroller", () => {
  it.each(["OpenFlow10", "OpenFlow13"])(
    "is a learning switch that the switch dials, in %s",
    async (version) => {
      const port = await freePort();
      start("-O", version, `ptcp:${port}:127.0.0.1`);
      await ovs.vsctl("set-controller", "br0", `tcp:127.0.0.1:${port}`);
      await connected();
      await conversation();
      expect(await ovs.ofctl("dump-flows", "br0")).toMatch(/idle_timeout=60.*dl_dst=/);
    },
  );

  it("is a learning switch over TLS", async () => {
    const path = (name: string): string => ovs.path(name);
    const [ours, theirs] = [await createIdentity(path, "switch"), await createIdentity(path, "controller")];
    await ovs.vsctl("set-ssl", ours.key, ours.certificate, theirs.certificate);
    const port = await freePort();
    start("-p", theirs.key, "-c", theirs.certificate, "-C", ours.certificate, `pssl:${port}:127.0.0.1`);
    await ovs.vsctl("set-controller", "br0", `ssl:127.0.0.1:${port}`);
    await connected();
    await conversation();
  });

  it.each(["tcp", "unix"])("dials the switch over %s, and may be a hub", async (how) => {
    const port = await freePort();
    const [listen, dial] =
      how === "tcp"
        ? [`ptcp:${port}:127.0.0.1`, `tcp:127.0.0.1:${port}`]
        : [`punix:${ovs.path("c.sock")}`, `unix:${ovs.path("c.sock")}`];
    await ovs.vsctl("set-controller", "br0", listen);
    await waitFor(
      async () => (await ovs.vsctl("get", "controller", "br0", "status")).includes("state=ACTIVE"),
      "not listening",
      DEADLINE_MS,
    );
    start("--hub", dial);
    await connected();
    ovs.inject(1, ethernetFrame({ to: 2, from: 1, text: "hub" }));
    await arrives(2, "hub");
    await arrives(3, "hub");
  });
});
