// The verbs of ofctl that need no switch, beside those of ovs-ofctl: the same output, complaints and exit codes.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fromHex, toHex } from "../../base/bytes/index.js";
import { errorNames } from "../../vswitch/cli/error-names.js";
import { byOvs, byPlinth } from "../support/offline-ofctl.js";
import { requirePrograms } from "../support/run.js";

let directory: string;

const HELLO = "0400000800000001";
const ECHO = "0402000c0000000201020304";
const FEATURES = "0405000800000003";
const PACKET_IN =
  "040a003ce66f2ef2a5cd290c11b402057df388b8f483ca9a0001000a80000a0208060000000000000000b12865c02cce7a0e9a3c0102030405060708";
const SYN_FRAME =
  "02000000000202000000000108004500002800010000400600000a0000010a0000021388005000000001000000025002ffffabcd0000";

/** Changes of the table of tunnel options, good and bad, and what the switch has there. */
const TLV_TABLES = [
  ["18", "0000000000000000", "ffff800400050000", "0001018000000000", "0102037c003f0000"],
  ["18", "0001000000000000"],
  ["18", "0002000000000000"],
  ["18", "0002000000000001", "0000847c00050000"],
  ["18", "0003000000000000"],
  ["18", "0000000000000000", "ffff800500050000"],
  ["18", "0000000000000000", "ffff808000050000"],
  ["18", "0000000000000000", "ffff800400400000"],
  ["1a", "0000010000400000", "0000000000000000", "ffff800400050000", "ffff810800060000"],
  ["1a", "0000010000400000", "0000000000000000", "ffff800600050000"],
].map(([subtype = "", ...words]) => {
  const length = (16 + 8 * words.length).toString(16).padStart(4, "0");
  return `0404${length}0000000100002320000000${subtype}${words.join("")}`;
});

/** A frame of TCP over IPv4 from 10.0.0.1 to 10.0.0.2. */
function segment(
  ports: readonly [number, number],
  sequence: number,
  flags: number,
  payload = "",
): Uint8Array {
  const data = fromHex(payload);
  const frame = fromHex(
    `02000000000202000000000108004500000000000000400600000a0000010a000002${"00".repeat(12)}50${"00".repeat(7)}`,
  );
  const view = new DataView(frame.buffer);
  view.setUint16(16, 40 + data.byteLength);
  view.setUint16(34, ports[0]);
  view.setUint16(36, ports[1]);
  view.setUint32(38, sequence);
  view.setUint8(47, flags);
  return Uint8Array.from([...frame, ...data]);
}

function pcap(frames: readonly Uint8Array[], isLittle: boolean): Uint8Array {
  const header = new DataView(new ArrayBuffer(24));
  header.setUint32(0, 0xa1b2c3d4, isLittle);
  header.setUint16(4, 2, isLittle);
  header.setUint16(6, 4, isLittle);
  header.setUint32(16, 65535, isLittle);
  header.setUint32(20, 1, isLittle);
  const records = frames.map((frame, i) => {
    const head = new DataView(new ArrayBuffer(16));
    head.setUint32(0, 1000 + i, isLittle);
    head.setUint32(4, i * 1500, isLittle);
    head.setUint32(8, frame.byteLength, isLittle);
    head.setUint32(12, frame.byteLength, isLittle);
    return [...new Uint8Array(head.buffer), ...frame];
  });
  return Uint8Array.from([...new Uint8Array(header.buffer), ...records.flat()]);
}

const STREAM = HELLO + ECHO + FEATURES;
const FRAMES = [
  segment([5555, 6653], 100, 2),
  segment([5555, 6653], 101, 16, STREAM.slice(0, 20)),
  segment([5555, 6653], 111, 16, STREAM.slice(20)),
  segment([6653, 5555], 0xfffffffe, 18),
  segment([6653, 5555], 0xffffffff, 16, HELLO),
  // Said again.
  segment([6653, 5555], 0xffffffff, 16, HELLO),
  segment([6653, 5555], 7, 16, ECHO),
  segment([5555, 80], 201, 16, HELLO),
  Uint8Array.of(1, 2, 3),
];

