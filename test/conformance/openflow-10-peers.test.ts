// What controllers of OpenFlow 1.0 send, byte for byte: POX with its learning switch and its discovery, and benchmarks
// that play a switch. The bytes are written by hand after the messages that those programs build.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fromHex, toHex } from "../../base/bytes/index.js";
import { waitFor } from "../../base/time/index.js";
import { OpenFlowSwitch } from "../support/openflow-switch.js";
import { RawOpenFlow, told } from "../support/raw-openflow.js";

const DEADLINE_MS = 30_000;
const NO_BUFFER = "ffffffff";
const FEATURES_REQUEST = "0105000800000002";
const SET_CONFIG = "0109000c0000000300000080";
/** Everything wildcarded, as POX packs an empty match. */
const ANYTHING = `003820ff${"00".repeat(36)}`;
const DELETE_ALL = `010e004800000004${ANYTHING}${"00".repeat(8)}000300000000800${"0"}${NO_BUFFER}ffff0000`;

const A = "020000000001";
const B = "020000000002";
const padding = "00".repeat(46);
const fromA = `${B}${A}88b5${padding}`;
const fromB = `${A}${B}88b5${padding}`;

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
const output = (port: string, maxLength = "0000"): string => `00000008${port}${maxLength}`;
const packetOut = (inPort: string, actions: string, frame: string): string =>
  `010d${hex(16 + (actions.length + frame.length) / 2, 4)}00000009${NO_BUFFER}${inPort}${hex(actions.length / 2, 4)}${actions}${frame}`;

/** ofp_match.from_packet() of an Ethernet frame that is neither IP nor ARP: exact in what there is. */
const exactly = (inPort: string, from: string, to: string): string =>
  `003820e0${inPort}${from}${to}ffff000088b5${"00".repeat(16)}`.padEnd(80, "0");

const flowMod = (match: string, timeouts: string, actions: string, bufferId = NO_BUFFER): string =>
  `010e${hex(72 + actions.length / 2, 4)}00000006${match}${"00".repeat(8)}0000${timeouts}8000${bufferId}ffff0000${actions}`;

let directory: string;
let ovs: OpenFlowSwitch;
let peer: RawOpenFlow;

const send = (...messages: string[]): void => peer.send(...messages.map(fromHex));
const ask = (...messages: string[]): Promise<Buffer[]> => peer.ask(...messages.map(fromHex));
const sent = (name: string): string[] => ovs.takeSent(name).map(toHex);

beforeEach(async () => {
  directory = mkdtempSync("/tmp/of-10-");
  ovs = await OpenFlowSwitch.open(directory);
  peer = new RawOpenFlow(join(directory, "br0.mgmt"), 1);
});

afterEach(async () => {
  peer.close();
  await ovs.close();
  rmSync(directory, { recursive: true, force: true });
});

