// Every reason for drops there is, brought about by frames: its name, its counter, and the rule that is named for it.
import { describe, expect, it } from "vitest";
import {
  type Action,
  type Match,
  OFPC_FRAG_DROP,
  OFPC_FRAG_REASM,
  OFPG_ANY,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPP_NORMAL,
  OFPPC_NO_PACKET_IN,
  OFPPC_NO_RECV,
} from "../../base/openflow/index.js";
import type { PortSettings } from "../datapath/index.js";
import type { MirrorConfig } from "../learn/index.js";
import { ACK, A as HTTP, natTo, turn } from "../testing/conversation.js";
import { cut } from "../testing/fragments.js";
import { plainFrame, tcpFrame, udpFrame } from "../testing/frames.js";
import { helperRig, line, openControl } from "../testing/helper-rig.js";
import { apply, field, goto, match, output, Rig } from "../testing/rig.js";
import { trackAction } from "../testing/track-rig.js";
import type { DropReport } from "./drop-counters.js";
import { DROP_REASONS, type DropReason } from "./drop-reasons.js";
import { STEPS_MAX } from "./limits.js";

const SLOTS = 512;
const MAC = "52:54:00:00:00:0a";
const BROADCAST = "ff:ff:ff:ff:ff:ff";
const FRAME = udpFrame(HTTP);
const TRUNK = { mode: "trunk", tag: 0, trunks: [] } as const;

/** What a report names beside reason and count. */
type Rule = Pick<DropReport, "tableId" | "cookie" | "priority">;

/** Every packet meets this first, in table 0. */
const FIRST = { tableId: 0, cookie: 0xf1n, priority: 5 };
/** And then this, in table 3: the rule that is to be named. */
const DECIDER = { tableId: 3, cookie: 0xdecn, priority: 77 };
const MISS = { tableId: 0, cookie: 0x315n, priority: 0 };
const NO_RULE: Rule = { tableId: -1, cookie: null, priority: 0 };

interface Case {
  readonly make: () => Rig;
  /** Sends frames, all of which are dropped for the reason, and `drops` drops are counted. Done several times. */
  readonly provoke: (rig: Rig) => Map<number, Uint8Array[]>;
  /** Absent: 1. */
  readonly drops?: number;
  /** Absent: DECIDER. */
  readonly rule?: Rule;
  /** Ports that all the same get something. */
  readonly leavesBy?: readonly number[];
}

type RigOptions = ConstructorParameters<typeof Rig>[1];
const IP = match(field("eth_type", 0x0800));

/** Three ports, and the two rules of which the second does this to what it matches: to everything unless told. */
function rigOf(actions: readonly Action[], options: RigOptions = {}, only: Match = []): Rig {
  const rig = new Rig(3, { slots: SLOTS, ...options });
  rig.flow({ ...FIRST, instructions: [goto(DECIDER.tableId)] });
  // Never met: it would be named if the last rule added were.
  rig.flow({ ...DECIDER, cookie: 0xbadn, priority: 99, match: match(field("in_port", 9)) });
  rig.flow({ ...DECIDER, match: only, instructions: [apply(...actions)] });
  return rig;
}

const ipRig = (...actions: readonly Action[]): Rig => rigOf(actions, {}, IP);

function configured(rig: Rig, port: number, config: number): Rig {
  const slot = rig.bridge.slots[port - 1]!;
  slot.config = config;
  slot.update();
  rig.bridge.tables.invalidate();
  return rig;
}

function set(rig: Rig, port: number, settings: Partial<PortSettings>): Rig {
  rig.bridge.setPort(rig.bridge.slots[port - 1]!, { vlan: TRUNK, ...settings }, rig.nowMs);
  return rig;
}

const send =
  (port: number, ...frames: readonly Uint8Array[]) =>
  (rig: Rig) =>
    rig.send(port, ...frames);
const resubmit = (tableId: number): Action => ({
  type: "resubmit",
  port: OFPP_IN_PORT,
  tableId,
  withCt: false,
});
const commit = (actions: Parameters<typeof trackAction>[0] = {}): Action =>
  trackAction({ commit: true, ...actions });

function meterRig(): Rig {
  const rig = rigOf([output(2)]);
  const band = { type: "drop", rate: 1, burstSize: 1 } as const;
  rig.bridge.change(
    { type: "meter_mod", xid: 1, command: "add", flags: 6, meterId: 1, bands: [band] },
    rig.nowMs,
  );
  rig.flow({ ...DECIDER, instructions: [{ type: "meter", meterId: 1 }, apply(output(2))] });
  rig.send(1, FRAME);
  return rig;
}

function groupRig(): Rig {
  const rig = rigOf([output(2)]);
  const bucket = { weight: 0, watchPort: 2, watchGroup: OFPG_ANY, actions: [output(2)] };
  const group = { type: "group_mod", xid: 1, command: "add", groupType: "ff" } as const;
  rig.bridge.change({ ...group, groupId: 7, buckets: [bucket] }, rig.nowMs);
  rig.flow({ ...DECIDER, instructions: [apply({ type: "group", groupId: 7 })] });
  rig.ports[1]!.linkUp = false;
  rig.datapath.tick(rig.nowMs);
  return rig;
}

