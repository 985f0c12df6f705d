// The codec against bytes that Open vSwitch 3.1 wrote: captured from `ovs-ofctl -O OpenFlow13`, the command of each
// is its title. Each must parse to the values below and encode to the same bytes again.
import { describe, expect, it } from "vitest";
import { fromHex, toHex } from "../bytes/index.js";
import type { Action, Instruction } from "./actions.js";
import {
  OFP_NO_BUFFER,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OFPP_NORMAL,
} from "./constants.js";
import { encodeMessage, parseMessage } from "./message-wire.js";
import type { FlowMod, OpenFlowMessage } from "./messages.js";
import { WireError } from "./wire.js";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

function flowAdd(change: Partial<FlowMod>): FlowMod {
  return {
    type: "flow_mod",
    xid: 6,
    command: "add",
    tableId: 0,
    cookie: 0n,
    cookieMask: 0n,
    idleTimeoutSeconds: 0,
    hardTimeoutSeconds: 0,
    priority: 32768,
    bufferId: OFP_NO_BUFFER,
    outPort: OFPP_ANY,
    outGroup: OFPG_ANY,
    flags: 0,
    match: [],
    instructions: [],
    ...change,
  };
}

const apply = (...actions: Action[]): Instruction => ({ type: "apply_actions", actions });
const FLOW = `040e00LL00000006${"0".repeat(44)}`;
const NO_LIMITS = "8000ffffffffffffffffffffffff00000000";

