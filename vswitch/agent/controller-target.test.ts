import { describe, expect, it } from "vitest";
import { parseControllerTarget } from "./controller-target.js";

describe("parseControllerTarget()", () => {
  it.each([
    ["unix:/run/of.sock", { type: "unix", path: "/run/of.sock" }],
    ["tcp:10.0.0.1:6633", { type: "tcp", host: "10.0.0.1", port: 6633 }],
    ["tcp:10.0.0.1", { type: "tcp", host: "10.0.0.1", port: 6653 }],
    ["tcp:[fe80::1]:6633", { type: "tcp", host: "fe80::1", port: 6633 }],
    ["punix:/run/of.sock", { type: "punix", path: "/run/of.sock" }],
    ["ptcp:", { type: "ptcp", host: "127.0.0.1", port: 6653 }],
    ["ptcp:6633", { type: "ptcp", host: "127.0.0.1", port: 6633 }],
    ["ssl:10.0.0.1", { type: "ssl", host: "10.0.0.1", port: 6653 }],
    ["ssl:[::1]:6633", { type: "ssl", host: "::1", port: 6633 }],
    ["pssl:6633:10.0.0.1", { type: "pssl", host: "10.0.0.1", port: 6633 }],
    ["ptcp:6633:0.0.0.0", { type: "ptcp", host: "0.0.0.0", port: 6633 }],
  ])("reads %s", (target, expected) => {
    expect(parseControllerTarget(target)).toEqual(expected);
  });

  it.each([
    "",
    "sctp:1.2.3.4:6653",
    "pssl:x",
    "tcp:",
    "tcp:1.2.3.4:0",
    "tcp:1.2.3.4:65536",
    "tcp:1.2.3.4:x",
    "unix:",
    "x",
  ])("refuses %j", (target) => {
    expect(() => parseControllerTarget(target)).toThrow(/is no controller/);
  });
});
