// The OpenFlow codec against programs and data of others: Open vSwitch prints what we encode, and we parse every
// message of the shared packet vectors.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { fromHex, toHex } from "../../base/bytes/index.js";
import { encodeMessage, type OpenFlowMessage, parseMessage } from "../../base/openflow/index.js";
import { needsVectors } from "../support/needs.js";
import { ROOT, requirePrograms, run } from "../support/run.js";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const DURATION = { durationSeconds: 5, durationNanoseconds: 6_000_000 };
const COUNTS = { packetCount: 7n, byteCount: 0x1_0000_0000n };

async function print(message: OpenFlowMessage): Promise<string> {
  const { stdout, stderr } = await run("ovs-ofctl", [
    "-O",
    "OpenFlow13",
    "ofp-print",
    toHex(encodeMessage(message)),
  ]);
  return stdout + stderr;
}

const CASES: readonly (readonly [message: OpenFlowMessage, printed: readonly string[]])[] = [
  [
    {
      type: "packet_in",
      xid: 0,
      bufferId: 0xffffffff,
      totalLength: 60,
      reason: "no_match",
      tableId: 3,
      cookie: 0xabcn,
      match: [
        { field: "in_port", value: bytes(0, 0, 0, 2) },
        { field: "metadata", value: bytes(0, 0, 0, 0, 0, 0, 0, 9) },
        { field: "reg1", value: bytes(0, 0, 0, 5) },
        { field: "ct_state", value: bytes(0, 0, 0, 0x21) },
        { field: "tunnel_id", value: bytes(0, 0, 0, 0, 0, 0, 0, 4) },
      ],
      data: new Uint8Array(60),
    },
    [
      "table_id=3 cookie=0xabc total_len=60",

      "ct_state=new|trk,reg1=0x5,tun_id=0x4,metadata=0x9,in_port=2 (via no_match)",
    ],
  ],
  [
    {
      type: "flow_removed",
      xid: 0,
      cookie: 5n,
      priority: 9,
      reason: "idle_timeout",
      tableId: 1,
      idleTimeoutSeconds: 3,
      hardTimeoutSeconds: 4,
      ...DURATION,
      ...COUNTS,
      match: [{ field: "eth_type", value: bytes(8, 6) }],
    },
    ["priority=9,arp reason=idle table_id=1 cookie:0x5 duration5.006s idle3 hard4 pkts7 bytes4294967296"],
  ],
  [
    {
      type: "port_status",
      xid: 0,
      reason: "add",
      description: {
        port: 7,
        macAddress: bytes(2, 0, 0, 0, 0, 7),
        name: "vm7",
        config: 1,
        state: 1,
        current: 1 << 6,
        advertised: 0,
        supported: 0,
        peer: 0,
        currentSpeedKbps: 10_000_000,
        maxSpeedKbps: 10_000_000,
      },
    },
    [
      "ADD: 7(vm7): addr:02:00:00:00:00:07",
      "PORT_DOWN",
      "LINK_DOWN",
      "current:    10GB-FD",
      "speed: 10000 Mbps now",
    ],
  ],
  [{ type: "role_reply", xid: 1, role: "slave", generationId: 6n }, ["role=secondary generation_id=6"]],
  [
    { type: "set_async", xid: 1, packetIn: [3, 0], portStatus: [7, 7], flowRemoved: [15, 0] },
    [
      "PACKET_IN: no_match action",
      "PORT_STATUS: add delete modify",
      "FLOW_REMOVED: idle hard delete group_delete",
    ],
  ],
  [
    {
      type: "meter_mod",
      xid: 1,
      command: "modify",
      flags: 5,
      meterId: 3,
      bands: [
        { type: "drop", rate: 10, burstSize: 2 },
        { type: "dscp_remark", rate: 5, burstSize: 1, precedenceLevel: 4 },
      ],
    },
    [
      "MOD meter=3 kbps burst bands=",
      "type=drop rate=10 burst_size=2",
      "type=dscp_remark rate=5 burst_size=1 prec_level=4",
    ],
  ],
  [
    {
      type: "multipart_reply",
      xid: 1,
      flags: 1,
      body: {
        kind: "meter",
        meters: [
          { meterId: 3, flowCount: 2, packetInCount: 8n, byteInCount: 9n, ...DURATION, bands: [COUNTS] },
        ],
      },
    },
    [
      "[more]",
      "meter:3 flow_count:2 packet_in_count:8 byte_in_count:9 duration:5.006s",
      "0: packet_count:7 byte_count:4294967296",
    ],
  ],
  [
    {
      type: "multipart_reply",
      xid: 1,
      flags: 0,
      body: {
        kind: "meter_config",
        meters: [{ flags: 2, meterId: 4, bands: [{ type: "drop", rate: 1, burstSize: 0 }] }],
      },
    },
    ["meter=4 pktps bands=", "type=drop rate=1"],
  ],
  [
    {
      type: "multipart_reply",
      xid: 1,
      flags: 0,
      body: {
        kind: "queue",
        queues: [{ port: 2, queueId: 1, txBytes: 3n, txPackets: 4n, txErrors: 5n, ...DURATION }],
      },
    },
    ["port 2 queue 1: bytes=3, pkts=4, errors=5, duration=5.006s"],
  ],
  [
    {
      type: "queue_get_config_reply",
      xid: 1,
      port: 2,
      queues: [
        {
          queueId: 1,
          port: 2,
          properties: [
            { type: "min_rate", rate: 250 },
            { type: "max_rate", rate: 500 },
          ],
        },
      ],
    },
    ["port=2", "queue 1: min_rate:25.0% max_rate:50.0%"],
  ],
  [
    {
      type: "multipart_reply",
      xid: 1,
      flags: 0,
      body: {
        kind: "group",
        groups: [{ groupId: 8, referenceCount: 2, ...COUNTS, ...DURATION, buckets: [COUNTS, COUNTS] }],
      },
    },
    ["group_id=8,duration=5.006s,ref_count=2,packet_count=7", "bucket1:packet_count=7,byte_count=4294967296"],
  ],
  [
    { type: "error", xid: 1, errorType: 5, code: 3, data: fromHex("0414000800000001") },
    ["OFPFMFC_OVERLAP", "OFPT_BARRIER_REQUEST"],
  ],
  [
    {
      type: "port_mod",
      xid: 1,
      port: 2,
      macAddress: bytes(2, 0, 0, 0, 0, 2),
      config: 1,
      mask: 1,
      advertise: 0,
    },
    ["port: 2: addr:02:00:00:00:00:02", "config: PORT_DOWN", "mask:   PORT_DOWN"],
  ],
  [{ type: "table_mod", xid: 1, tableId: 3, config: 0 }, ["table_id=3"]],
];

describe("encodeMessage()", () => {
  beforeAll(() => requirePrograms("ovs-ofctl"));

  it.each(CASES.map(([message, printed]) => [message.type, message, printed] as const))(
    "writes a %s that Open vSwitch prints as meant",
    async (_type, message, printed) => {
      const text = await print(message);
      expect(text).not.toContain("***");
      for (const part of printed) expect(text).toContain(part);
      expect(parseMessage(encodeMessage(message))).toEqual(message);
    },
  );
});

const VECTORS = "openflow13-packets.jsonl";

describe("the shared OpenFlow packet vectors", needsVectors(VECTORS), () => {
  it("parse, all of them, and encode to the same bytes", () => {
    const lines = readFileSync(join(ROOT, "..", "shared", "conformance", VECTORS), "utf8")
      .trim()
      .split("\n");
    const messages = lines.flatMap((line) => (JSON.parse(line) as { msgs: string[] }).msgs);
    expect(messages.length).toBeGreaterThan(700);
    for (const hex of messages) expect(toHex(encodeMessage(parseMessage(fromHex(hex))))).toBe(hex);
  });
});
