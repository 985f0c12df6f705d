// What becomes of a bridge's flows, groups and meters when its fail mode or its controllers change, and of its packets
// when its controller is away, comes and goes; told by the real tools to our switch and to Open vSwitch,
// whose clocks are turned by hand: both hold and do the same after every step.
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { ControllerPeer } from "../../vswitch/testing/controller-peer.js";
import { DummyTwins, type Line } from "../support/dummy-twins.js";
import { requirePrograms } from "../support/run.js";

let twins: DummyTwins;

beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl", "ovs-vswitchd");
  twins = await DummyTwins.open();
  await twins.both("vsctl add-br br0 -- set bridge br0 datapath_type=dummy");
}, 60_000);

afterAll(() => twins.close());

const FILL: readonly Line[] = [
  "ofctl -OOpenFlow13 add-meter br0 meter=1,kbps,band=type=drop,rate=10",
  "ofctl -OOpenFlow13 add-group br0 group_id=1,type=all,bucket=output:1",
  "ofctl -OOpenFlow13 add-flow br0 table=3,priority=7,ip,actions=meter:1,group:1",
];

const SHORT_FILL: Line = "ofctl -OOpenFlow13 add-flow br0 table=3,priority=7,ip,actions=drop";
const FLOWS: Line = "ofctl -OOpenFlow13 dump-flows br0";
const OTHERS: readonly Line[] = ["ofctl -OOpenFlow13 dump-groups br0", "ofctl -OOpenFlow13 dump-meters br0"];

it("is what Open vSwitch leaves of them", async () => {
  const steps: readonly (readonly [line: Line, isKept: boolean])[] = [
    ["vsctl set-fail-mode br0 standalone", true],
    ["vsctl set-fail-mode br0 secure", false],
    ["vsctl set-controller br0 tcp:127.0.0.1:1", false],
    ["vsctl set-fail-mode br0 standalone", true],
    ["vsctl set-controller br0 tcp:127.0.0.1:1 tcp:127.0.0.1:2", true],
    ["vsctl del-controller br0", false],
    // Who listens waits for nobody.
    ["vsctl set-controller br0 punix:$DIR/br0.snoop2", true],
    ["vsctl set-controller br0 punix:$DIR/br0.snoop2 tcp:127.0.0.1:4", false],
    ["vsctl set-controller br0 punix:$DIR/br0.snoop2", false],
    ["vsctl del-controller br0", true],
    ["vsctl set bridge br0 other-config:datapath-id=0000000000001234", true],
    ["vsctl set-fail-mode br0 secure -- set-controller br0 tcp:127.0.0.1:3", false],
    ["vsctl set-fail-mode br0 standalone -- del-controller br0", false],
  ];
  let cleared = 0;
  await twins.both(...FILL);
  for (const [line, isKept] of steps) {
    await twins.both(line);
    const { ours, real } = await twins.answers(FLOWS);
    expect(ours, line).toBe(real);
    // The flow names the meter and the group.
    expect(ours.includes("table=3"), line).toBe(isKept);
    if (isKept) continue;
    // Each kind of change once; starting programs is what takes time here.
    const isWhole = cleared++ < 3;
    for (const other of isWhole ? OTHERS : []) {
      const told = await twins.answers(other);
      expect(told.ours, line).toBe(told.real);
      expect(told.ours, line).not.toMatch(/meter=1|group_id=1/);
    }
    await twins.both(...(cleared < 3 ? FILL : [SHORT_FILL]));
  }
}, 120_000);

it("does not begin anew with a restart of our switch, and what was deleted stays deleted", async () => {
  const { ours } = twins;
  await twins.both("ofctl -OOpenFlow13 --strict del-flows br0 priority=0");
  const before = (await twins.answers(FLOWS)).ours;
  expect(before).toContain("table=3");
  expect(before).not.toContain("NORMAL");
  await ours.end("SIGKILL");
  await ours.start("--enable-dummy=override");
  expect((await twins.answers(FLOWS)).ours).toBe(before);
  await twins.both("vsctl set-fail-mode br0 secure");
  const told = await twins.answers(FLOWS);
  expect(told.ours).toBe(told.real);
  expect(told.ours).not.toContain("table=3");
}, 60_000);

/** Listens for the switch in `dir`. */
class Controller {
  readonly peers: ControllerPeer[] = [];
  readonly sockets: Socket[] = [];
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async listen(dir: string): Promise<Controller> {
    const server = createServer();
    const controller = new Controller(server);
    server.on("connection", (socket) => {
      controller.sockets.push(socket);
      controller.peers.push(new ControllerPeer(socket));
    });
    await new Promise<void>((resolve) => server.listen(join(dir, "controller"), resolve));
    return controller;
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
  }
}

it("opens a standalone bridge whose controller is away for three probe intervals, and no other", async () => {
  const dirs = [twins.real.dir, twins.ours.dir];
  let controllers: Controller[] = [];
  const close = (): void => {
    for (const one of controllers) one.close();
    controllers = [];
  };
  /** What becomes of a packet now, of both; time is what moves them there. */
  const become = async (fate: "drop" | "flood", what: string): Promise<void> => {
    const pattern =
      fate === "drop" ? /Datapath actions: drop/ : /-> no learned MAC for destination, flooding/;
    await waitFor(
      async () => {
        await twins.told("appctl time/warp 1000 250");
        const { ours, real } = await twins.told("appctl ofproto/trace br0 in_port=p1,arp");
        return pattern.test(ours) && pattern.test(real);
      },
      what,
      30_000,
    );
  };
  const tells = async (column: string, value: string): Promise<void> => {
    let seen = { ours: "", real: "" };
    await waitFor(
      async () => {
        await twins.told("appctl time/warp 1000 250");
        seen = await twins.answers(`vsctl get controller br0 ${column}`);
        return seen.ours.includes(value) && seen.real.includes(value);
      },
      () => `${column} is ${JSON.stringify(seen)}, not ${value}`,
      30_000,
    );
  };
  try {
    await twins.both(
      "vsctl add-port br0 p1 -- set interface p1 type=dummy -- add-port br0 p2 -- set interface p2 type=dummy",
      "appctl time/stop",
      "vsctl set-fail-mode br0 standalone -- set-controller br0 unix:$DIR/controller -- set controller br0 inactivity_probe=5000 max_backoff=1000",
    );
    const early = await twins.told("appctl ofproto/trace br0 in_port=p1,arp");
    for (const text of [early.ours, early.real]) expect(text).toContain("Datapath actions: drop");
    await tells("status:state", "BACKOFF");
    await become("flood", "opened without a controller");

    controllers = await Promise.all(dirs.map((dir) => Controller.listen(dir)));
    await waitFor(
      async () => {
        await twins.told("appctl time/warp 1000 250");
        return controllers.every(({ peers }) => peers.length > 0);
      },
      "dialled again",
      30_000,
    );
    for (const { peers } of controllers) {
      await peers[0]?.established();
      peers[0]?.send({ type: "features_request" }, { type: "barrier_request" });
    }
    await tells("is_connected", "true");
    await become("drop", "closed by its controller");

    close();
    await tells("is_connected", "false");
    await become("flood", "opened again");

    await twins.both("vsctl set-fail-mode br0 secure");
    await twins.both("appctl time/warp 20000 500");
    const secure = await twins.told("appctl ofproto/trace br0 in_port=p1,arp");
    for (const text of [secure.ours, secure.real]) expect(text).toContain("Datapath actions: drop");
  } finally {
    close();
  }
}, 120_000);