describe("POX", () => {
  it("is met: features, configuration, an empty table", async () => {
    send(FEATURES_REQUEST);
    const features = await peer.next(6);
    expect(features.readUInt32BE(16), "buffers").toBe(0);
    expect(features[20], "tables").toBe(254);
    expect(features.readUInt32BE(28) & 0xfff, "actions").toBe(0xfff);
    expect((features.length - 32) % 48, "whole ports").toBe(0);
    expect(await ask(SET_CONFIG, DELETE_ALL)).toEqual([]);
    const [config] = await ask("0107000800000005");
    expect(config?.subarray(8).toString("hex")).toBe("00000080");
    expect((await ask("0102000c0000000701020304")).map((echo) => echo.toString("hex"))).toEqual([
      "0103000c0000000701020304",
    ]);
  });

  it("learns: what is unknown is flooded, what is known gets a flow", async () => {
    await ask(SET_CONFIG, DELETE_ALL);
    ovs.inject("vm1", fromHex(fromA));
    const first = await peer.next(10);
    expect(first.subarray(8).toString("hex")).toBe(`${NO_BUFFER}003c00010000${fromA}`);
    expect(await ask(packetOut("0001", output("fffb"), fromA))).toEqual([]);
    expect(sent("vm2")).toEqual([fromA]);
    expect(sent("vm1")).toEqual([]);

    ovs.inject("vm2", fromHex(fromB));
    expect((await peer.next(10)).readUInt16BE(14), "in_port").toBe(2);
    // The flow, a barrier, and the frame through the tables again.
    const learned = flowMod(exactly("0002", B, A), "000a001e", output("0001"));
    expect(await ask(learned, "0112000800000008", packetOut("0002", output("fff9"), fromB))).toMatchObject([
      { 1: 19 },
    ]);
    expect(sent("vm1")).toEqual([fromB]);
    ovs.inject("vm2", fromHex(fromB));
    expect(sent("vm1")).toEqual([fromB]);
    expect(await ask()).toEqual([]);

    const [flows] = await ask(`011000380000000a00010000${ANYTHING}ff00ffff`);
    const entry = flows?.subarray(12) as Buffer;
    expect(entry.readUInt16BE(0)).toBe(entry.length);
    expect(entry.subarray(4, 44).toString("hex")).toBe(exactly("0002", B, A));
    expect(entry.subarray(52, 58).toString("hex"), "priority and time-outs").toBe("8000000a001e");
    expect(entry.readBigUInt64BE(72), "packets").toBe(2n);
    expect(entry.readBigUInt64BE(80), "bytes").toBe(120n);
    expect(entry.subarray(88).toString("hex")).toBe(output("0001"));
  });

  it("discovers: frames of no port leave by one port, and LLDP comes whole", async () => {
    await ask(SET_CONFIG);
    const lldp = `0180c200000e${A}88cc${padding}`;
    const match = `003fffef${"00".repeat(18)}88cc${"00".repeat(16)}`.padEnd(80, "0");
    expect(await ask(flowMod(match, "00000000", output("fffd", "ffff")))).toEqual([]);
    // in_port is OFPP_NONE, as POX packs a packet-out that nobody gave a port.
    expect(await ask(packetOut("ffff", output("0002"), lldp))).toEqual([]);
    expect(sent("vm2")).toEqual([lldp]);
    ovs.inject("vm1", fromHex(lldp));
    const packetIn = await peer.next(10);
    expect(packetIn[16], "reason").toBe(1);
    expect(packetIn.subarray(18).toString("hex")).toBe(lldp);
  });

  it("is told by errors of 1.0 what does not work", async () => {
    const errorOf = async (message: string): Promise<string> => (await ask(message)).map(told).join(" ");
    const any = flowMod(ANYTHING, "00000000", output("0001"), "00000100");
    expect(await errorOf(any), "a buffer").toBe("1:8");
    expect(ovs.flowCount).toBe(0);
    expect(await errorOf(`010d001800000009000001000001000800000008${"00020000"}`), "a buffer").toBe("1:8");
    expect(await errorOf("010400100000000b0026e10000000001"), "an unknown vendor").toBe("1:3");
    expect(await errorOf(`0104001400000${"00c"}0000232000000010${"00000001"}`), "nxm packet-ins").toBe("");
    expect(await errorOf("0163000800000001"), "an unknown type").toBe("1:1");
    expect(await errorOf("0110000c000000010063" + "0000"), "unknown statistics").toBe("1:2");
    expect(await errorOf(flowMod(ANYTHING, "00000000", output("ff05"))), "a port that can be none").toBe(
      "2:4",
    );
    expect(await errorOf(flowMod(ANYTHING, "00000000", "000c000800000000")), "an unknown action").toBe("2:0");
    expect(await errorOf(flowMod(ANYTHING, "00000000", "0000000400000000")), "a short action").toBe("2:1");
  });

  it("asks for every statistic of 1.0", async () => {
    const body = async (type: number, rest = ""): Promise<Buffer> => {
      const [reply] = await ask(`0110${hex(12 + rest.length / 2, 4)}0000000b${hex(type, 4)}0000${rest}`);
      expect(reply?.readUInt16BE(8)).toBe(type);
      return (reply as Buffer).subarray(12);
    };
    expect((await body(0)).length, "description").toBe(1056);
    expect((await body(2, `${ANYTHING}ff00ffff`)).length, "aggregate").toBe(24);
    expect((await body(3)).length % 64, "tables").toBe(0);
    expect((await body(4, "ffff000000000000")).length, "three ports").toBe(3 * 104);
    expect((await body(4, "0001000000000000")).readUInt16BE(0), "one port").toBe(1);
    expect((await body(5, "fffc0000ffffffff")).length, "queues").toBe(0);
  });
});

describe("a benchmark that plays a switch", () => {
  it("is told of everything that it has no business to send, and stays connected", async () => {
    const features = `0106005000000001${"00".repeat(7)}0100000100ff000000000000c7000007ff${"00".repeat(48)}`;
    const packetIn = `010a004e00000000000001000040000100${"00".repeat(60)}`.padEnd(156, "0");
    const answers = await ask(
      ...[features, packetIn, "0108000c0000000200000080", "0113000800000009"],
      `011100100000000a0001000000000000`,
      `010b005800000000${"00".repeat(80)}`,
    );
    expect(answers.map(told)).toEqual(["1:1", "1:1", "1:1", "1:1", "1:1", "1:1"]);
    await waitFor(() => !peer.isClosed, "hung up", DEADLINE_MS);
    expect(await ask(FEATURES_REQUEST)).toMatchObject([{ 1: 6 }]);
  });
});
