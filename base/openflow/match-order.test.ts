import { describe, expect, it } from "vitest";
import { inWireOrder } from "./match-order.js";
import { OXM_FIELDS } from "./oxm-fields.js";

describe("inWireOrder()", () => {
  it("knows every field, and puts prerequisites before what needs them", () => {
    const all = Object.values(OXM_FIELDS).map(({ name, size }) => ({
      field: name,
      value: new Uint8Array(size),
    }));
    const order = inWireOrder(all.filter(({ field }) => !/^x+reg/.test(field))).map(({ field }) => field);
    const at = (name: (typeof order)[number]): number => order.indexOf(name);
    expect(order.every((name) => OXM_FIELDS[name] !== undefined)).toBe(true);
    expect(at("eth_type")).toBeLessThan(at("ip_proto"));
    expect(at("ip_proto")).toBeLessThan(at("tcp_src"));
    expect(at("icmpv6_type")).toBeLessThan(at("ipv6_nd_sll"));
    expect(at("vlan_vid")).toBeLessThan(at("vlan_pcp"));
    expect(at("ct_state")).toBeLessThan(at("ct_nw_src"));
    expect(order).toHaveLength(Object.keys(OXM_FIELDS).filter((name) => !/^x+reg/.test(name)).length);
  });

  it("writes wide registers as the registers that they are", () => {
    const value = Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2);
    const mask = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2);
    expect(inWireOrder([{ field: "xreg7", value }])).toEqual([
      { field: "reg14", value: Uint8Array.of(0, 0, 0, 1) },
      { field: "reg15", value: Uint8Array.of(0, 0, 0, 2) },
    ]);
    expect(inWireOrder([{ field: "xreg0", value, mask }])).toEqual([
      { field: "reg1", value: Uint8Array.of(0, 0, 0, 2), mask: Uint8Array.of(0, 0, 0, 2) },
    ]);
  });
});
