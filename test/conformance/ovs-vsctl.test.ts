// `plinth vswitchd` driven by ovs-vsctl, ovs-ofctl and ovs-appctl, unmodified, with frames on stream ports.
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { PLINTH, requirePrograms, run, runOk } from "../support/run.js";
import { StreamPeer } from "../support/stream-peer.js";
import { ethernetFrame, SwitchProcess, textOf } from "../support/switch.js";

let daemon: SwitchProcess;
const peers: StreamPeer[] = [];

beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl", "ovs-appctl");
  daemon = new SwitchProcess();
  await daemon.start("--ovsdb", `punix:${daemon.path("extra.sock")}`);
});
afterAll(() => daemon.destroy());
afterEach(async () => {
  await daemon.vsctl("--if-exists", "del-br", "br0", "--", "--if-exists", "del-br", "br1");
  for (const peer of peers.splice(0)) await peer.close();
});

/** Adds stream ports with the given Port settings and waits until the switch has dialled all. */
async function addPorts(ports: Record<string, string[]>): Promise<Record<string, StreamPeer>> {
  const made: Record<string, StreamPeer> = {};
  for (const [name, settings] of Object.entries(ports)) {
    const peer = await StreamPeer.listen(daemon.path(`${name}.peer`));
    peers.push(peer);
    made[name] = peer;
    await daemon.vsctl(
      "add-port",
      "br0",
      name,
      ...settings,
      "--",
      "set",
      "Interface",
      name,
      "type=stream",
      `options:path=${peer.path}`,
    );
  }
  for (const [name, peer] of Object.entries(made)) {
    await peer.connected();
    await waitFor(
      async () => (await daemon.vsctl("get", "Interface", name, "link_state")) === "up",
      `link of ${name}`,
      15_000,
      100,
    );
  }
  return made;
}

/** The payloads that a peer got, as ethernetFrame put them in. */
const texts = (peer: StreamPeer): string[] => peer.received.map(textOf);

