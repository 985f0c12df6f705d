import { describe, expect, it } from "vitest";
import { OXM_FIELDS, OXM_NAMES, type OxmFieldName } from "../../base/openflow/index.js";
import { actionFieldNamed, fieldNamed, formatFieldValue, parseFieldValue } from "./field-text.js";

describe("fieldNamed()", () => {
  it("knows a field by each of its names, and tells the two in_port apart", () => {
    for (const field of Object.values(OXM_FIELDS)) {
      const { manual, dump, header, others } = OXM_NAMES[field.name];
      const named = [manual, dump, header, ...others].filter((name) => name !== "in_port");
      for (const name of named) expect(`${name} ${fieldNamed(name).name}`).toBe(`${name} ${field.name}`);
    }
    expect(fieldNamed("in_port").name).toBe("in_port");
    expect(actionFieldNamed("in_port").name).toBe("nxm_in_port");
    expect(() => fieldNamed("toString")).toThrow('no field "toString"');
  });
});

// Left: what a person may write; right: how ovs-ofctl 3.1 shows it.
const VALUES: readonly (readonly [OxmFieldName, string, string])[] = [
  ["ip_frag", "no", "no"],
  ["ip_frag", "yes", "yes"],
  ["ip_frag", "first", "first"],
  ["ip_frag", "later", "later"],
  ["ip_frag", "not_later", "not_later"],
  ["tcp_flags", "+syn-ack", "+syn-ack"],
  ["tcp_flags", "syn|ack", "syn|ack"],
  ["tcp_flags", "0x12", "syn|ack"],
  ["tcp_flags", "2/0x12", "+syn-ack"],
  ["ct_state", "+trk+est-rel", "+est-rel+trk"],
  ["ct_state", "0x21/0xff", "new|trk"],
  ["ct_state", "trk", "trk"],
  ["tun_flags", "+oam", "oam"],
  ["actset_output", "unset", "UNSET"],
  ["actset_output", "5", "5"],
  ["in_port", "local", "LOCAL"],
  ["nxm_in_port", "65534", "LOCAL"],
  ["ipv6_flabel", "0x1/0xf", "0x00001/0x0000f"],
  ["vlan_tci", "0/0x1fff", "0x0000/0x1fff"],
  ["reg15", "7/15", "0x7/0xf"],
  ["reg0", "0", "0"],
  ["ipv4_src", "10.0.0.0/255.0.255.0", "10.0.0.0/255.0.255.0"],
  ["ipv6_dst", "fe80::/10", "fe80::/10"],
  ["eth_type", "0x1234", "0x1234"],
  ["ip_tos", "16", "16"],
  ["xxreg3", "0x123456789abcdef0123456789", "0x123456789abcdef0123456789"],
];

describe("parseFieldValue() and formatFieldValue()", () => {
  it.each(VALUES)("take %s=%s and show %s", (name, written, shown) => {
    const field = OXM_FIELDS[name];
    const value = parseFieldValue(field, written);
    expect(formatFieldValue(field, value)).toBe(shown);
    expect(parseFieldValue(field, shown)).toEqual(value);
  });

  it.each([
    ["ip_frag", "1x"],
    ["tcp_flags", "+syn-nope"],
    ["reg0", "0x100000000"],
    ["ipv4_src", "10.0.0.0/33"],
    ["ct_state", "+"],
  ] as const)("refuse %s=%s", (name, written) => {
    expect(() => parseFieldValue(OXM_FIELDS[name], written)).toThrow(
      expect.objectContaining({ code: "FLOW_TEXT_INVALID" }),
    );
  });
});
