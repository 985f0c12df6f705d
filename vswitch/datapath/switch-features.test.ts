// The features that the switch announces are true: its tables take every field, every action, every kind of group.
import { describe, expect, it } from "vitest";
import {
  type Action,
  type FlowMod,
  type GroupType,
  type Match,
  OFPAT,
  OFPG_ANY,
  OFPP_ANY,
  OXM_FIELDS,
  type OxmEntry,
  type OxmFieldName,
  type OxmPrerequisite,
} from "../../base/openflow/index.js";
import { FlowTables } from "../flow/index.js";
import { flowMod } from "../testing/rig.js";
import { GROUP_FEATURES, TABLE_FEATURES } from "./switch-features.js";

const entry = (field: OxmFieldName, ...value: number[]): OxmEntry => ({
  field,
  value: Uint8Array.from(value),
});
const IPV4 = entry("eth_type", 8, 0);
const IPV6 = entry("eth_type", 0x86, 0xdd);
const TRACKED = entry("ct_state", 0, 0, 0, 0x22);
const ND = [IPV6, entry("ip_proto", 58)];
const NEEDED: Readonly<Record<OxmPrerequisite, Match>> = {
  none: [],
  in_port: [entry("in_port", 0, 0, 0, 1)],
  vlan_vid: [entry("vlan_vid", 0x10, 1)],
  mpls: [entry("eth_type", 0x88, 0x47)],
  arp: [entry("eth_type", 8, 6)],
  ipv4: [IPV4],
  ipv6: [IPV6],
  ip: [IPV4],
  tcp: [IPV4, entry("ip_proto", 6)],
  udp: [IPV4, entry("ip_proto", 17)],
  sctp: [IPV4, entry("ip_proto", 132)],
  icmpv4: [IPV4, entry("ip_proto", 1)],
  icmpv6: ND,
  nd: [...ND, entry("icmpv6_type", 135)],
  nd_solicit: [...ND, entry("icmpv6_type", 135)],
  nd_advert: [...ND, entry("icmpv6_type", 136)],
  pbb: [entry("eth_type", 0x88, 0xe7)],
  ct: [TRACKED],
  ct_ipv4: [IPV4, TRACKED],
  ct_ipv6: [IPV6, TRACKED],
  nsh: [entry("eth_type", 0x89, 0x4f)],
};

function flow(match: Match, actions: readonly Action[]): FlowMod {
  return flowMod({ priority: 1, cookie: 0n, match, instructions: [{ type: "apply_actions", actions }] });
}

const properties = TABLE_FEATURES[0]?.properties ?? [];
const matchFields = properties.flatMap((property) => (property.type === "match" ? property.fields : []));
const setFields = properties.flatMap((property) =>
  property.type === "apply_setfield" ? property.fields : [],
);
const actionTypes = properties.flatMap((property) =>
  property.type === "apply_actions" ? property.actions : [],
);

/** A plausible action of each announced type, and what the match must say for it. */
const ACTIONS: Readonly<Record<string, readonly [Action, Match]>> = {
  output: [{ type: "output", port: 1, maxLength: 0 }, []],
  copy_ttl_out: [{ type: "copy_ttl_out" }, NEEDED.mpls],
  copy_ttl_in: [{ type: "copy_ttl_in" }, NEEDED.mpls],
  set_mpls_ttl: [{ type: "set_mpls_ttl", ttl: 9 }, NEEDED.mpls],
  dec_mpls_ttl: [{ type: "dec_mpls_ttl" }, NEEDED.mpls],
  push_vlan: [{ type: "push_vlan", etherType: 0x8100 }, []],
  pop_vlan: [{ type: "pop_vlan" }, NEEDED.vlan_vid],
  push_mpls: [{ type: "push_mpls", etherType: 0x8847 }, []],
  pop_mpls: [{ type: "pop_mpls", etherType: 0x0800 }, NEEDED.mpls],
  set_queue: [{ type: "set_queue", queueId: 0 }, []],
  group: [{ type: "group", groupId: 1 }, []],
  set_nw_ttl: [{ type: "set_nw_ttl", ttl: 9 }, [IPV4]],
  dec_nw_ttl: [{ type: "dec_nw_ttl" }, [IPV4]],
  set_field: [{ type: "set_field", field: "eth_dst", value: new Uint8Array(6) }, []],
  push_pbb: [{ type: "push_pbb", etherType: 0x88e7 }, []],
  pop_pbb: [{ type: "pop_pbb" }, NEEDED.pbb],
};

describe("the announced table features", () => {
  it.each(matchFields.map(({ field }) => field))("are true of matching %s", (name) => {
    const field = OXM_FIELDS[name];
    const needed = NEEDED[field.prerequisite].filter((other) => other.field !== name);
    const tables = new FlowTables();
    tables.applyFlowMod(flow([...needed, { field: name, value: new Uint8Array(field.size) }], []), 0);
    expect(tables.flowCount).toBe(1);
  });

  it.each(setFields.map(({ field }) => field))("are true of setting %s", (name) => {
    const field = OXM_FIELDS[name];
    const tables = new FlowTables();
    const set: Action = { type: "set_field", field: name, value: new Uint8Array(field.size) };
    tables.applyFlowMod(flow(NEEDED[field.prerequisite], [set]), 0);
    expect(tables.flowCount).toBe(1);
  });

  it("are true of every action", () => {
    const names = (Object.keys(OFPAT) as (keyof typeof OFPAT)[]).filter((name) =>
      actionTypes.some((supported) => supported.type === OFPAT[name]),
    );
    expect(names.sort()).toEqual(Object.keys(ACTIONS).sort());
    for (const [action, match] of Object.values(ACTIONS)) {
      const tables = new FlowTables();
      tables.applyGroupMod(
        { type: "group_mod", xid: 1, command: "add", groupType: "all", groupId: 1, buckets: [] },
        0,
      );
      tables.applyFlowMod(flow(match, [action]), 0);
      expect(tables.flowCount).toBe(1);
    }
  });

  it("are true of every action in a bucket", () => {
    const alone = Object.entries(ACTIONS).filter(([name]) => name !== "group");
    for (const [i, [, [action]]] of alone.entries()) {
      const tables = new FlowTables();
      const bucket = { weight: 0, watchPort: OFPP_ANY, watchGroup: OFPG_ANY, actions: [action] };
      tables.applyGroupMod(
        { type: "group_mod", xid: 1, command: "add", groupType: "all", groupId: i, buckets: [bucket] },
        0,
      );
      expect(tables.groups.descriptions()).toHaveLength(1);
    }
    const announced = (Object.keys(ACTIONS) as (keyof typeof OFPAT)[]).reduce(
      (bits, name) => bits | (1 << OFPAT[name]),
      0,
    );
    expect(GROUP_FEATURES.actions).toEqual([announced, announced, announced, announced]);
  });

  it("are true of every group type", () => {
    expect(GROUP_FEATURES.types).toBe(0b1111);
    const tables = new FlowTables();
    for (const [i, groupType] of (["all", "select", "indirect", "ff"] satisfies GroupType[]).entries()) {
      const bucket = {
        weight: groupType === "select" ? 2 : 0,
        watchPort: groupType === "ff" || groupType === "select" ? 1 : OFPP_ANY,
        watchGroup: OFPG_ANY,
        actions: [],
      };
      const mod = {
        type: "group_mod",
        xid: 1,
        command: "add",
        groupType,
        groupId: i,
        buckets: [bucket],
      } as const;
      tables.applyGroupMod(mod, 0);
    }
    expect(tables.groups.descriptions()).toHaveLength(4);
  });
});