function mirrorRig(): Rig {
  const rig = rigOf([output(OFPP_NORMAL)]);
  const mirror: MirrorConfig = {
    name: "m",
    selectAll: true,
    selectSourcePorts: [],
    selectDestinationPorts: [],
    selectVlans: [],
    outputPort: "p3",
    outputVlan: undefined,
    snapLength: undefined,
  };
  rig.bridge.setBridge({ macTableEntries: 1024, macAgeingMs: 300_000, mirrors: [mirror] });
  return rig;
}

/** The only connection that there is room for is one that was answered. */
function fullRig(): Rig {
  const rig = ipRig(commit());
  rig.datapath.conntrack.configure({ connectionsMax: 1 });
  const rules = { ...DECIDER, priority: 78, match: match(...IP, field("in_port", 2)) };
  rig.flow({ ...rules, instructions: [apply(trackAction({}), output(1))] });
  rig.send(1, FRAME);
  rig.send(2, udpFrame(turn(HTTP)));
  return rig;
}

const FTP = { ...HTTP, destinationPort: 21 };
const OUTSIDE = "192.0.2.111";

/** The client's text has been changed, and the numbers of what follows differ by that. */
function ftpRig(): Rig {
  const rig = helperRig(FTP, { nat: natTo("source", OUTSIDE) });
  openControl(rig, FTP, { ...FTP, source: OUTSIDE });
  rig.send(1, tcpFrame(FTP, ACK, line("PORT 10,0,0,1,5,1"), { sequence: 101, acknowledgment: 501 }));
  return rig;
}

function queueRig(): Rig {
  const rig = set(rigOf([output(2)]), 2, {
    qos: { type: "linux-htb", queues: [{ queueId: 0, maxRateBps: 12_000 }], maxRateBps: 12_000 },
  });
  const long = udpFrame(HTTP, new Uint8Array(1208));
  for (let n = 0; n < 300; n++) rig.send(1, long);
  return rig;
}

const LONG = udpFrame(HTTP, new Uint8Array(4000));
const OVERLAPPING = [...cut(LONG, [1400, 2800]).slice(0, 1), ...cut(LONG, [1392, 2800]).slice(1, 2)];

