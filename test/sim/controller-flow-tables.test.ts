// The controller's pipeline on our own flow tables: the suite that a real Open vSwitch passes too.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { TCP_ACK } from "../../base/wire/index.js";
import { startSdn } from "../../sdn-controller/index.js";
import { OFPORTS, POLICIES, policyChange, shopChanges } from "../../sdn-controller/testing/shop.js";
import { Conntrack } from "../../vswitch/conntrack/index.js";
import { FlowTableSwitch } from "../support/flow-table-switch.js";
import { tcpFrame } from "../support/pipeline-frames.js";
import { type PipelineBench, pipelineSuite } from "../support/pipeline-suite.js";

const DEADLINE_MS = 10_000;

interface OwnTables extends PipelineBench {
  readonly tables: FlowTableSwitch;
}

async function openTables(): Promise<OwnTables> {
  const dir = mkdtempSync("/tmp/sft-");
  const sdn = await startSdn(
    {
      openflowSocket: join(dir, "of.sock"),
      // Nobody listens there: this switch has no database, and the attachments are given below.
      ovsdbEndpoint: `unix:${join(dir, "none.sock")}`,
      outputs: { onStatus: () => {}, onEvent: () => {}, onCondition: () => {} },
    },
    { clock: systemClock, log: silentLog },
  );
  const { controller } = sdn;
  controller.update([...shopChanges(), ...POLICIES.map((policy) => policyChange(policy))]);
  controller.setAttachments(OFPORTS);
  controller.inventoryComplete();
  const tables = new FlowTableSwitch((pool) => new Conntrack({ pool }));
  await tables.device.dial(join(dir, "of.sock"));
  await waitFor(() => controller.isSettled, "the flows to be there", DEADLINE_MS);
  return {
    controller,
    tables,
    inject: async (ofport, frame) => tables.inject(ofport, frame),
    sentBy: (ofport) => tables.sentBy(ofport),
    async close() {
      await tables.device.hangUp();
      await sdn.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

pipelineSuite("our own flow tables", openTables);

describe("after the switch lost its connections", () => {
  let bench: OwnTables;
  beforeAll(async () => {
    bench = await openTables();
  });
  afterAll(() => bench.close());

  function end(name: string): { ofport: number; mac: Uint8Array; address: number } {
    const view = bench.controller.compiler.inventory.port(`shop/${name}`);
    if (view === undefined) throw new Error(`no port ${name}`);
    const mac = Uint8Array.from(Buffer.from(view.mac.toString(16).padStart(12, "0"), "hex"));
    return { ofport: OFPORTS.get(view.key) as number, mac, address: view.addresses[0] as number };
  }

  function arrivals(from: string, to: string, source: number, destination: number): number[] {
    const before = new Map([...OFPORTS.values()].map((port) => [port, bench.sentBy(port).length]));
    const [a, b] = [end(from), end(to)];
    bench.tables.inject(a.ofport, tcpFrame(a, b, { source, destination }, TCP_ACK, 7, 9));
    return [...before].filter(([port, count]) => bench.sentBy(port).length > count).map(([port]) => port);
  }

  it("takes up an opener's connection in the middle if policy allows it, and no other", () => {
    expect(arrivals("app", "db", 40_000, 5432)).toEqual([5]);
    expect(arrivals("db", "app", 5432, 40_000)).toEqual([4]);
    expect(arrivals("app", "db", 40_001, 5433)).toEqual([]);
  });

  it("gives what an endpoint goes on answering to the balancer, not to the client that does not know it", () => {
    expect(arrivals("web1", "client", 80, 41_000)).toEqual([9]);
    expect(arrivals("db", "app", 5432, 42_000)).toEqual([4]);
  });
});