const CASES: readonly (readonly [command: string, hex: string, message: OpenFlowMessage])[] = [
  [
    "add-flow ct_state=+trk-new,ct_zone=5,ct_mark=1/1,tcp,tp_dst=80,actions=ct(commit,zone=5,table=4,exec(load:1->NXM_NX_CT_MARK[]),nat(dst=10.0.0.1-10.0.0.5:80-90,random)),ct_clear",
    `${FLOW.replace("LL", "d0")}${NO_LIMITS}0001003380000a020800800014010680001c0200500001d30800000020000000210001d40200050001d708000000010000000100000000000004006800000000ffff00500000232000230001000000000005040000000000ffff0018000023200007001f0001d6040000000000000001ffff00200000232000240000001200330a0000010a0000050050005a00000000ffff001000002320002b000000000000`,
    flowAdd({
      match: [
        { field: "eth_type", value: bytes(8, 0) },
        { field: "ip_proto", value: bytes(6) },
        { field: "tcp_dst", value: bytes(0, 80) },
        { field: "ct_state", value: bytes(0, 0, 0, 0x20), mask: bytes(0, 0, 0, 0x21) },
        { field: "ct_zone", value: bytes(0, 5) },
        { field: "ct_mark", value: bytes(0, 0, 0, 1), mask: bytes(0, 0, 0, 1) },
      ],
      instructions: [
        apply(
          {
            type: "ct",
            commit: true,
            force: false,
            zone: 5,
            alg: 0,
            tableId: 4,
            actions: [
              { type: "load", destination: { field: "ct_mark", offset: 0, bits: 32 }, value: 1n },
              {
                type: "nat",
                direction: "destination",
                persistent: false,
                selection: "random",
                addressMin: bytes(10, 0, 0, 1),
                addressMax: bytes(10, 0, 0, 5),
                portMin: 80,
                portMax: 90,
              },
            ],
          },
          { type: "ct_clear" },
        ),
      ],
    }),
  ],
  [
    "add-flow tcp,tcp_flags=+syn,actions=ct(commit,force,nat(src=1.2.3.4)),controller(reason=no_match,max_len=100,id=3),in_port",
    `${FLOW.replace("LL", "a8")}${NO_LIMITS}0001001b80000a0208008000140106ffff55084f4e46000002000200000000000004005800000000ffff00300000232000230003000000000000ff0000000000ffff00180000232000240000000100010102030400000000ffff001000002320001400640003000000000010fffffff80000000000000000`,
    flowAdd({
      match: [
        { field: "eth_type", value: bytes(8, 0) },
        { field: "ip_proto", value: bytes(6) },
        { field: "tcp_flags", value: bytes(0, 2), mask: bytes(0, 2) },
      ],
      instructions: [
        apply(
          {
            type: "ct",
            commit: true,
            force: true,
            zone: 0,
            alg: 0,
            actions: [
              {
                type: "nat",
                direction: "source",
                persistent: false,
                selection: "auto",
                addressMin: bytes(1, 2, 3, 4),
              },
            ],
          },
          { type: "controller", maxLength: 100, controllerId: 3, reason: "no_match" },
          { type: "output", port: OFPP_IN_PORT, maxLength: 0 },
        ),
      ],
    }),
  ],
  [
    "add-flow tun_id=5,vlan_tci=0x1000/0x1000,actions=set_tunnel:7,mod_vlan_vid:5,mod_vlan_pcp:2,strip_vlan,push_vlan:0x8100,set_field:4099->vlan_vid,normal,write_actions(group:5)",
    `${FLOW.replace("LL", "c0")}${NO_LIMITS}0001001880000d041000100080004c08000000000000000500040068000000000019001080004c0800000000000000070019001080000c0210050000000000000019001080000e010200000000000000001200080000000000110008810000000019001080000c02100300000000000000000010fffffffa000000000000000000030010000000000016000800000005`,
    flowAdd({
      match: [
        { field: "vlan_vid", value: bytes(0x10, 0), mask: bytes(0x10, 0) },
        { field: "tunnel_id", value: bytes(0, 0, 0, 0, 0, 0, 0, 5) },
      ],
      instructions: [
        apply(
          { type: "set_field", field: "tunnel_id", value: bytes(0, 0, 0, 0, 0, 0, 0, 7) },
          { type: "set_field", field: "vlan_vid", value: bytes(0x10, 5) },
          { type: "set_field", field: "vlan_pcp", value: bytes(2) },
          { type: "pop_vlan" },
          { type: "push_vlan", etherType: 0x8100 },
          { type: "set_field", field: "vlan_vid", value: bytes(0x10, 3) },
          { type: "output", port: OFPP_NORMAL, maxLength: 0 },
        ),
        { type: "write_actions", actions: [{ type: "group", groupId: 5 }] },
      ],
    }),
  ],
  [
    "add-group group_id=1,type=all,bucket=output:1,bucket=set_field:1->reg0,output:2",
    "040f006000000006000000000000000100200000ffffffffffffffff000000000000001000000001000000000000000000300000ffffffffffffffff000000000019001000010004000000010000000000000010000000020000000000000000",
    {
      type: "group_mod",
      xid: 6,
      command: "add",
      groupType: "all",
      groupId: 1,
      buckets: [
        {
          weight: 0,
          watchPort: OFPP_ANY,
          watchGroup: OFPG_ANY,
          actions: [{ type: "output", port: 1, maxLength: 0 }],
        },
        {
          weight: 0,
          watchPort: OFPP_ANY,
          watchGroup: OFPG_ANY,
          actions: [
            { type: "set_field", field: "reg0", value: bytes(0, 0, 0, 1) },
            { type: "output", port: 2, maxLength: 0 },
          ],
        },
      ],
    },
  ],
  [
    "packet-out in_port=controller,packet=ffffffffffff00000000000108060001,actions=output:1,resubmit(1,3)",
    "040d004800000006fffffffffffffffd002000000000000000000010000000010000000000000000ffff001000002320000e000103000000ffffffffffff00000000000108060001",
    {
      type: "packet_out",
      xid: 6,
      bufferId: OFP_NO_BUFFER,
      inPort: OFPP_CONTROLLER,
      actions: [
        { type: "output", port: 1, maxLength: 0 },
        { type: "resubmit", port: 1, tableId: 3, withCt: false },
      ],
      data: fromHex("ffffffffffff00000000000108060001"),
    },
  ],
  [
    "dump-flows table=1,cookie=5/-1",
    "0412003800000006000100000000000001000000ffffffffffffffff000000000000000000000005ffffffffffffffff0001000400000000",
    {
      type: "multipart_request",
      xid: 6,
      flags: 0,
      body: {
        kind: "flow",
        tableId: 1,
        outPort: OFPP_ANY,
        outGroup: OFPG_ANY,
        cookie: 5n,
        cookieMask: 0xffffffffffffffffn,
        match: [],
      },
    },
  ],
  [
    "add-meter meter=1,kbps,burst,stats,band=type=drop,rate=10,burst_size=5",
    "041d0020000000020000000d00000001000100100000000a0000000500000000",
    {
      type: "meter_mod",
      xid: 2,
      command: "add",
      flags: 13,
      meterId: 1,
      bands: [{ type: "drop", rate: 10, burstSize: 5 }],
    },
  ],
];

describe("parseMessage() and encodeMessage()", () => {
  it.each(CASES)("agree with ovs-ofctl %s", (_command, hex, message) => {
    expect(parseMessage(fromHex(hex))).toEqual(message);
    expect(toHex(encodeMessage(message))).toBe(hex);
  });

  it("read the NXM numbers of a field as the field itself", () => {
    // add-flow actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]
    const hex = `${FLOW.replace("LL", "58")}${NO_LIMITS}00010004000000000004002000000000ffff00180000232000060030000000000000040600000206`;
    const message = parseMessage(fromHex(hex)) as FlowMod;
    expect(message.instructions).toEqual([
      apply({
        type: "move",
        source: { field: "eth_src", offset: 0, bits: 48 },
        destination: { field: "eth_dst", offset: 0, bits: 48 },
      }),
    ]);
  });

  it("copy bytes out of a Buffer that is used again", () => {
    const buffer = Buffer.from(encodeMessage({ type: "echo_request", xid: 1, data: bytes(1, 2, 3) }));
    const message = parseMessage(buffer);
    buffer.fill(9);
    expect(message).toEqual({ type: "echo_request", xid: 1, data: bytes(1, 2, 3) });
  });
});