const FILES: Readonly<Record<string, Uint8Array>> = {
  messages: fromHex(STREAM + PACKET_IN),
  short: fromHex("0402000400000001"),
  cut: fromHex(`${HELLO}0402000c00000001`),
  text: new TextEncoder().encode("this is no recording of anything at all"),
  "little.pcap": pcap(FRAMES, true),
  "big.pcap": pcap(FRAMES, false),
  "cut.pcap": pcap(FRAMES, true).slice(0, 60),
};

type Line = readonly [words: readonly string[], input?: string | Uint8Array];
const each = (verb: string, ...texts: string[]): Line[] => texts.map((text) => [[verb, text]]);
const withInput = (verb: readonly string[], ...texts: string[]): Line[] => texts.map((text) => [verb, text]);

const NXM = [
  "NXM_OF_ETH_DST(0002e30f80a4)\nNXM_OF_ETH_TYPE(0800),NXM_OF_IP_SRC_W(0a000000/ff000000)\n<any>\n",
  "foo\n",
  "NXM_OF_ETH_TYPE(0800),NXM_OF_IP_SRC(010203)\n",
  "NXM_FOO(0800)\n",
  "NXM_NX_REG0(1)\n",
  "NXM_NX_REG0(00000001)NXM_NX_REG1(00000001)\n\n  # x\n NXM_NX_REG1(00000002) # c\n",
  "NXM_NX_REG1(00000002),NXM_NX_REG0(00000001),NXM_OF_IN_PORT(0001)\n",
  "NXM_NX_REG1_W(000000f2/0000000f)\n",
  "NXM_NX_REG1_W(000000f2/ffffffff)\nNXM_NX_REG1_W(00000000/00000000)\n",
  "NXM_NX_REG1(00000000)\nNXM_OF_ETH_TYPE(0806),NXM_OF_ARP_OP(0101)\n",
  "OXM_OF_ETH_TYPE(0800)\nOXM_OF_PKT_REG0(0000000100000002)\nNXM_NX_REG0(00000001),NXM_NX_REG0(00000002)\n",
  "NXM_NX_COOKIE(00000000abcdef01)\n",
  "NXM_OF_VLAN_TCI(1005)\nNXM_OF_VLAN_TCI_W(1000/1000)\nNXM_OF_VLAN_TCI(0000)\nNXM_OF_VLAN_TCI_W(6000/e000)\n",
  "NXM_OF_ETH_TYPE(0800),NXM_OF_IP_TOS(f0)\nNXM_OF_ETH_TYPE(0800),NXM_NX_IP_ECN(02)\n",
  "NXM_OF_ETH_TYPE(0800),NXM_NX_IP_FRAG_W(01/03)\nNXM_NX_TUN_ID(0000000000000005)\n",
  "NXM_NX_CT_STATE_W(00000021/00000021)\nNXM_OF_IP_SRC(01020304)\n",
];

