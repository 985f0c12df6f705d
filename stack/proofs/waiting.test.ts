import { describe, expect, it } from "vitest";
import { describeWaiting } from "./waiting.js";

const machine = (name: string, phase?: string, conditions?: readonly object[]) => ({
  metadata: { name },
  status: { phase, conditions },
});
const not = (type: string, message: string) => ({ type, status: "False", message });

describe("describeWaiting()", () => {
  it("names machines that wait for the same together", () => {
    const starting = [not("Isolated", "without root"), not("Ready", "QEMU is being started")];
    const text = describeWaiting([
      machine("app", "Starting", starting),
      machine("db", "Pending", [not("Scheduled", "no host has registered yet")]),
      machine("web1", "Starting", starting),
      machine("web2", "Pending", [{ type: "Ready", status: "True", message: "" }]),
      { metadata: { name: "web3" } },
    ]);
    expect(text).toBe(
      "app, web1: QEMU is being started; db: no host has registered yet; web2, web3: Pending",
    );
  });

  it("says nothing of no machine", () => expect(describeWaiting([])).toBe(""));
});
