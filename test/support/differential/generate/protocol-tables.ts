// Random flow tables, groups and their references, as ovs-ofctl is told them. What is drawn is mostly what a switch
// accepts, so that packets have a way to go; what one of the switches refuses the other must refuse too.
//
// Left out on purpose: what a specification leaves to the switch (which bucket of several a select group takes) and
// what docs/differences-from-ovs.md lists.
import fc from "fast-check";
import { IPV4_ADDRESSES, IPV6_ADDRESSES, L4_PORTS, MACS, MPLS_LABELS, VLANS } from "./values.js";

const TABLES = 4;
const GROUPS = [1, 2, 3];
/** Of the first flow; conjunctions lie below or above all. */
const PRIORITY_MIN = 10;

/** What a match makes sure of, and so what actions may touch. */
type Kind =
  | "any"
  | "vlan"
  | "arp"
  | "ip"
  | "tcp"
  | "udp"
  | "sctp"
  | "icmp"
  | "ipv6"
  | "tcp6"
  | "udp6"
  | "mpls"
  | "mpls-last";

/** What the flows of one case may do. */
interface Scope {
  /** OpenFlow numbers of the ports that packets come in and leave by. */
  readonly ports: readonly number[];
  /** With action sets, or with `exit`: an action set that is met by one Open vSwitch forgets. */
  readonly sets: boolean;
  /** What makes later packets depend on earlier ones: NORMAL and learn, or connections of UDP. */
  readonly memory: "none" | "stations" | "connections";
  readonly tagsMax: 1 | 2;
}

interface Matched {
  readonly text: string;
  /** It has no tag. */
  readonly untagged: boolean;
  readonly kind: Kind;
}

const one = fc.constantFrom;
const number = (max: number): fc.Arbitrary<string> => fc.nat(max).map(String);
/** `name=` one of the values, or more often nothing: few packets would match flows that ask for many fields. */
function maybe(name: string, values: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 4, arbitrary: fc.constant("") },
    { weight: 1, arbitrary: values.map((value) => `,${name}=${value}`) },
  );
}
const joined = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
  fc.tuple(...parts).map((texts) => texts.join(""));

const MAC_MASKS = [...MACS, "52:54:00:00:00:00/ff:ff:ff:ff:00:00", "01:00:00:00:00:00/01:00:00:00:00:00"];
const IPV4_MASKS = [...IPV4_ADDRESSES, "10.0.0.0/24", "10.0.0.0/255.0.0.3"];
const IPV6_MASKS = [...IPV6_ADDRESSES, "fd00::/64", "fd00::1/::1"];
const PORT_MASKS = [...L4_PORTS.map(String), "0x50/0xfffe", "0x0400/0xfc00"];

const macs = joined(maybe("dl_src", one(...MAC_MASKS)), maybe("dl_dst", one(...MAC_MASKS)));
const ports = joined(maybe("tp_src", one(...PORT_MASKS)), maybe("tp_dst", one(...PORT_MASKS)));
const ipv4 = joined(
  maybe("nw_src", one(...IPV4_MASKS)),
  maybe("nw_dst", one(...IPV4_MASKS)),
  maybe("nw_tos", one("0", "40", "184")),
  maybe("nw_ttl", one("9", "64", "255")),
);
const ipv6 = joined(
  maybe("ipv6_src", one(...IPV6_MASKS)),
  maybe("ipv6_dst", one(...IPV6_MASKS)),
  maybe("ipv6_label", one("0", "5", "0x4/0xffffe")),
);
const arp = joined(
  maybe("arp_op", one("1", "2")),
  maybe("arp_spa", one(...IPV4_MASKS)),
  maybe("arp_tpa", one(...IPV4_MASKS)),
  maybe("arp_sha", one(...MAC_MASKS)),
  maybe("arp_tha", one(...MAC_MASKS)),
);
const vlan = one("dl_vlan=1", "dl_vlan=10", "vlan_tci=0x1000/0x1000", "dl_vlan=4094,dl_vlan_pcp=3");
const labels = maybe("mpls_label", one(...MPLS_LABELS.map(String)));
const registers = joined(
  maybe("metadata", one("1", "0x2/0x3")),
  maybe("reg0", one("1", "0x2/0x3")),
  maybe("reg9", one("5")),
  maybe("tun_id", one("1", "0x2/0x3")),
);

