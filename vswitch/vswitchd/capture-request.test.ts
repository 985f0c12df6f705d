import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { CAPTURE_DEFAULTS, parseCaptureRequest } from "./capture-request.js";
import type { BridgePorts } from "./trace-commands.js";

const ports = (given: Record<string, number>) => ({
  ports: new Map(Object.entries(given).map(([name, ofport]) => [name, { ofport }])),
});
const two: BridgePorts = new Map([
  ["br0", ports({ br0: 65534, p1: 1, same: 2 })],
  ["br1", ports({ br1: 65534, q1: 1, same: 7 })],
]);
const one: BridgePorts = new Map([["br0", ports({ br0: 65534, p1: 1, p2: 2 })]]);

const parse = (request: unknown, bridges = two) => parseCaptureRequest(JSON.stringify(request), bridges);

describe("parseCaptureRequest()", () => {
  it("takes the only bridge, whole, with bounds of its own", () => {
    expect(parse({}, one)).toEqual({
      bridge: "br0",
      ports: undefined,
      point: { at: "ports", direction: "both" },
      match: [],
      snapLength: CAPTURE_DEFAULTS.snapLength,
      rate: CAPTURE_DEFAULTS.rate,
      count: Number.POSITIVE_INFINITY,
      ringSize: CAPTURE_DEFAULTS.buffer,
    });
  });

  it("finds places by bridge, port, number and LOCAL", () => {
    const placed = (...where: string[]) => {
      const { bridge, ports } = parse({ where });
      return [bridge, ports];
    };
    expect(placed("br1")).toEqual(["br1", undefined]);
    expect(placed("q1")).toEqual(["br1", ["q1"]]);
    expect(placed("br1/same", "br1/1", "br1/LOCAL")).toEqual(["br1", ["same", "q1", "br1"]]);
    expect(placed("p1", "br0")).toEqual(["br0", undefined]);
  });

  it("reads flows as dump-flows does, drops by reason, and matches with names of ports", () => {
    expect(parse({ flow: "table=3,cookie=0x10/0xf0,tcp,out_port=p2" }, one).point).toMatchObject({
      at: "flows",
      flows: { tableId: 3, cookie: 0x10n, cookieMask: 0xf0n, outPort: 2 },
    });
    expect(parse({ drops: ["table-miss"], match: "in_port=p2,reg1=5" }, one)).toMatchObject({
      point: { at: "drops", reasons: ["table-miss"] },
      match: [{ field: "in_port", value: Uint8Array.of(0, 0, 0, 2) }, { field: "reg1" }],
    });
    expect(parse({ rate: 0, count: 5, snapLength: 64, buffer: 1 << 20 }, one)).toMatchObject({
      rate: Number.POSITIVE_INFINITY,
      count: 5,
      snapLength: 64,
      ringSize: 1 << 20,
    });
  });

  it.each([
    [{}, "where: name one of br0, br1"],
    [{ drops: ["br0"] }, 'drops: "br0" is no reason; known are table-miss,'],
    [{ where: ["same"] }, "where: br0 and br1 have a port same: say br0/same"],
    [{ where: ["p1", "q1"] }, "where: br0 and br1 are two bridges; capture from each by itself"],
    [{ where: ["x"] }, 'where: "x" is no bridge and no port of one'],
    [{ where: ["br9/p1"] }, 'where: "br9/p1" is no bridge and no port of one'],
    [{ where: "br0" }, "where: is not a list of texts"],
    [{ where: ["br0"], flow: "tcp", drops: [] }, "drops: cannot go with a flow: a capture has one point"],
    [{ where: ["br0"], drops: [], direction: "in" }, "direction: is of ports; a flow or a drop has none"],
    [{ where: ["br0"], direction: "up" }, 'direction: is "up"; in, out and both are known'],
    [
      { where: ["br0"], match: "in_port=1" },
      "match: in_port is nothing that a frame at a port has: name the port, or a flow",
    ],
    [{ where: ["br0"], match: "table=1" }, "match: has a table or a cookie: these select a flow"],
    [{ where: ["br0"], match: "tpc" }, "field tpc missing value"],
    [{ where: ["br0"], snapLength: 0 }, "snapLength: is not a whole number from 1 to 262144"],
    [{ where: ["br0"], buffer: 300_000 }, "buffer: 300000 is no power of two"],
    [{ where: ["br0"], depth: 1 }, "depth: is not known"],
    [[], "request: is not an object"],
  ])("refuses %j", (request, message) => {
    expect(() => parse(request)).toThrow(message);
  });

  it("throws nothing but PlinthErrors, whatever is asked", () => {
    const value = fc.oneof(fc.string(), fc.double(), fc.array(fc.string()), fc.constantFrom("br0", "tcp"));
    const names = ["where", "flow", "drops", "match", "snapLength", "rate", "count", "buffer", "direction"];
    const request = fc.dictionary(fc.constantFrom(...names), value).map((given) => JSON.stringify(given));
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), request), (line) => {
        try {
          parseCaptureRequest(line, one);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
        }
      }),
    );
  });
});