/** Actions with something wrong, or written as few write them. */
const ACTIONS = [
  ...[
    "load:x->ip_dscp[0..15]",
    "load:x->reg0[]",
    "load:-1->reg0[]",
    "load:0x1ffffffff->reg0[]",
    "load:5",
    "load:5->",
  ],
  ...[
    "move:reg0->reg1[0..3]",
    "move:eth_src[8..3]->reg0[3]",
    "move:reg0[]",
    "push:reg0[1",
    "pop:vlan_vid[0..31]",
  ],
  ...["clone(goto_table:5)", "write_actions(clear_actions)", "clone(meter:1)", "output(port=1,max_len=010)"],
  ...[
    "conjunction(x)",
    "conjunction(1,0/2)",
    "conjunction(1,3/2)",
    "conjunction(1,1/65)",
    "ct(zone=4294967296)",
  ],
  ...[
    "ct(foo)",
    "ct(table=)",
    "ct(nat(src=1.2.3.4,dst=1.2.3.4))",
    "ct(commit,nat(foo))",
    "meter:0",
    "meter:-1",
  ],
  ...[
    "set_field:1->NXM_NX_REG0",
    "set_field:1->",
    "set_field:1",
    "set_field:1->eth_type",
    "set_field:5->reg0[0..3]",
  ],
  ...[
    "mod_vlan_vid:4096",
    "mod_vlan_vid:x",
    "mod_vlan_vid:-1",
    "mod_vlan_pcp:8",
    "mod_vlan_pcp:256",
    "mod_nw_tos:0x8e",
  ],
  ...["mod_dl_src:00:11:22:33:44", "mod_dl_src:00:11:22:33:44:55:66", "mod_dl_dst:00:11:22:33:44:5g"],
  ...[
    "mod_dl_src:01:00:00:00:00:00/01:00:00:00:00:00",
    "mod_nw_src:10.0.0.0/8",
    "mod_nw_ecn:4",
    "mod_nw_ecn:256",
  ],
  ...[
    "set_mpls_label:0x100000",
    "set_mpls_label:x",
    "set_mpls_tc:8",
    "set_mpls_ttl:256",
    "dec_ttl()",
    "dec_ttl(a)",
  ],
  ...[
    "enqueue:1",
    "enqueue(1,)",
    "enqueue:NORMAL:1",
    "enqueue:foo:1",
    "resubmit(,,)",
    "resubmit(,0x1)",
    "resubmit(1,2,x)",
  ],
  ...[
    "group:",
    "group:x",
    "group:010",
    "set_queue:",
    "set_tunnel:x",
    "write_metadata:1/",
    "goto_table:0x1",
    "goto_table:-1",
    "goto_table:255",
  ],
  ...["bundle(eth_src)", "bundle(foo,0,hrw,ofport,members:1)", "bundle(eth_src,0,x,ofport,members:1)"],
  ...[
    "bundle(eth_src,0,hrw,x,members:1)",
    "bundle(eth_src,0,hrw,ofport,foo:1)",
    "bundle(eth_src,0,hrw,ofport,members:x)",
  ],
  ...["multipath(eth_src)", "multipath(x,0,hrw,1,0,reg0[])", "multipath(eth_src,0,x,1,0,reg0[])"],
  ...["multipath(eth_src,0,hrw,0,0,reg0[])", "multipath(eth_src,0,hrw,300,0,reg0[0..7])"],
  ...["learn(table=255)", "learn(table=x)", "learn(limit=x)", "learn(foo=1)", "learn(result_dst=reg0)"],
  ...[
    "check_pkt_larger(x)->reg0[0]",
    "check_pkt_larger(1)->reg0[0..1]",
    "fin_timeout(foo=1)",
    "note:zz",
    "note:1",
  ],
  ...[
    "controller(foo)",
    "controller:x",
    "controller(reason=x)",
    "controller(reason=3)",
    "controller(reason=action_set)",
    "controller(reason=group,id=3)",
    "controller(reason=packet_out,userdata=01)",
    "push_vlan",
    "push_vlan:0x1234",
    "pop_mpls:x",
  ],
  ...[
    "drop,drop",
    "drop,output:1",
    "output:1 output:2",
    "output:1\toutput:2",
    "65536",
    "output:99999",
    "output:foo",
  ],
  ...[
    "clear_actions,output:1",
    "goto_table:1,goto_table:2",
    "apply_actions(output:1)",
    "foo",
    "foo:1",
    "unroll_xlate",
  ],
];
/** Matches of that kind. */
const MATCHES = [
  ...[
    "nw_src=",
    "tcp,tcp_src=",
    "dl_vlan_pcp=,dl_vlan_pcp=1",
    "in_port=",
    "ipv6,nd_target=",
    "ip,nw_proto",
    "icmp_type = 15",
  ],
  ...[
    "tun_flags=oam|foo",
    "ct_state=+foo",
    "tcp,tcp_src=010",
    "tcp,tcp_src=0x",
    "ipv6,tp_src=53285",
    "ipv6,tp_dst=0",
    "ipv6,tp_src=0/0",
    "ipv6,tp_dst=5/0xf,tp_src=0/0",
    "tcp,tcp_src=08",
    "reg0[0..3]=5",
  ],
  ...[
    "reg0[0..3]=16",
    "reg0[40]=1",
    "reg0[a]=1",
    "table=0x1",
    "table=256",
    "no_readonly_table",
    "allow_hidden_fields",
  ],
  ...[
    "priority=65536",
    "priority=x",
    "cookie=x",
    "cookie=1/2",
    "out_port=1",
    "idle_timeout=65536",
    "foo",
    "foo=1",
  ],
];