/** What connection tracking found; nothing without it. */
const tracked = joined(
  maybe("ct_state", one("+new+trk", "+est+trk", "+rpl", "-rpl+trk", "-trk", "+trk-inv-new")),
  maybe("ct_mark", one("5", "0x2/0x3")),
  maybe("ct_label", one("0x9", "0x1/0x3")),
);

const KINDS: readonly (readonly [Kind, fc.Arbitrary<string>])[] = [
  ["any", maybe("dl_type", one("0x88b5", "0x0806"))],
  ["any", fc.constant("")],
  ["vlan", vlan.map((text) => `,${text}`)],
  ["arp", arp.map((text) => `,arp${text}`)],
  // Not together with ports: Open vSwitch refuses to look for those of a later fragment.
  [
    "ip",
    joined(ipv4, maybe("nw_frag", one("no", "yes", "first", "later", "not_later"))).map(
      (text) => `,ip${text}`,
    ),
  ],
  [
    "tcp",
    joined(ipv4, ports, maybe("tcp_flags", one("+syn", "+ack-fin", "0x010/0x012"))).map((t) => `,tcp${t}`),
  ],
  ["udp", joined(ipv4, ports).map((text) => `,udp${text}`)],
  ["udp", joined(ipv4, tracked).map((text) => `,udp${text}`)],
  ["udp6", tracked.map((text) => `,udp6${text}`)],
  // No fragments: of the first Open vSwitch sets ports, and a checksum that does not cover the rest.
  ["sctp", joined(ipv4, ports).map((text) => `,sctp,nw_frag=no${text}`)],
  [
    "icmp",
    joined(ipv4, maybe("icmp_type", one("0", "8")), maybe("icmp_code", one("0", "1"))).map(
      (t) => `,icmp${t}`,
    ),
  ],
  ["ipv6", ipv6.map((text) => `,ipv6${text}`)],
  ["tcp6", joined(ipv6, ports).map((text) => `,tcp6${text}`)],
  ["udp6", joined(ipv6, ports).map((text) => `,udp6${text}`)],
  ["ipv6", joined(ipv6, maybe("icmp_type", one("128", "135"))).map((text) => `,icmp6${text}`)],
  [
    "ipv6",
    maybe("nd_target", one(...IPV6_ADDRESSES)).map((text) => `,icmp6,icmp_type=135,icmp_code=0${text}`),
  ],
  ["mpls", joined(labels, maybe("mpls_bos", one("0", "1"))).map((text) => `,mpls${text}`)],
  // Only the last label makes room for IP: of a longer stack Open vSwitch then takes off all.
  ["mpls-last", labels.map((text) => `,mpls,mpls_bos=1${text}`)],
];

function match(ports: readonly number[]): fc.Arbitrary<Matched> {
  const inPort = maybe("in_port", one(...ports).map(String));
  return fc.oneof(
    ...KINDS.map(([kind, text]) =>
      fc
        .tuple(joined(inPort, macs, registers, text), kind === "vlan" ? fc.constant(false) : fc.boolean())
        .map(([whole, untagged]) => {
          const all = `${whole}${untagged ? ",vlan_tci=0x0000/0x1000" : ""}`;
          return { text: all.replace(/^,/, ""), untagged, kind };
        }),
    ),
  );
}

