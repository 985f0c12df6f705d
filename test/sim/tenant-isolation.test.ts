// Nobody crosses into another tenant, whatever bytes a machine sends: the controller's flows for two tenants that
// chose the same VLAN, subnet and addresses, on our own flow tables, against frames made to get across.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import {
  ETHERTYPE_IPV4,
  encodeEthernet,
  encodeIcmp,
  encodeIpv4,
  IPPROTO_ICMP,
  MAC_BROADCAST,
} from "../../base/wire/index.js";
import { type SdnController, startSdn } from "../../sdn-controller/index.js";
import { Conntrack } from "../../vswitch/conntrack/index.js";
import { FlowTableSwitch } from "../support/flow-table-switch.js";
import {
  BLUE,
  build,
  bytesOf,
  honest,
  machine as machineOf,
  plans,
  RED,
  SHUT,
  type Station,
  stations as stationsOf,
  TENANT_PORTS,
  tenants,
} from "../support/tenants.js";

let dir: string;
let controller: SdnController;
let tables: FlowTableSwitch;
let close: () => Promise<void>;

beforeAll(async () => {
  dir = mkdtempSync("/tmp/ten-");
  const sdn = await startSdn(
    {
      openflowSocket: join(dir, "of.sock"),
      ovsdbEndpoint: `unix:${join(dir, "none.sock")}`,
      outputs: { onStatus: () => {}, onEvent: () => {}, onCondition: () => {} },
    },
    { clock: systemClock, log: silentLog },
  );
  close = () => sdn.close();
  controller = sdn.controller;
  controller.update(tenants());
  controller.setAttachments(TENANT_PORTS);
  controller.inventoryComplete();
  tables = new FlowTableSwitch((pool) => new Conntrack({ pool, pickupGraceMs: 0 }));
  await tables.device.dial(join(dir, "of.sock"));
  await waitFor(() => controller.isSettled, "the flows to be there", 10_000);
});

afterAll(async () => {
  await tables?.device.hangUp();
  await close?.();
  rmSync(dir, { recursive: true, force: true });
});

const machine = (key: string): Station => machineOf(controller, key);
const stations = (): Station[] => stationsOf(controller);

/** The ports that `frame`, put in at `port`, came out of. */
function reached(port: number, frame: Uint8Array): number[] {
  const before = [...TENANT_PORTS.values()].map((each) => [each, tables.sentBy(each).length] as const);
  tables.inject(port, frame);
  return before.filter(([each, count]) => tables.sentBy(each).length > count).map(([each]) => each);
}

describe("two tenants with the same VLAN, subnet and addresses", () => {
  it("have segments, and so connections, of their own", () => {
    const segmentOf = (key: string) => controller.compiler.inventory.port(key)?.network.segmentId;
    expect(segmentOf("red/a")).not.toBe(segmentOf("blue/a"));
    expect(machine("red/a").address).toBe(machine("blue/a").address);
    expect(machine("red/a").mac).not.toEqual(machine("blue/a").mac);
    expect(reached(1, honest(machine("red/a"), machine("red/b")))).toEqual([2]);
    // The same addresses and ports: an answer in one is none in the other.
    const answer = honest(machine("blue/b"), machine("blue/a"), 53, 1000);
    expect(reached(5, answer)).toEqual([4]);
    expect(reached(4, honest(machine("blue/a"), machine("blue/b")))).toEqual([5]);
  });

  it("do not reach each other by any MAC, nor each other's load balancer", () => {
    const [a, b] = [machine("red/a"), machine("blue/b")];
    expect(reached(1, honest(a, b))).toEqual([]);
    expect(reached(1, honest(a, { mac: MAC_BROADCAST, address: b.address }))).toEqual([]);
    const balancer = controller.compiler.inventory.function("blue/web");
    const vip = { mac: bytesOf(balancer?.mac ?? 0), address: balancer?.address ?? 0 };
    expect(reached(1, honest(a, vip))).toEqual([]);
    expect(reached(4, honest(machine("blue/a"), vip))).toEqual([9]);
  });

  it("do not reach each other with any frame, not even from a network function of their own", () => {
    const all = stations();
    for (const [from, others] of [
      [RED, BLUE],
      [BLUE, RED],
    ] as const) {
      fc.assert(
        fc.property(plans(from), (plan) => {
          const out = reached(plan.at, build(plan, all));
          expect(out.filter((port) => others.includes(port))).toEqual([]);
        }),
        { numRuns: 4000 },
      );
    }
  });
});

describe("a machine that policy shuts off", () => {
  it("reaches no other machine with any frame, whatever connections there are", () => {
    const all = stations();
    const [a, b] = [machine("red/a"), machine("red/b")];
    for (const port of [53, 80, 1000]) {
      expect(reached(1, honest(a, b, 40_000, port))).toEqual([2]);
      expect(reached(2, honest(b, a, port, 40_000))).toEqual([1]);
    }
    fc.assert(
      fc.property(plans([SHUT]), (plan) => {
        const out = reached(plan.at, build({ ...plan, macFrom: 2 }, all));
        expect(out.filter((port) => port === 1 || port === 2)).toEqual([]);
      }),
      { numRuns: 4000 },
    );
  });

  it("cannot pass an ICMP error that quotes somebody else's connection", () => {
    const [a, b, closed] = [machine("red/a"), machine("red/b"), machine("red/shut")];
    expect(reached(1, honest(a, b, 5000, 5001))).toEqual([2]);
    const pair = { source: closed.address, destination: b.address };
    const quoted = honest(a, b, 5000, 5001).subarray(14, 42);
    const payload = encodeIcmp({ type: 3, code: 1, rest: 0, payload: quoted });
    const packet = encodeIpv4({ ...pair, protocol: IPPROTO_ICMP, payload });
    const ends = { destination: b.mac, source: closed.mac };
    expect(reached(3, encodeEthernet({ ...ends, etherType: ETHERTYPE_IPV4, payload: packet }))).toEqual([]);
  });
});