/** Matches of fixed size: what counts, then bytes of every field; the same in every run. */
function fixedMatches(size: 40 | 88): string {
  let seed = size;
  const byte = (): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed >>> 24;
  };
  const lines = Array.from({ length: 300 }, () => {
    const bytes = Uint8Array.from({ length: size }, () => (byte() < 100 ? 0 : byte()));
    const view = new DataView(bytes.buffer);
    const isFirst = size === 40;
    if (!isFirst) view.setUint32(0, 88);
    view.setUint32(isFirst ? 0 : 8, isFirst ? byte() * 0x4000 + byte() * 64 + byte() : byte() * 4 + byte());
    if (isFirst) view.setUint16(4, byte());
    else view.setUint32(4, byte() < 200 ? byte() : 0xfffffffe);
    const [vlanAt, typeAt, protocolAt] = isFirst ? [18, 22, 25] : [36, 40, 43];
    view.setUint16(vlanAt, byte() < 60 ? 0xffff : byte());
    view.setUint8(vlanAt + 2, byte() % 8);
    view.setUint16(typeAt, [0x0800, 0x0806, 0x86dd, 0x8847, 0x05ff, 0x1234][byte() % 6] as number);
    // ICMP has 8 bits where others have 16.
    view.setUint8(protocolAt, [6, 17, 132, 47][byte() % 4] as number);
    return toHex(bytes);
  });
  return `# a comment\n\n${lines.join("\n")}\n`;
}

const VERSIONS = ["OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15"];
const FLOW_LINES = [
  "tcp,tp_src=123,actions=flood",
  "udp dl_vlan_pcp=7 idle_timeout=5 actions=strip_vlan output:0",
  "cookie=0x123456789abcdef hard_timeout=10 priority=60000 actions=controller",
  "ip,actions=mod_nw_ttl:1,set_field:10.4.3.77->ip_src",
  "table=2,tun_id=0x1234000056780000/0xffff0000ffff0000,actions=drop",
].join("\n");
const ACTION_BYTES = [
  "0000 0008 0005 0000\n",
  "0000 0010 00000000 0000 000000000000\n",
  "ffff 0010 00002320 0001 fff8 00000000\n",
  "ffff 0010 00002320 000e fff8 ff 000000\n",
];