const ipv4Actions = [
  ...["push_mpls:0x8847,set_field:18->mpls_label,set_field:5->mpls_tc", "dec_ttl(1,2)"],
  ...IPV4_ADDRESSES.flatMap((address) => [`mod_nw_src:${address}`, `set_field:${address}->ip_dst`]),
  ...["dec_ttl", "mod_nw_tos:40", "set_field:9->nw_ttl", "set_field:2->nw_ecn"],
  "set_field:10.9.0.0/255.255.0.0->ip_src",
  "move:NXM_OF_IP_SRC[]->NXM_OF_IP_DST[]",
  "move:NXM_OF_IP_SRC[0..7]->NXM_NX_REG0[0..7]",
];
const ipv6Actions = [
  ...IPV6_ADDRESSES.flatMap((address) => [
    `set_field:${address}->ipv6_src`,
    `set_field:${address}->ipv6_dst`,
  ]),
  ...["dec_ttl", "set_field:7->ipv6_label", "set_field:11->ip_dscp"],
];
const portActions = (protocol: string): string[] =>
  L4_PORTS.flatMap((port) => [`set_field:${port}->${protocol}_src`, `set_field:${port}->${protocol}_dst`]);

const mplsActions = ["dec_mpls_ttl", "set_field:19->mpls_label", "set_field:3->mpls_tc", "set_mpls_ttl(7)"];

/** Actions that change what such a packet surely has. */
const CHANGES: Readonly<Record<Kind, readonly string[]>> = {
  any: [],
  vlan: [
    ...["pop_vlan", "set_field:4106->vlan_vid", "set_field:5->vlan_pcp", "mod_vlan_pcp:6"],
    ...VLANS.map((vlan) => `mod_vlan_vid:${vlan}`),
  ],
  arp: [
    ...["set_field:2->arp_op", "set_field:10.0.0.2->arp_spa", "set_field:10.0.1.3->arp_tpa"],
    ...["set_field:52:54:00:00:00:02->arp_sha", "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]"],
  ],
  ip: ipv4Actions,
  tcp: [...ipv4Actions, ...portActions("tcp")],
  udp: [...ipv4Actions, ...portActions("udp")],
  sctp: [...ipv4Actions, ...portActions("sctp")],
  icmp: [...ipv4Actions, "set_field:0->icmp_type", "set_field:1->icmp_code"],
  ipv6: ipv6Actions,
  tcp6: [...ipv6Actions, ...portActions("tcp")],
  udp6: [...ipv6Actions, ...portActions("udp")],
  mpls: mplsActions,
  "mpls-last": [...mplsActions, "pop_mpls:0x0800"],
};

const MARK = "exec(load:0x5->NXM_NX_CT_MARK[])";
/**
 * Connections are looked up once, in table 0, and committed as they were found: two look-ups of one packet may be done
 * in either order (docs/differences-from-ovs.md).
 */
const COMMITS = [
  ...["ct(commit,zone=1)", `ct(commit,zone=1,${MARK})`, "ct(commit,force,zone=1)"],
  "ct(commit,zone=1,exec(load:0x9->NXM_NX_CT_LABEL[0..31],load:0x2->NXM_NX_CT_MARK[0..3]))",
  ...["move:NXM_NX_CT_MARK[]->NXM_NX_REG9[]", "load:0x3->NXM_NX_REG0[]"],
];
/** Fragments wait to be put together, which is another question (docs/differences-from-ovs.md). */
const LOOK_UPS = [
  ...["udp,nw_frag=no", "udp6,nw_frag=no"].map(
    (match) => `table=0,priority=60000,${match},actions=ct(table=1,zone=1)`,
  ),
  ...Array.from(
    { length: TABLES },
    (_, table) => `table=${table},priority=60000,udp,nw_frag=yes,actions=drop`,
  ),
].map((flow) => ["add-flow", flow]);

function changesOf(kind: Kind, { memory }: Scope): readonly string[] {
  return memory === "connections" && (kind === "udp" || kind === "udp6") ? COMMITS : CHANGES[kind];
}

