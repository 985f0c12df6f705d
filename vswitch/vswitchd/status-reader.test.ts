import { beforeEach, describe, expect, it } from "vitest";
import type { SwitchEvent } from "../agent/index.js";
import type { PortState } from "../datapath/index.js";
import type { BridgeStatus, ControllerStatus, NumberedPort } from "./model.js";
import { isSameStatus, StatusReader, type StatusReaderOptions } from "./status-reader.js";

const MIRRORS = [{ name: "m", packets: 3, bytes: 180 }];

let asked: string[];
let states: PortState[];
let failure: Error | undefined;
let tell: (event: SwitchEvent) => void;
let listeners: number;
let reader: StatusReader;
let controllers: ControllerStatus[];
let ports: Map<string, NumberedPort>;

const state = (name: string, changes: Partial<PortState> = {}): PortState => ({
  ...{ name, ofport: 1, adminUp: true, linkUp: true, mtu: 1500, statistics: { rx_packets: 7 } },
  lastError: undefined,
  ...changes,
});
const port = (name: string, type: string): [string, NumberedPort] => [
  name,
  { name, type, isDummy: false } as NumberedPort,
];
const portStatus = { type: "port_status", reason: "modify" } as SwitchEvent;
const read = (counters = false): Promise<BridgeStatus> =>
  reader.read("br0", { ports, controllers }, counters);

beforeEach(() => {
  asked = [];
  failure = undefined;
  listeners = 0;
  controllers = [];
  states = [state("br0", { linkUp: false, lastError: "no device" }), state("vm")];
  ports = new Map([port("br0", "internal"), port("vm", "dpdkvhostuserclient"), port("lo", "system")]);
  const datapath = {
    call: async (method: string) => {
      asked.push(method);
      const answer = method === "portStates" ? [...states] : MIRRORS;
      if (failure !== undefined) throw failure;
      return answer;
    },
    onEvent: (_bridge: string, listener: (event: SwitchEvent) => void) => {
      listeners++;
      tell = listener;
      return () => listeners--;
    },
  };
  reader = new StatusReader({
    datapath: datapath as unknown as StatusReaderOptions["datapath"],
    hasDevice: ({ name }) => name === "lo",
  });
});

describe("StatusReader", () => {
  it("asks nobody while nothing changes, and tells the very same", async () => {
    const first = await read();
    expect(asked).toEqual(["portStates"]);
    expect(first.ports.get("br0")?.facts).toEqual({ driver_name: "internal", reason: "no device" });
    expect(first.ports.get("vm")).toMatchObject({ linkUp: true, adminUp: true });
    for (let look = 0; look < 20; look++) {
      tell({ type: "packet_in" } as SwitchEvent);
      expect(await read()).toBe(first);
    }
    expect(asked).toHaveLength(1);
    expect(isSameStatus(new Map([["br0", first]]), new Map([["br0", await read()]]))).toBe(true);
  });

  it("asks once for each time that a port may have changed", async () => {
    const first = await read();
    states = [...states, state("new")];
    tell(portStatus);
    const second = await read();
    expect(second.ports.has("new")).toBe(true);
    expect(await read()).toBe(second);
    expect(asked).toHaveLength(2);
    expect(isSameStatus(new Map([["br0", second]]), new Map([["br0", first]]))).toBe(false);
  });

  it("asks again when a port changes behind an answer", async () => {
    const first = read();
    states = [state("vm", { linkUp: false })];
    tell(portStatus);
    expect((await first).ports.get("vm")?.linkUp).toBe(true);
    expect((await read()).ports.get("vm")?.linkUp).toBe(false);
  });

  it("asks after a link that is down, since its reason changes without notice", async () => {
    states = [state("vm", { linkUp: false, lastError: "refused" })];
    await read();
    states = [state("vm", { linkUp: false, lastError: "not there" })];
    expect((await read()).ports.get("vm")?.facts["reason"]).toBe("not there");
  });

  it("asks for counters whenever they are wanted, and for mirrors only then", async () => {
    await read();
    states = [state("vm", { statistics: { rx_packets: 8 } })];
    const counted = await read(true);
    expect(counted.ports.get("vm")?.statistics).toEqual({ rx_packets: 8 });
    expect(counted.mirrors).toEqual(MIRRORS);
    expect(await read()).toBe(counted);
    expect(asked).toEqual(["portStates", "portStates", "mirrorStats"]);
  });

  it("sees controllers change", async () => {
    const first = await read();
    controllers = [{ target: "tcp:192.0.2.1", isConnected: true } as ControllerStatus];
    const second = await read();
    expect(second).not.toBe(first);
    expect(second.controllers).toEqual(controllers);
    expect(await read()).toBe(second);
  });

  it("tells what the host says of a device", async () => {
    states = [state("lo", { mtu: 0 }), state("vm")];
    const { ports: told } = await read();
    expect(told.get("lo")).toMatchObject({ macAddress: "00:00:00:00:00:00", ifindex: 1 });
    expect(told.get("lo")?.mtu).toBeGreaterThan(0);
    expect(told.get("vm")?.ifindex).toBeUndefined();
  });

  it("asks again after it could not, and when a bridge has come back", async () => {
    await read();
    tell(portStatus);
    failure = new Error("gone");
    await expect(read()).rejects.toThrow("gone");
    failure = undefined;
    await read();
    expect(asked).toHaveLength(3);
    reader.forget("br0");
    expect(listeners).toBe(0);
    await read();
    expect(asked).toHaveLength(4);
    expect(listeners).toBe(1);
  });
});
