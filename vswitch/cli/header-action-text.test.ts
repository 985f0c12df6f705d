// What people write wrong of encap and decap is refused in the words of ovs-ofctl 3.1.
import { expect, it } from "vitest";
import { Prerequisites } from "../flow/index.js";
import { field, match } from "../testing/rig.js";
import { parseDecap, parseEncap } from "./header-action-text.js";

it.each([
  ["", "Missing encap hdr: "],
  [",", "Missing encap hdr: ,"],
  ["foo", "Encap hdr not supported: "],
])("encap(%s)", (text, message) => expect(() => parseEncap(text)).toThrow(message));

it.each([
  ["foo", "Invalid decap argument: foo"],
  ["foo=1", "Invalid decap argument: foo"],
  ["foo(1)", "Invalid decap argument: foo"],
  ["packet_type", "Missing packet_type attribute ns"],
  ["packet_type(x=3)", "Missing packet_type attribute ns"],
  ["packet_type(ns=0)", "Missing packet_type attribute type"],
])("decap(%s)", (text, message) => expect(() => parseDecap(text)).toThrow(message));

it("a header that is put on has its fields from then on; nothing can be said of what is under one that is taken off", () => {
  const packet = new Prerequisites(match(field("eth_type", 0x0800)));
  expect([packet.allows("nsh"), packet.allows("ipv4")]).toEqual([false, true]);
  packet.after(parseEncap("ethernet"));
  expect([packet.allows("nsh"), packet.allows("ipv4")]).toEqual([false, true]);
  packet.after(parseEncap("nsh(md_type=1)"));
  expect([packet.allows("nsh"), packet.allows("ipv4")]).toEqual([true, false]);
  expect(packet.allowsFrame("eth_src")).toBe(false);
  packet.after(parseDecap(""));
  expect([packet.allows("nsh"), packet.allows("ipv4")]).toEqual([false, false]);
});