/** Actions for any packet. */
function anyAction(table: number, scope: Scope): fc.Arbitrary<string> {
  const port = one(...scope.ports);
  return fc.oneof(
    { weight: 8, arbitrary: port.map((number) => `output:${number}`) },
    { weight: 1, arbitrary: one("in_port", "flood", "all") },
    { weight: 2, arbitrary: one(...GROUPS).map((group) => `group:${group}`) },
    { weight: 2, arbitrary: one(...MACS).map((mac) => `mod_dl_dst:${mac}`) },
    { weight: 1, arbitrary: one(...MACS).map((mac) => `set_field:${mac}->eth_src`) },
    { weight: 1, arbitrary: one("ct_clear") },
    { weight: 1, arbitrary: port.map((number) => `clone(mod_dl_src:${MACS[1]},output:${number})`) },
    ...(scope.memory === "stations" ? [{ weight: 2, arbitrary: fc.oneof(one("NORMAL"), learnAction) }] : []),
    ...(scope.sets ? [] : [{ weight: 1, arbitrary: one("exit", `clone(output:${scope.ports[0]},exit)`) }]),
    { weight: 2, arbitrary: registerAction(scope.ports) },
    // Only onwards: what has left before a loop is cut is not the same (docs/differences-from-ovs.md).
    { weight: 3, arbitrary: fc.integer({ min: table + 1, max: TABLES }).map((next) => `resubmit(,${next})`) },
    { weight: 1, arbitrary: port.map((number) => `resubmit(${number},${table + 1})`) },
  );
}

const LEARN_IP = `learn(table=${TABLES - 1},priority=91,eth_type=0x800,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15],output:NXM_OF_IN_PORT[])`;

/** Teaches the last table; what it learns is of another priority than what is drawn. */
const learnAction = one(
  `learn(table=${TABLES - 1},priority=90,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])`,
  LEARN_IP,
  `learn(table=${TABLES - 1},priority=92,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0x5->NXM_NX_REG9[])`,
);

function registerAction(ports: readonly number[]): fc.Arbitrary<string> {
  return fc.oneof(
    one(...ports).map((port) => `load:${port}->NXM_NX_REG0[]`),
    one(
      ...[
        "output:NXM_NX_REG0[]",
        "output:NXM_NX_REG9[0..7]",
        "load:5->NXM_NX_REG9[]",
        "set_field:0x5/0xf->reg0",
      ],
      ...["load:0x2->NXM_NX_REG0[4..7]", "move:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15]"],
      ...["move:NXM_NX_REG0[]->NXM_NX_REG9[]", "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]"],
      ...["set_tunnel:1", "set_field:2->tun_id", "move:NXM_NX_TUN_ID[0..15]->NXM_NX_REG9[0..15]"],
      ...["move:NXM_NX_REG0[]->NXM_NX_TUN_ID[32..63]", "push:NXM_NX_TUN_ID[]"],
      ...["push:NXM_NX_REG0[]", "pop:NXM_NX_REG9[]", "set_field:0x1/0x3->metadata", "note:01.02"],
    ),
  );
}

function actionList({ kind, untagged }: Matched, table: number, scope: Scope): fc.Arbitrary<string[]> {
  // Open vSwitch looks at a packet anew when its labels are gone: it meets then what it has taught itself.
  const changes =
    scope.memory === "stations"
      ? CHANGES[kind].filter((text) => !text.startsWith("pop_mpls"))
      : changesOf(kind, scope);
  const action =
    changes.length === 0
      ? anyAction(table, scope)
      : fc.oneof(
          { weight: 3, arbitrary: anyAction(table, scope) },
          { weight: 2, arbitrary: one(...changes) },
        );
  return fc
    .tuple(untagged ? one(...PUSHES) : fc.constant(""), fc.array(action, { maxLength: 5 }))
    .map(([push, actions]) => [...(push === "" ? [] : [push]), ...whatStands(actions, kind)]);
}

/**
 * Only onto frames without a tag, and before they go on in other tables, so that with that of a bucket there are two: of
 * more tags Open vSwitch loses some (docs/differences-from-ovs.md). VID and priority are both given, for it does not
 * take them over from a tag before.
 */