const LINES: readonly Line[] = [
  ...withInput(["parse-ofp10-match"], fixedMatches(40), "00\n", "zz\n", ""),
  ...withInput(["parse-ofp11-match"], fixedMatches(88), "00\n", `0001${"0".repeat(172)}\n`),
  ...each("parse-flow", ...ACTIONS.map((text) => `actions=${text}`)),
  ...each("parse-flow", ...MATCHES.map((text) => `${text},actions=drop`)),
  ...each(
    "ofp-print",
    "",
    "04",
    HELLO,
    "040e0010",
    "zz",
    `${HELLO} `,
    "04 02 00 08 00 00 00 01 0",
    `${HELLO}x`,
  ),
  ...["0", "1", "3", "5"].map((verbosity): Line => [["ofp-print", ECHO, verbosity]]),
  [["ofp-print"]],
  [["ofp-print", "1", "2", "3"]],
  ...each("ofp-parse", "messages", "short", "cut", "missing", "text"),
  ...["-m", "-mm", "-mmm"].map((option): Line => [[option, "ofp-parse", "messages"]]),
  ...each("ofp-parse-pcap", "little.pcap", "big.pcap", "cut.pcap", "missing", "text"),
  [["-m", "ofp-parse-pcap", "little.pcap"]],
  [["ofp-parse-pcap", "little.pcap", "80"]],
  [["parse-pcap", "little.pcap", "big.pcap"]],
  ...each("parse-pcap", "cut.pcap", "missing", "text"),
  [["parse-pcap"]],
  [["parse-packet"], ""],
  [["parse-packet"], fromHex(SYN_FRAME)],
  ...each("compose-packet", "tcp,nw_src=1.2.3.4,tp_dst=80", "icmp,icmp_type=8", "tcp,tcp_flags=syn,nw_ttl=9"),
  ...each("compose-packet", "arp,arp_op=1,arp_spa=1.2.3.4", "tcp6,tp_dst=80,ipv6_src=::1", "dl_type=0x1234"),
  ...each("compose-packet", "dl_vlan=5,tcp,nw_ttl=64", "ip,nw_proto=47", "foo=1", "tcp,actions=1"),
  ...each("compose-packet", "icmp,icmp_type=8,icmp_code=1", "icmp6,icmpv6_type=128,icmpv6_code=1"),
  ...withInput(["parse-actions", "OpenFlow10"], "0000 0008 0001 0000\n\n# c\n00010008000a0000\n"),
  ...withInput(
    ["parse-actions", "OpenFlow13"],
    "0000 0010 00000001 0000 000000000000\n0000 0010 00000001 0000 000000000000 0016 0008 00000005\n",
    "0000 0010\n",
    "0063 0008 00000000\nffff 0010 00002320 0011 000000000000\nzz\n",
  ),
  [["parse-actions", "foo"]],
  [["parse-actions"]],
  ...withInput(
    ["parse-instructions", "OpenFlow13"],
    "0004 0018 00000000 0000 0010 00000001 0000 000000000000\n0001 0008 05 000000\n\n0063000800000000\n",
    "0001000805000000 0001000806000000\n",
    "0001 0008 05\n",
  ),
  ...withInput(["parse-nxm"], ...NXM),
  ...withInput(["--strict", "parse-nx-match"], ...NXM),
  ...withInput(
    ["parse-oxm", "OpenFlow13"],
    "OXM_OF_ETH_TYPE(0800)\nNXM_OF_ETH_TYPE(0800)\nNXM_NX_REG0(00000001)\n",
    "OXM_OF_ETH_TYPE(0800),OXM_OF_IP_PROTO(06),ONFOXM_ET_TCP_FLAGS(0014)\nOXM_OF_PKT_REG0(0000000100000002)\n",
    "OXM_OF_VLAN_VID(1005)\nOXM_OF_VLAN_VID_W(1000/1000)\nOXM_OF_VLAN_VID(1005),OXM_OF_VLAN_PCP(01)\n",
    "OXM_OF_METADATA_W(0000000100000000/ffffffff00000000)\nOXM_OF_IN_PORT(00000005)\n",
  ),
  [["parse-oxm", "foo"]],
  [["parse-oxm"]],
  [["parse-key-value", "a=b,c(d),e:f,g", " x=(1,2),y"]],
  ...each("parse-key-value", "a", "a(b(c),d)=e,f:(g)"),
  [["parse-key-value"]],
  ...each(
    "ofp-print",
    ...TLV_TABLES,
    "04040010000000010000232000000019",
    "0104001000000001000023200000001a",
    "0404001800000001000023200000001d0000000000000005",
    "0104001800000001000023200000001d010000000000ffff",
    "0404002000000001000023200000001a00000040010100000000000000000000",
  ),
  [["ofp-print", TLV_TABLES[0] as string, "5"]],
  // Packet-ins of a connection's state, with bits in its mask that mean nothing: beside others, beside all, alone.
  ...each("ofp-print", ...["0000009204d18c9e", "00000092000001ff", "000000000000ff00"].map(packetInOfState)),
  ...each("print-error", "fly", "0"),
  [["encode-error-reply", "fly", HELLO]],
  ...each("encode-hello", "0x12", "0x2", "0x1e", "0x7e", "16"),
  // Port 0, which no switch has, in every version; where a command stands in front of a flow.
  ...VERSIONS.map((version): Line => [["-O", version, "parse-flows", "-"], FLOW_LINES]),
  ...["NXM+table_id", "NXM-table_id", "OpenFlow10+table_id", "any", "nxm,oxm"].map(
    (format): Line => [["-F", format, "parse-flow", "metadata=5,actions=output:1"]],
  ),
  ...["OXM-OpenFlow13", "OpenFlow13", "foo", "", ",", "nxm,"].map(
    (format): Line => [["-O", "OpenFlow13,OpenFlow10", "-F", format, "parse-flow", "actions=1"]],
  ),
  ...["", ",", "OpenFlow13 OpenFlow10", "openflow13", "OpenFlow1.3"].map(
    (versions): Line => [["-O", versions, "-F", "NXM", "parse-flow", "actions=1"]],
  ),
  [["--bundle", "parse-flow", "tcp,actions=1"]],
  ...VERSIONS.flatMap((version) => withInput(["parse-actions", version], ...ACTION_BYTES)),
  ...each("ofp-print", "04.00.00.08 00.00.00.01", ".0400.", "0.4", "04:00"),
  [["ofp-print", "-"], `${HELLO}\n${ECHO}\n`],
  ...each(
    "encode-error-reply OFPBIC_UNSUP_INST",
    "00",
    "zz",
    `${HELLO}00`,
    "0000000800000000",
    "0910000800000001",
  ).map(([[verb = "", request = ""]]): Line => [[...verb.split(" "), request]]),
];

