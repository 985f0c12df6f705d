import fc from "fast-check";
import { expect, it } from "vitest";
import { fromHex } from "../../base/bytes/index.js";
import { NXT_CT_FLUSH, NXT_CT_FLUSH_ZONE, parseCtFlush } from "./ct-flush-wire.js";

// What ovs-ofctl 3.1 sent, behind the subtype.
it.each([
  ["ct-flush", NXT_CT_FLUSH, "0000000000000000", {}],
  ["ct-flush-zone 5", NXT_CT_FLUSH_ZONE, "0000000000000005", { zone: 5 }],
  [
    "ct-flush zone=5 ct_nw_src=10.0.0.1,ct_nw_proto=6 ct_tp_dst=80",
    NXT_CT_FLUSH,
    "06000000000000000000002000000000000000140000" +
      "0000000000000000ffff0a000001000000000001001000000000000300080050000000020008" +
      "00050000",
    { zone: 5, original: { protocol: 6, source: "10.0.0.1" }, reply: { destinationPort: 80 } },
  ],
  [
    "ct-flush ct_ipv6_src=fe80::1,ct_nw_proto=58,icmp_type=128,icmp_id=7",
    NXT_CT_FLUSH,
    "3a000000000000000000003800000000" +
      "00000014fe80000000000000000000000000000100000000" +
      "00040008000700000005000580000000000600050000000000010020000000000004000800000000" +
      "00050005000000000006000500000000",
    { original: { protocol: 58, source: "fe80::1", sourcePort: 7, destinationPort: 128 << 8 } },
  ],
] as const)("parseCtFlush() reads %s", (_name, subtype, hex, filter) => {
  expect(parseCtFlush(subtype, fromHex(hex))).toEqual(filter);
});

it("parseCtFlush() takes any bytes: a filter or an error of OpenFlow", () => {
  fc.assert(
    fc.property(fc.constantFrom(NXT_CT_FLUSH, NXT_CT_FLUSH_ZONE), fc.uint8Array(), (subtype, bytes) => {
      const told = parseCtFlush(subtype, bytes);
      if (typeof told === "string") expect(told).toMatch(/^(OFPBRC|NXBRC)_/);
    }),
  );
});
