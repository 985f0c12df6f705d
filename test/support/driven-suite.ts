// What holds between the controller and a switch that is a process of its own, whichever it is: they agree on every flow and
// verdict, an audit repairs and names what somebody else did, and a controller may be killed at any moment.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectJsonRpc, type JsonRpcConnection } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { formatIpv4Address } from "../../base/wire/index.js";
import type { Sdn, SdnEvent } from "../../sdn-controller/index.js";
import { formatMac } from "../../sdn-controller/network/mac.js";
import { endChild } from "./run.js";
import { BRIDGE, dialAgain, type ShopSwitch, settled } from "./shop-controller.js";
import { type Wires, whileTalking } from "./shop-traffic.js";

const DEADLINE_MS = 60_000;
const KILLS = process.env["PLINTH_NIGHTLY"] === "1" ? 5 : 1;
const CHILD = join(import.meta.dirname, "../../dist/test/support/shop-controller-child.js");
const MACHINES = ["client", "web1", "web2", "app", "db", "web1-back", "web2-back"];

export interface Driven {
  device(): ShopSwitch;
  /** Path of the socket that ovs-appctl speaks to. */
  control(): string;
  dump(...args: string[]): Promise<string>;
  ofctl(verb: string, ...args: string[]): Promise<string>;
  readonly wires: Wires;
  sdn(): Sdn;
  /** Ends the controller, and starts another one that has everything in place when this resolves. */
  restart(onEvent: (event: SdnEvent) => void): Promise<void>;
  /** Packets of a stream that the switch may lose while bundles are put in force. */
  readonly lostMax: number;
}

/** A dump in an order that does not depend on when flows came. */
export function sortedFlows(dump: string): string {
  return dump.split("\n").sort().join("\n");
}

export function drivenSuite(driven: Driven): void {
  const events: SdnEvent[] = [];
  let appctl: JsonRpcConnection;
  beforeAll(async () => {
    await driven.restart((event) => events.push(event));
    appctl = await connectJsonRpc({ kind: "unix", path: driven.control() }, { timeoutMs: DEADLINE_MS });
  });
  afterAll(() => appctl?.close());

  it("agree on every flow: an audit finds nothing to do", async () => {
    const { controller } = driven.sdn();
    const installed = (await driven.dump()).split("\n").filter((line) => line.includes("cookie="));
    expect(installed).toHaveLength(controller.metrics().flowsDesired);
    const changes = controller.metrics().changes.length;
    controller.audit();
    await controller.whenSettled();
    expect(controller.metrics().changes).toHaveLength(changes);
    expect(events).toEqual([]);
  });

  it("agree with ofproto/trace on every pair of the example", async () => {
    const { controller } = driven.sdn();
    const { compiler } = controller;
    const compare = async (from: string, to: string, port: number): Promise<boolean> => {
      const [source, destination] = [from, to].map((name) => compiler.inventory.port(`shop/${name}`));
      if (source === undefined || destination === undefined) throw new Error("no such port");
      const flow = [
        `in_port=${compiler.ofportOf(source.key)}`,
        "tcp",
        `dl_src=${formatMac(source.mac)}`,
        `dl_dst=${formatMac(destination.mac)}`,
        `nw_src=${formatIpv4Address(source.addresses[0] as number)}`,
        `nw_dst=${formatIpv4Address(destination.addresses[0] as number)}`,
        `tp_dst=${port}`,
      ].join(",");
      const args = [BRIDGE, flow, "--ct-next", "trk,new"];
      const trace = String(await appctl.call("ofproto/trace", args, DEADLINE_MS));
      const last = trace
        .split("\n")
        .filter((line) => line.startsWith("Datapath actions:"))
        .at(-1);
      const ends = { source: source.key, destination: destination.key };
      const { allowed } = controller.explain({ ...ends, protocol: "TCP", port });
      expect(`${from} to ${to}:${port} ${/[ ,]\d+$/.test(last ?? "")}`).toBe(
        `${from} to ${to}:${port} ${allowed}`,
      );
      return allowed;
    };
    const checks: Promise<boolean>[] = [];
    for (const from of MACHINES) {
      for (const to of MACHINES) {
        if (from === to) continue;
        for (const port of [22, 80, 5432, 8080]) checks.push(compare(from, to, port));
      }
    }
    const verdicts = await Promise.all(checks);
    expect(verdicts.filter((allowed) => allowed)).toHaveLength(5);
    expect(verdicts).toHaveLength(168);
  });

  it("repair in one audit what somebody else deletes, alters and adds, and say whose it is", async () => {
    const { controller } = driven.sdn();
    const flows = async (): Promise<string> => sortedFlows(await driven.dump("--no-stats"));
    const before = await flows();
    await driven.ofctl("del-flows", "table=0,in_port=1");
    await driven.ofctl("mod-flows", "table=0,in_port=2,actions=drop");
    await driven.ofctl("add-flow", "table=20,priority=9,ip,actions=drop");
    expect(await flows()).not.toBe(before);
    const repaired = controller.metrics().flowsRepaired;
    controller.audit();
    await controller.whenSettled();
    expect(await flows()).toBe(before);
    expect(controller.metrics().flowsRepaired).toBeGreaterThanOrEqual(repaired + 3);
    expect(controller.metrics().flowsDisagreed).toBe(0);
    expect(events.map(({ reason }) => reason)).toEqual(["FlowsRepaired"]);
    for (const words of ["missing of Port/shop/client", "altered of Port/shop/web1", "foreign in table 20"])
      expect(events[0]?.message).toContain(words);
  });

  it("lose no packet when the controller is killed in the middle of changes", async () => {
    const { controller } = driven.sdn();
    let child: ChildProcess | undefined;
    const start = async (): Promise<void> => {
      const { dir, endpoint } = driven.device();
      const one = spawn(process.execPath, [CHILD, dir, endpoint], { stdio: ["ignore", "pipe", "inherit"] });
      child = one;
      let said = "";
      one.stdout.on("data", (chunk: Buffer) => {
        said += chunk.toString();
      });
      const says = (line: string): Promise<void> =>
        waitFor(
          () => {
            if (one.exitCode !== null) throw new Error(`the controller ended with ${one.exitCode}`);
            return said.includes(`${line}\n`);
          },
          () => `the controller to say "${line}": ${said}`,
          DEADLINE_MS,
        );
      await says("listens");
      await dialAgain(driven.device());
      await says("changed 0");
    };
    await driven.sdn().close();
    try {
      const sent = await whileTalking(
        controller,
        driven.wires,
        async () => {
          for (let kills = 0; kills < KILLS; kills++) {
            await start();
            await endChild(child as ChildProcess);
          }
        },
        driven.lostMax,
      );
      expect(sent).toBeGreaterThan(100);
    } finally {
      if (child !== undefined) await endChild(child);
    }
    await driven.restart((event) => events.push(event));
    await settled(driven.sdn());
    const desired = driven.sdn().controller.metrics().flowsDesired;
    expect((await driven.dump()).split("\n").filter((line) => line.includes("cookie="))).toHaveLength(
      desired,
    );
  });
}