const CASES: Readonly<Record<DropReason, Case>> = {
  "table-miss": {
    make: () => {
      const rig = new Rig(2, { slots: SLOTS });
      rig.flow({ ...FIRST, instructions: [goto(3)] });
      return rig;
    },
    provoke: send(1, FRAME),
    // The table where none matched, and the flow that led there.
    rule: { ...FIRST, tableId: 3 },
  },
  "no-output": { make: () => rigOf([]), provoke: send(1, FRAME) },
  meter: { make: meterRig, provoke: send(1, FRAME) },
  "ttl-exceeded": {
    make: () => ipRig({ type: "set_nw_ttl", ttl: 1 }, { type: "dec_nw_ttl" }, output(2)),
    provoke: send(1, FRAME),
  },
  "no-live-bucket": { make: groupRig, provoke: send(1, FRAME) },
  "no-buffer": {
    // What has left by port 2 is not to be changed, and there is no room for a copy.
    make: () =>
      rigOf([output(2), { type: "push_vlan", etherType: 0x8100 }, output(3)], {
        slots: 1,
      }),
    provoke: send(1, FRAME),
    leavesBy: [2],
  },
  nesting: {
    make: () => rigOf([resubmit(3)]),
    provoke: send(1, FRAME),
  },
  "bad-port": { make: () => rigOf([output(77)]), provoke: send(1, FRAME) },
  "output-to-input": { make: () => rigOf([output(1)]), provoke: send(1, FRAME) },
  "no-receive": {
    make: () => configured(rigOf([output(2)]), 1, OFPPC_NO_RECV),
    provoke: send(1, FRAME),
    rule: NO_RULE,
  },
  "vlan-not-allowed": {
    make: () =>
      rigOf([output(OFPP_NORMAL)], { vlans: [{ mode: "access", tag: 10, trunks: [] }, TRUNK, TRUNK] }),
    provoke: send(1, plainFrame(MAC, BROADCAST, 20)),
  },
  "reserved-address": {
    make: () => rigOf([output(OFPP_NORMAL)]),
    provoke: send(1, plainFrame(MAC, "01:80:c2:00:00:00")),
  },
  "conntrack-full": { make: fullRig, provoke: send(1, udpFrame({ ...HTTP, sourcePort: 9 })) },
  "nat-exhausted": {
    make: () => {
      const rig = ipRig(commit({ actions: natTo("source", "192.0.2.1", 1000), tableId: 4 }));
      rig.flow({ tableId: 4, instructions: [apply(output(2))] });
      rig.send(1, FRAME);
      return rig;
    },
    provoke: send(1, udpFrame({ ...HTTP, source: "10.0.0.9" })),
  },
  "packet-in-limit": {
    make: () => {
      const rig = new Rig(3, { slots: SLOTS });
      rig.flow({ ...MISS, match: [], instructions: [apply(output(OFPP_CONTROLLER))] });
      return configured(rig, 1, OFPPC_NO_PACKET_IN);
    },
    provoke: send(1, FRAME),
    rule: MISS,
  },
  "mirror-output": { make: mirrorRig, provoke: send(3, FRAME), rule: NO_RULE },
  "protected-port": {
    make: () => set(set(rigOf([output(2)]), 1, { isProtected: true }), 2, { isProtected: true }),
    provoke: send(1, FRAME),
  },
  policed: {
    make: () => {
      const policing = { rateKbps: 1, burstKb: 1, rateKpkts: 0, burstKpkts: 0 };
      const rig = set(rigOf([output(2)]), 1, { policing });
      rig.send(1, ...Array.from({ length: 20 }, () => plainFrame(MAC, BROADCAST)));
      return rig;
    },
    provoke: send(1, plainFrame(MAC, BROADCAST)),
    rule: NO_RULE,
  },
  "too-long": {
    make: () => set(rigOf([output(2)]), 2, { mtu: 1000 }),
    provoke: send(1, udpFrame(HTTP, new Uint8Array(1200))),
  },
  "conntrack-zone-limit": {
    make: () => {
      const rig = ipRig(commit(), output(2));
      rig.datapath.conntrack.configure({ limits: [{ zone: 5, limit: 1 }] });
      rig.send(1, FRAME);
      return rig;
    },
    provoke: send(1, udpFrame({ ...HTTP, sourcePort: 9 })),
  },
  fragment: {
    make: () => {
      const rig = rigOf([output(2)]);
      rig.bridge.handleFragments(OFPC_FRAG_DROP);
      return rig;
    },
    provoke: send(1, cut(LONG, [1400, 2800])[0] as Uint8Array),
    rule: NO_RULE,
  },
  reassembly: {
    make: () => {
      const rig = rigOf([output(2)]);
      rig.bridge.handleFragments(OFPC_FRAG_REASM);
      return rig;
    },
    provoke: send(1, ...OVERLAPPING),
    drops: 2,
    rule: NO_RULE,
  },
  "helper-fragment": {
    make: ftpRig,
    provoke: (rig) => {
      const next = { sequence: 120, acknowledgment: 501 };
      return rig.send(1, ...cut(tcpFrame(FTP, ACK, line("NOOP".padEnd(1400)), next), [1208]));
    },
    drops: 2,
    rule: { tableId: 0, cookie: 0n, priority: 100 },
  },
  "queue-full": { make: queueRig, provoke: send(1, FRAME) },
};

describe("the reasons for drops", () => {
  it("are one for each packet: no controller is told of a miss where the packet was not looked up any more", () => {
    const rig = new Rig(2, { slots: SLOTS });
    rig.bridge.tellMisses(true);
    const lookups = Array.from({ length: STEPS_MAX - 1 }, () => resubmit(5));
    rig.flow({ tableId: 5, instructions: [apply()] });
    rig.flow({ ...FIRST, instructions: [apply(...lookups), goto(3)] });
    rig.send(1, FRAME);
    expect(rig.bridge.pipeline.dropCounters.report()).toEqual([
      { ...FIRST, reason: "nesting", packets: 1, tableId: 3 },
    ]);
    expect(rig.events).toEqual([]);
  });

  it.each(DROP_REASONS.map((reason) => [reason] as const))(
    "%s: counted, by its name, with its rule",
    (reason) => {
      const { make, provoke, drops = 1, rule = DECIDER, leavesBy = [] } = CASES[reason];
      const rig = make();
      const before = rig.bridge.pipeline.dropCounters.report().find((one) => one.reason === reason);
      const others = rig.bridge.pipeline.dropCounters.report().filter((one) => one.reason !== reason);
      const free = rig.pool.available;
      let packets = before?.packets ?? 0;
      // What is not known at first is known later, and is to be counted the same.
      for (let n = 0; n < 4; n++) {
        expect([...provoke(rig).keys()]).toEqual(leavesBy);
        packets += drops;
        const told = rig.bridge.pipeline.dropCounters.report();
        expect(told.filter((one) => one.reason !== reason)).toEqual(others);
        const { tableId, cookie, priority } = rule;
        expect(told.find((one) => one.reason === reason)).toEqual({
          reason,
          packets,
          tableId,
          cookie,
          priority,
        });
        expect(rig.datapath.counters()[`drop_${reason.replaceAll("-", "_")}`]).toBe(packets);
      }
      expect(rig.pool.available).toBe(free);
    },
  );
});
