import { expect, it } from "vitest";
import { shortenNames } from "./name-list-text.js";

it("shortenNames() tells once what names begin with, and runs of numbers by their ends", () => {
  expect(shortenNames(["in_port", "eth_src", "eth_dst", "reg0", "reg1", "reg2"])).toBe(
    "in_port eth_{src,dst} reg0...reg2",
  );
  expect(shortenNames(["ct_mark", "ct_nw_src", "ct_nw_dst", "nsh_c1", "nsh_c2"])).toBe(
    "ct_{mark,nw_{src,dst}} nsh_{c1...c2}",
  );
  expect(shortenNames([])).toBe("");
});