const PUSHES = [
  ...["", "push_vlan:0x8100,set_field:4106->vlan_vid,set_field:2->vlan_pcp"],
  ...VLANS.map((vlan) => `mod_vlan_vid:${vlan},mod_vlan_pcp:6`),
];

/** Without the changes that ovs-ofctl would refuse: of headers that an action before has taken off or covered. */
function whatStands(actions: readonly string[], kind: Kind): string[] {
  const covering = actions.findIndex((action) => COVERS.test(action));
  return actions.filter((action, n) => {
    if (action === LEARN_IP && !IP_KINDS.includes(kind)) return false;
    return covering < 0 || n <= covering || !(CHANGES[kind].includes(action) || action === LEARN_IP);
  });
}

const COVERS = /^(pop_vlan|push_mpls|pop_mpls)/;
const IP_KINDS: readonly Kind[] = ["ip", "tcp", "udp", "sctp", "icmp"];

/** Everything behind `actions=`. */
function instructions(matched: Matched, table: number, scope: Scope): fc.Arbitrary<string> {
  const { kind } = matched;
  const written = fc.array(
    fc.oneof(
      one(...scope.ports).map((port) => `output:${port}`),
      one(...GROUPS).map((group) => `group:${group}`),
      one(...MACS).map((mac) => `set_field:${mac}->eth_dst`),
      one("move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]", "load:0x7->NXM_OF_ETH_DST[8..15]", "ct_clear"),
      fc.integer({ min: table + 1, max: TABLES }).map((next) => `resubmit(,${next})`),
      ...(CHANGES[kind].length > 0 && !kind.startsWith("mpls")
        ? [one(...CHANGES[kind]).filter((text) => /^set_field:[^/]*->|^dec_ttl$/.test(text))]
        : []),
    ),
    { minLength: 1, maxLength: 4 },
  );
  const last = TABLES - 1;
  const next = table < last ? fc.integer({ min: table + 1, max: last }) : fc.constant(undefined);
  return fc
    .record({
      apply: actionList(matched, table, scope),
      clear: fc.option(fc.constant("clear_actions"), { freq: 6 }),
      write: scope.sets
        ? fc.option(written.map((actions) => `write_actions(${actions.join(",")})`))
        : fc.constant(null),
      metadata: fc.option(number(3).map((value) => `write_metadata:${value}/0x3`)),
      goto: fc.option(next.map((to) => (to === undefined ? null : `goto_table:${to}`))),
    })
    .map(({ apply, clear, write: wish, metadata, goto }) => {
      const write = apply.some((action) => COVERS.test(action)) ? null : wish;
      const all = [...apply, clear, write, metadata, goto].filter((text) => text !== null);
      return all.length === 0 ? "drop" : all.join(",");
    });
}

function flow(scope: Scope): fc.Arbitrary<string[]> {
  return fc
    .record({
      table: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.nat(TABLES - 1) }),
      matched: match(scope.ports),
    })
    .chain(({ table, matched }) =>
      instructions(matched, table, scope).map((actions) => [
        `table=${table}`,
        ...(matched.text === "" ? [] : [matched.text]),
        `actions=${actions}`,
      ]),
    );
}

