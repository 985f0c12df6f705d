import { expect, it } from "vitest";
import { traceOfPort } from "./port-trace.js";

const BRIDGES = new Map([
  [
    "br0",
    {
      ports: new Map([
        ["br0", { ofport: 65534 }],
        ["web", { ofport: 1 }],
      ]),
    },
  ],
  [
    "br1",
    {
      ports: new Map([
        ["db", { ofport: 1 }],
        ["app", { ofport: 2 }],
      ]),
    },
  ],
]);

it.each([
  [
    ["web", "tcp,tp_dst=80"],
    ["br0", "in_port=web,tcp,tp_dst=80"],
  ],
  [
    ["2", "arp", "--ct-next", "new"],
    ["br1", "in_port=2,arp", "--ct-next", "new"],
  ],
  [
    ["db", "ff:ff:ff:ff:ff:ff 52:54:00:00:00:01 0806"],
    ["br1", "in_port=db", "ffffffffffff5254000000010806"],
  ],
  [["app"], ["br1", "in_port=app"]],
])("traceOfPort() finds the bridge of %j", (args, expected) => {
  expect(traceOfPort(args, BRIDGES)).toEqual(expected);
});

it("traceOfPort() refuses a port that is nowhere or in several bridges", () => {
  expect(() => traceOfPort(["mail", "arp"], BRIDGES)).toThrow('no bridge has a port "mail"');
  expect(() => traceOfPort(["1", "arp"], BRIDGES)).toThrow("br0 and br1 have a port 1");
});