describe("ovs-vsctl", () => {
  it("adds, shows and removes bridges and ports, and returns when they are in force", async () => {
    await daemon.vsctl(
      "add-br",
      "br0",
      "--",
      "set",
      "Bridge",
      "br0",
      "datapath_type=netdev",
      "fail_mode=secure",
      "other_config:datapath-id=00000000000000ab",
    );
    expect(existsSync(daemon.path("br0.mgmt"))).toBe(true);
    expect(await daemon.vsctl("get", "Bridge", "br0", "datapath_id")).toBe('"00000000000000ab"');
    expect(await daemon.vsctl("get", "Interface", "br0", "ofport")).toBe("65534");
    await daemon.vsctl(
      "add-port",
      "br0",
      "p1",
      "tag=7",
      "--",
      "set",
      "Interface",
      "p1",
      "type=stream",
      `options:path=${daemon.path("none")}`,
      "ofport_request=9",
    );
    expect(await daemon.vsctl("get", "Interface", "p1", "ofport")).toBe("9");
    expect(await daemon.vsctl("get", "Interface", "p1", "link_state", "error")).toBe("down\n[]");
    expect(await daemon.vsctl("list-ports", "br0")).toBe("p1");
    const shown = await daemon.vsctl("show");
    expect(shown).toContain("fail_mode: secure");
    expect(shown).toContain("tag: 7");
    await daemon.vsctl("del-port", "p1");
    expect(await daemon.vsctl("list-ports", "br0")).toBe("");
    expect(await daemon.vsctl("--columns=name", "--format=csv", "list", "Interface")).toBe("name\nbr0");
    await daemon.vsctl("del-br", "br0");
    expect(existsSync(daemon.path("br0.mgmt"))).toBe(false);
    expect((await daemon.tryVsctl("br-exists", "br0")).code).toBe(2);
  });

  it("tells what is wrong with an interface, in its row, and goes on", async () => {
    await daemon.vsctl("add-br", "br0");
    const { code, stderr } = await daemon.tryVsctl(
      "add-port",
      "br0",
      "bad",
      "--",
      "set",
      "Interface",
      "bad",
      "type=warp",
    );
    expect(code).toBe(0);
    expect(stderr).toContain("Error detected while setting up 'bad'");
    expect(await daemon.vsctl("get", "Interface", "bad", "ofport")).toBe("-1");
    expect(await daemon.vsctl("get", "Interface", "bad", "error")).toContain("warp");
    await daemon.tryVsctl(
      "add-port",
      "br0",
      "long",
      "--",
      "set",
      "Interface",
      "long",
      "type=stream",
      `options:path=/tmp/${"x".repeat(120)}`,
    );
    expect(await daemon.vsctl("get", "Interface", "long", "error")).not.toBe("[]");
    expect((await daemon.tryVsctl("set", "Port", "bad", "tag=4096")).stderr).toContain(
      "constraint violation",
    );
    await daemon.vsctl("set", "Interface", "bad", "type=internal");
    expect(await daemon.vsctl("get", "Interface", "bad", "error")).toBe("[]");
  });

  it("sets controllers, managers and a second database listener", async () => {
    await daemon.vsctl("add-br", "br0", "--", "set-controller", "br0", `unix:${daemon.path("nobody.sock")}`);
    await waitFor(
      async () => (await daemon.vsctl("--bare", "--columns=status", "list", "Controller")).includes("state"),
      "controller status",
      10_000,
      100,
    );
    expect(await daemon.vsctl("--bare", "--columns=is_connected", "list", "Controller")).toBe("false");
    await daemon.vsctl("set-manager", `punix:${daemon.path("mgr.sock")}`);
    for (const name of ["mgr.sock", "extra.sock"]) {
      await waitFor(() => existsSync(daemon.path(name)), name, 10_000);
      expect((await runOk("ovs-vsctl", [`--db=unix:${daemon.path(name)}`, "list-br"])).trim()).toBe("br0");
    }
    await daemon.vsctl("del-manager");
  });

  it("finds that the same verbs of ours see the same", async () => {
    await daemon.vsctl("add-br", "br0");
    const ours = (...args: string[]) =>
      runOk(process.execPath, [PLINTH, ...args.slice(0, 1), "--dir", daemon.dir, ...args.slice(1)]);
    await ours(
      "vsctl",
      "add-port",
      "br0",
      "q1",
      "tag=3",
      "--",
      "set",
      "Interface",
      "q1",
      "type=internal",
      "external_ids:a=b c",
    );
    expect(await daemon.vsctl("get", "Interface", "q1", "external_ids")).toBe('{a="b c"}');
    expect(await ours("vsctl", "get", "Interface", "q1", "external_ids")).toBe('{a="b c"}\n');
    await ours("ofctl", "add-flow", "br0", "priority=5,tcp,tp_dst=80,actions=output:1");
    expect(await daemon.ofctl("dump-flows", "br0")).toContain("priority=5,tcp,tp_dst=80 actions=output:1");
    await daemon.ofctl(
      "add-flow",
      "br0",
      "table=2,priority=6,reg0=0x5,actions=load:0x1->NXM_NX_REG1[],goto_table:3",
    );
    // Without -O both speak 1.0, which knows no goto_table.
    const line = "reg0=0x5 actions=load:0x1->NXM_NX_REG1[],resubmit(,3)";
    expect(await ours("ofctl", "dump-flows", "br0", "table=2")).toContain(line);
    expect(await runOk("ovs-ofctl", ["dump-flows", `unix:${daemon.path("br0.mgmt")}`, "table=2"])).toContain(
      line,
    );
    expect(await ours("appctl", "version")).toContain("Plinth");
    const refused = await run(process.execPath, [
      PLINTH,
      "vsctl",
      "--dir",
      daemon.dir,
      "set",
      "Port",
      "q1",
      "tag=9999",
    ]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("9999 is not in the valid range 0 to 4095 (inclusive)");
  });
});

describe("ovs-appctl", () => {
  it("lists commands, shows versions, ports, addresses and counters", async () => {
    await daemon.vsctl("add-br", "br0");
    expect(await daemon.appctl("list-commands")).toContain("fdb/show");
    expect(await daemon.appctl("version")).toContain("Plinth");
    expect(await daemon.appctl("dpif/show")).toContain("br0 65534/");
    expect(await daemon.appctl("coverage/show")).toContain("total:");
    expect(await daemon.appctl("drop/show")).toMatch(/^br0:\n/);
    const { code, stderr } = await run("ovs-appctl", ["-t", daemon.path("vswitchd.ctl"), "fdb/show", "nope"]);
    expect(code).not.toBe(0);
    expect(stderr).toContain("no such bridge");
  });
});

describe("two VLANs on stream ports under NORMAL", () => {
  it("carry frames within a VLAN, tagged on the trunk, and learn addresses", async () => {
    await daemon.vsctl("add-br", "br0");
    const ports = await addPorts({ a1: ["tag=10"], a2: ["tag=10"], b1: ["tag=20"], t1: ["trunks=10,20"] });
    const { a1, a2, b1, t1 } = ports as Record<"a1" | "a2" | "b1" | "t1", StreamPeer>;

    a1.send(ethernetFrame({ to: 0xff, from: 1, text: "Flood" }));
    await waitFor(() => a2.received.length === 1 && t1.received.length === 1, "the broadcast", 10_000);
    expect(a2.received[0]).toEqual(ethernetFrame({ to: 0xff, from: 1, text: "Flood" }));
    expect(t1.received[0]).toEqual(ethernetFrame({ to: 0xff, from: 1, vlan: 10, text: "Flood" }));

    // The address was learned: a unicast answer goes to one port only.
    a2.send(ethernetFrame({ to: 1, from: 2, text: "Answer" }));
    await waitFor(() => a1.received.length === 1, "the answer", 10_000);
    // From the trunk into the other VLAN, and a tag that an access port must not send.
    t1.send(ethernetFrame({ to: 0xff, from: 3, vlan: 20, text: "Twenty" }));
    a1.send(ethernetFrame({ to: 0xff, from: 1, vlan: 20, text: "Spoofed" }));
    a1.send(ethernetFrame({ to: 0xff, from: 1, text: "Last" }));
    await waitFor(() => texts(a2).includes("Last") && b1.received.length > 0, "the last frames", 10_000);
    expect(texts(b1)).toEqual(["Twenty"]);
    expect(texts(a2)).toEqual(["Flood", "Last"]);
    expect(texts(t1)).toEqual(["Flood", "Last"]);

    const learned = await daemon.appctl("fdb/show", "br0");
    expect(learned).toMatch(/ 10 {2}02:00:00:00:00:01/);
    expect(learned).toMatch(/ 20 {2}02:00:00:00:00:03/);
    await daemon.appctl("fdb/flush", "br0");
    expect((await daemon.appctl("fdb/show", "br0")).trim().split("\n")).toHaveLength(1);

    // Moved to the other VLAN while it runs.
    await daemon.vsctl("set", "Port", "a2", "tag=20");
    t1.send(ethernetFrame({ to: 0xff, from: 3, vlan: 20, text: "Moved" }));
    await waitFor(() => texts(a2).includes("Moved"), "the frame of the new VLAN", 10_000);
    const [, packets] = /rx pkts=(\d+)/.exec(
      await daemon.ofctl("dump-ports", "br0", "a1"),
    ) as RegExpExecArray;
    expect(Number(packets)).toBe(3);
    await waitFor(
      async () => (await daemon.vsctl("get", "Interface", "a1", "statistics:rx_packets")) === "3",
      "statistics in the row",
      15_000,
      200,
    );
  });

  it("obey flows in place of NORMAL, and none in secure mode without a controller", async () => {
    await daemon.vsctl("add-br", "br0", "--", "set-fail-mode", "br0", "secure");
    const { x, y } = (await addPorts({ x: [], y: [] })) as Record<"x" | "y", StreamPeer>;
    expect(await daemon.ofctl("dump-flows", "br0")).not.toContain("NORMAL");
    x.send(ethernetFrame({ to: 0xff, from: 1, text: "Dropped" }));
    await daemon.ofctl("add-flow", "br0", "in_port=x,actions=output:y");
    x.send(ethernetFrame({ to: 0xff, from: 1, text: "Passed" }));
    await waitFor(() => texts(y).includes("Passed"), "the frame", 10_000);
    expect(texts(y)).not.toContain("Dropped");
    expect(await daemon.ofctl("show", "br0")).toContain("(x): addr:");
  });
});

describe("other kinds of port", () => {
  it("join two bridges by patch ports, and listen for a stream peer", async () => {
    await daemon.vsctl("add-br", "br0", "--", "add-br", "br1");
    const patch = (bridge: string, name: string, peer: string) =>
      daemon.vsctl(
        "add-port",
        bridge,
        name,
        "--",
        "set",
        "Interface",
        name,
        "type=patch",
        `options:peer=${peer}`,
      );
    await patch("br0", "patch0", "patch1");
    await patch("br1", "patch1", "patch0");
    const { near } = (await addPorts({ near: ["tag=6"] })) as { near: StreamPeer };
    const path = daemon.path("far.sock");
    await daemon.vsctl(
      "add-port",
      "br1",
      "far",
      "tag=6",
      "--",
      "set",
      "Interface",
      "far",
      "type=stream",
      `options:path=${path}`,
      "options:server=true",
    );
    const { far, received, close } = await dial(path);
    try {
      await waitFor(
        async () => (await daemon.vsctl("get", "Interface", "far", "link_state")) === "up",
        "link of far",
        15_000,
        100,
      );
      near.send(ethernetFrame({ to: 0xff, from: 1, text: "Across" }));
      await waitFor(() => received().includes("Across"), "the frame on the other bridge", 10_000);
      const frame = ethernetFrame({ to: 1, from: 2, text: "Back" });
      const length = Buffer.alloc(4);
      length.writeUInt32BE(frame.length);
      far.write(Buffer.concat([length, frame]));
      await waitFor(() => texts(near).includes("Back"), "the answer", 10_000);
    } finally {
      await close();
    }
  });

  it("wait for QEMU without an error, and need their options", async () => {
    await daemon.vsctl("add-br", "br0");
    const add = (name: string, ...settings: string[]) =>
      daemon.tryVsctl("add-port", "br0", name, "--", "set", "Interface", name, ...settings);
    await add("vm1", "type=dpdkvhostuserclient", `options:vhost-server-path=${daemon.path("vm1.sock")}`);
    expect(await daemon.vsctl("get", "Interface", "vm1", "link_state", "error")).toBe("down\n[]");
    await add("vm2", "type=dpdkvhostuser");
    expect(await daemon.vsctl("get", "Interface", "vm2", "error")).toBe("[]");
    expect(existsSync(daemon.path("vm2"))).toBe(true);
    expect((await add("vm3", "type=dpdkvhostuserclient")).stderr).toContain("options:vhost-server-path");
    await daemon.vsctl("del-port", "vm2");
    expect(existsSync(daemon.path("vm2"))).toBe(false);
  });
});

/** Dials a stream port that listens, as QEMU's `-netdev stream` does. */
async function dial(path: string) {
  await waitFor(() => existsSync(path), `${path}`, 10_000);
  const far = connect(path);
  let bytes = "";
  far.on("data", (chunk) => {
    bytes += chunk.toString("latin1");
  });
  await once(far, "connect");
  const close = async (): Promise<void> => {
    far.destroy();
    await once(far, "close");
  };
  return { far, received: () => bytes, close };
}