/** Groups whose result does not depend on a hash. Group 3 may go on to groups 1 and 2. */
function groups({ ports, sets, memory, tagsMax }: Scope): fc.Arbitrary<string[][]> {
  const output = one(...ports).map((port) => `output:${port}`);
  const change = one(
    "",
    ...MACS.map((mac) => `set_field:${mac}->eth_dst,`),
    // On frames without a tag or with one: a bucket has no match, so that this puts another in front.
    ...(tagsMax === 1 ? ["mod_vlan_vid:10,mod_vlan_pcp:1,"] : []),
  );
  const bucket = fc.tuple(change, output).map((texts) => texts.join(""));
  const plain = fc.oneof(
    fc
      .array(bucket, { minLength: 1, maxLength: 3 })
      .map((buckets) => `type=all${buckets.map((b) => `,bucket=actions=${b}`).join("")}`),
    bucket.map((actions) => `type=indirect,bucket=actions=${actions}`),
    // Behind one Open vSwitch also executes what was written while it executed the action set, and meets the flows that
    // the packet itself has taught.
    ...(sets || memory === "stations"
      ? []
      : [bucket.map((actions) => `type=select,bucket=actions=${actions}`)]),
    fc
      .array(fc.tuple(one(...ports), bucket), { minLength: 1, maxLength: 2 })
      .map(
        (buckets) =>
          `type=ff${buckets.map(([port, actions]) => `,bucket=watch_port:${port},actions=${actions}`).join("")}`,
      ),
  );
  const chained = one(
    "type=all,bucket=actions=group:1,bucket=actions=group:2",
    "type=indirect,bucket=actions=group:2",
  );
  return fc
    .tuple(plain, plain, fc.oneof(plain, chained))
    .map((bodies) => bodies.map((body, index) => ["add-group", `group_id=${GROUPS[index]},${body}`]));
}

/** A conjunctive match of two clauses in table 0, and the flow that it leads to (ovs-fields(7), Conjunctive Match). */
function conjunction(ports: readonly number[]): fc.Arbitrary<string[][]> {
  const alternatives = (name: string, values: readonly string[]) =>
    fc.subarray([...values], { minLength: 1 }).map((some) => some.map((value) => `ip,${name}=${value}`));
  const sources = alternatives("nw_src", IPV4_MASKS);
  const destinations = alternatives("nw_dst", IPV4_MASKS);
  return fc
    .record({ sources, destinations, port: one(...ports), priority: one(60, 3) })
    .map(({ sources, destinations, port, priority }) => [
      ...[sources, destinations].flatMap((clause, index) =>
        clause.map((text) => [
          "add-flow",
          `priority=${priority},${text},actions=conjunction(7,${index + 1}/2)`,
        ]),
      ),
      ["add-flow", `priority=${priority},conj_id=7,ip,actions=mod_dl_src:${MACS[0]},output:${port}`],
    ]);
}

/**
 * For every case: a flow for all other packets in every table, since on a miss Open vSwitch still does what the action
 * set says. The first table sends them on, so that they are judged at all.
 */
export const PROTOCOL_TABLE_BASE: readonly (readonly string[])[] = Array.from(
  { length: TABLES },
  (_, table) => ["add-flow", `table=${table},priority=0,actions=${table === 0 ? "goto_table:1" : "drop"}`],
);

export interface TableOptions {
  /** OpenFlow numbers of the ports that packets come in and leave by. */
  readonly ports: readonly number[];
  /** Whether earlier packets may decide about later ones, as with NORMAL and learn; yes if not given. */
  readonly mayRemember?: boolean;
  /** How many tags packets come with, at most: onto two none is put, for of three Open vSwitch loses one. */
  readonly tagsMax: 1 | 2;
}

/** Groups first, then flows of which no two share a priority: which of two that overlap wins would be chance. */
export function protocolTables({
  ports,
  mayRemember = true,
  tagsMax,
}: TableOptions): fc.Arbitrary<string[][]> {
  return fc
    .record({
      ports: fc.constant(ports),
      tagsMax: fc.constant(tagsMax),
      sets: fc.boolean(),
      memory: mayRemember
        ? one<Scope["memory"]>("none", "none", "stations", "connections")
        : fc.constant<Scope["memory"]>("none"),
    })
    .chain((scope) =>
      fc.tuple(
        groups(scope),
        fc.array(flow(scope), { minLength: 2, maxLength: 24, size: "max" }),
        fc.option(conjunction(ports)),
        fc.constant(scope.memory === "connections" ? LOOK_UPS : []),
      ),
    )
    .map(([before, flows, conjunctive, lookUps]) => [
      ...before,
      ...lookUps,
      ...flows.map((parts, index) => ["add-flow", [`priority=${index + PRIORITY_MIN}`, ...parts].join(",")]),
      ...(conjunctive ?? []),
    ]);
}