describe("parseMessage()", () => {
  const match = (oxm: string, padding = ""): string => {
    const length = (4 + oxm.length / 2).toString(16).padStart(4, "0");
    return `0001${length}${oxm}${padding}`;
  };
  const flow = (tail: string): Uint8Array => {
    const hex = FLOW + NO_LIMITS + tail;
    return fromHex(hex.replace("LL", (hex.length / 2).toString(16).padStart(2, "0")));
  };
  const errorOf = (message: Uint8Array): string => {
    try {
      parseMessage(message);
    } catch (error) {
      if (error instanceof WireError) return `${error.error} ${error.field} ${error.offset}`;
      throw error;
    }
    return "none";
  };
  const action = (hex: string): Uint8Array => {
    const length = (8 + hex.length / 2).toString(16).padStart(4, "0");
    return flow(`${match("", "00000000")}0004${length}00000000${hex}`);
  };

  it.each([
    [
      "a field twice",
      flow(match("80000004000000018000000400000002", "00000000")),
      "OFPBMC_DUP_FIELD in_port 60",
    ],
    [
      "a field, and again with a mask of zeros",
      flow(match("0001000400000001" + "000101080000000000000000")),
      "OFPBMC_DUP_FIELD reg0 60",
    ],
    [
      "a field with a mask of zeros, which is none, and then with a value",
      flow(match("000101080000000000000000" + "0001000400000001")),
      "none",
    ],
    ["a TCP port without TCP", flow(match("80001a020050", "000000000000")), "OFPBMC_BAD_PREREQ tcp_src 52"],
    ["an unknown field", flow(match("8000fe0101", "00000000000000")), "OFPBMC_BAD_FIELD oxm.header 52"],
    ["a field of the wrong size", flow(match("8000000200010000", "00000000")), "OFPBMC_BAD_LEN in_port 52"],
    ["a mask where none may be", flow(match("8000010800000001ffffffff", "")), "OFPBMC_BAD_MASK in_port 52"],
    [
      "value bits outside the mask",
      flow(match("0001010800000003" + "00000001", "")),
      "OFPBMC_BAD_WILDCARDS reg0 52",
    ],
    [
      "a VLAN id without PRESENT",
      flow(match("80000c020005", "000000000000")),
      "OFPBMC_BAD_VALUE vlan_vid 52",
    ],
    ["a match longer than the message", flow("0001006000000000"), "OFPBMC_BAD_LEN match.length 48"],
    ["a match that is not OXM", flow("0000000400000000"), "OFPBMC_BAD_TYPE match.type 48"],
    [
      "an unknown instruction",
      flow(`${match("", "00000000")}0009000800000000`),
      "OFPBIC_UNKNOWN_INST instruction.type 56",
    ],
    [
      "an instruction twice",
      flow(`${match("", "00000000")}00010008010000000001000802000000`),
      "OFPBIC_DUP_INST goto_table 64",
    ],
    ["an action of 4 bytes", action("0000000400000000"), "OFPBAC_BAD_LEN action.length 64"],
    ["an unknown action", action("0063000800000000"), "OFPBAC_BAD_TYPE action.type 64"],
    ["output to ANY", action("00000010ffffffff0000000000000000"), "OFPBAC_BAD_OUT_PORT output.port 80"],
    ["pushing an odd tag", action("0011000808000000"), "OFPBAC_BAD_ARGUMENT push_vlan.ethertype 72"],
    [
      "an unknown Nicira action",
      action("ffff00100000232000fa000000000000"),
      "OFPBAC_BAD_EXP_TYPE action.subtype 72",
    ],
    [
      "setting what may not be set",
      action("0019001000 01d20400000001 00000000".replaceAll(" ", "")),
      "OFPBAC_BAD_SET_TYPE ct_state 68",
    ],
    [
      "a load beyond its field",
      action("ffff0018000023200007 0fff 00010204 0000000000000001".replaceAll(" ", "")),
      "OFPBAC_BAD_SET_LEN load.ofs_nbits 88",
    ],
  ])("names the fault in %s", (_what, message, expected) => {
    expect(errorOf(message)).toBe(expected);
  });

  it("names unknown types, versions and commands", () => {
    expect(errorOf(fromHex("0463000800000001"))).toBe("OFPBRC_BAD_TYPE header.type 1");
    expect(errorOf(fromHex("0605000800000001"))).toBe("OFPBRC_BAD_VERSION header.version 0");
    expect(errorOf(fromHex("041200100000000100ff000000000000"))).toBe(
      "OFPBRC_BAD_MULTIPART multipart.type 8",
    );
    expect(errorOf(fromHex("0418001800000001000000070000000000000000 00000000"))).toBe(
      "OFPRRFC_BAD_ROLE role.role 8",
    );
  });
});