/** NXT_PACKET_IN of an empty frame, which matches NXM_NX_CT_STATE_W with this value and mask. */
function packetInOfState(state: string): string {
  const fixed = "ffffffff000e00000000000000000000000c000000000000";
  return `01040048000000000000232000000011${fixed}0001d308${state}${"00".repeat(20)}`;
}

beforeAll(() => {
  requirePrograms("ovs-ofctl");
  directory = mkdtempSync("/tmp/offline-");
  for (const [name, bytes] of Object.entries(FILES)) writeFileSync(join(directory, name), bytes);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe("verbs that need no switch", () => {
  it.each(LINES.map(([words, input = ""]) => [words.join(" "), words, input] as const))(
    "%s",
    async (_name, words, input) => {
      expect(await byPlinth(directory, words, input)).toEqual(await byOvs(directory, words, input));
    },
  );

  it("know every error in every version", async () => {
    for (const [i, name] of errorNames().entries()) {
      const version = i % 2 === 0 ? "01" : "04";
      const lines = [
        ["print-error", name],
        ...(i % 4 < 2 ? [["encode-error-reply", name, `${version}0200080000000a`]] : []),
      ];
      for (const words of lines)
        expect([name, await byPlinth(directory, words, "")]).toEqual([
          name,
          await byOvs(directory, words, ""),
        ]);
    }
  });

  it("tell their options to shells in the same form", async () => {
    const lines = ({ stdout }: { stdout: string }, without: RegExp): string[] =>
      stdout
        .split("\n")
        .filter((line) => !without.test(line))
        .sort();
    const theirs = lines(await byOvs(directory, ["--option"], ""), /^(--(pcap|raw|user|ssl-)|-o )/);
    expect(theirs).toContain("--protocols=ARG");
    // --output, which the original does not have, has the letter of its --option.
    expect(lines(await byPlinth(directory, ["--option"], ""), /^(--output|-o )/)).toEqual(theirs);
  });
});
