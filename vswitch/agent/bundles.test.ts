// Bundles over a real socket, with a switch model in memory.
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import {
  type BundleControl,
  encodeMessage,
  type FlowMod,
  ONF_ERRORS,
  type OpenFlowMessage,
} from "../../base/openflow/index.js";
import { systemClock, waitFor } from "../../base/time/index.js";
import { ControllerPeer } from "../testing/controller-peer.js";
import { flowMod } from "../testing/rig.js";
import { Bundles } from "./bundles.js";
import { BUNDLE_IDLE_MS, BUNDLES_MAX } from "./limits.js";
import { MemorySwitch } from "./memory-switch.js";
import { OpenFlowAgent } from "./openflow-agent.js";

const BOTH = 3;
let directory: string;
let model: MemorySwitch;
let agent: OpenFlowAgent;
let peer: ControllerPeer;

beforeEach(async () => {
  directory = mkdtempSync("/tmp/of-bundle-");
  model = new MemorySwitch();
  agent = await OpenFlowAgent.open(
    { managementSocket: join(directory, "br0.mgmt") },
    { model, clock: systemClock, log: silentLog },
  );
  peer = await dial();
});

afterEach(async () => {
  peer.socket.destroy();
  await agent.close();
  rmSync(directory, { recursive: true, force: true });
});

async function dial(): Promise<ControllerPeer> {
  const dialled = new ControllerPeer(connect(join(directory, "br0.mgmt")));
  await dialled.established();
  return dialled;
}

const control = (name: BundleControl["control"], flags = BOTH, bundleId = 1) =>
  ({ type: "bundle_control", bundleId, control: name, flags }) as const;

/** Adds to bundle 1; the message carries the xid of the add. */
function add(mod: Partial<FlowMod>, xid: number, flags = BOTH): void {
  const message = encodeMessage({ ...flowMod(mod), xid });
  peer.socket.write(encodeMessage({ type: "bundle_add", xid, bundleId: 1, flags, message }));
}

/** Everything that was answered before a barrier. */
async function answers(): Promise<OpenFlowMessage[]> {
  peer.send({ type: "barrier_request" });
  await peer.next("barrier_reply");
  return peer.messages.splice(0);
}

const errorOf = (name: keyof typeof ONF_ERRORS) => ({
  type: "experimenter_error",
  experimenter: 0x4f4e4600,
  expType: ONF_ERRORS[name],
});

describe("a bundle", () => {
  it("changes nothing before its commit and everything by it", async () => {
    peer.send(control("open_request"));
    add({ priority: 1 }, 100);
    add({ priority: 2 }, 101);
    peer.send(control("close_request"));
    expect(await answers()).toMatchObject([{ control: "open_reply" }, { control: "close_reply" }]);
    expect(model.flows).toEqual([]);
    peer.send(control("commit_request"));
    expect(await answers()).toMatchObject([{ control: "commit_reply", bundleId: 1, flags: 0 }]);
    expect(model.flows.map((flow) => flow.priority)).toEqual([1, 2]);
  });

  it("is refused whole when one of its messages is, with that message's error first", async () => {
    peer.send(flowMod({ priority: 7 }), control("open_request"));
    add({ command: "delete" }, 100);
    add({ priority: 1, tableId: 255 }, 101);
    peer.send(control("commit_request"));
    expect(await answers()).toMatchObject([
      { control: "open_reply" },
      { type: "error", xid: 101, errorType: 5, code: 2 },
      errorOf("OFPBFC_MSG_FAILED"),
    ]);
    expect(model.flows.map((flow) => flow.priority)).toEqual([7]);
  });

  it("is opened by its first message too, and forgotten by discard", async () => {
    add({ priority: 1 }, 100);
    peer.send(control("discard_request"), control("commit_request"));
    expect(await answers()).toMatchObject([{ control: "discard_reply" }, errorOf("OFPBFC_BAD_ID")]);
    expect(model.flows).toEqual([]);
  });

  it("is discarded when it is opened, closed or used against the rules", async () => {
    peer.send(control("open_request"), control("open_request"), control("commit_request"));
    peer.send(control("open_request"), control("close_request"), control("close_request"));
    peer.send(control("open_request"), control("commit_request", 1));
    peer.send(control("open_request", 8), control("open_reply"));
    peer.send(control("open_request"), control("close_request"));
    add({}, 100);
    peer.send(control("commit_request"));
    expect(await answers()).toMatchObject([
      { control: "open_reply" },
      errorOf("OFPBFC_BUNDLE_EXIST"),
      errorOf("OFPBFC_BAD_ID"),
      { control: "open_reply" },
      { control: "close_reply" },
      errorOf("OFPBFC_BUNDLE_CLOSED"),
      { control: "open_reply" },
      errorOf("OFPBFC_BAD_FLAGS"),
      errorOf("OFPBFC_BAD_FLAGS"),
      errorOf("OFPBFC_BAD_TYPE"),
      { control: "open_reply" },
      { control: "close_reply" },
      errorOf("OFPBFC_BUNDLE_CLOSED"),
      errorOf("OFPBFC_BAD_ID"),
    ]);
  });

  it("takes only changes, whole and under its own xid", async () => {
    peer.send(control("open_request"));
    const write = (message: Uint8Array): void => {
      peer.socket.write(encodeMessage({ type: "bundle_add", xid: 9, bundleId: 1, flags: BOTH, message }));
    };
    write(encodeMessage({ type: "barrier_request", xid: 9 }));
    write(encodeMessage({ ...flowMod({}), xid: 8 }));
    write(encodeMessage({ ...flowMod({}), xid: 9 }).slice(0, 40));
    write(Uint8Array.of(4, 14, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0));
    peer.send(control("commit_request"));
    expect(await answers()).toMatchObject([
      { control: "open_reply" },
      errorOf("OFPBFC_MSG_UNSUP"),
      errorOf("OFPBFC_MSG_BAD_XID"),
      errorOf("OFPBFC_MSG_BAD_LEN"),
      { type: "error", xid: 9, errorType: 1, code: 6 },
      { control: "commit_reply" },
    ]);
    expect(model.flows).toEqual([]);
  });

  it("goes with its connection", async () => {
    peer.send(control("open_request"));
    add({ priority: 1 }, 100);
    await answers();
    peer.socket.destroy();
    peer = await dial();
    peer.send(control("commit_request"));
    expect(await answers()).toMatchObject([errorOf("OFPBFC_BAD_ID")]);
    expect(model.flows).toEqual([]);
  });

  it("is refused to a slave", async () => {
    const path = join(directory, "service");
    agent.setControllers([{ target: `punix:${path}` }], "secure");
    await waitFor(() => agent.controllers[0]?.state === "ACTIVE", "not listening", 5_000, 2);
    peer.send({ type: "role_request", role: "slave", generationId: 1n }, control("open_request"));
    add({}, 100);
    expect(await answers()).toMatchObject([
      { type: "role_reply" },
      { type: "error", errorType: 1, code: 10 },
      { type: "error", errorType: 1, code: 10 },
    ]);
  });
});

describe("Bundles", () => {
  const request = new Uint8Array(8);

  it("refuses more bundles than its maximum", () => {
    const bundles = new Bundles();
    for (let bundleId = 0; bundleId < BUNDLES_MAX; bundleId++) {
      expect(bundles.control({ ...control("open_request", BOTH, bundleId), xid: 1 }, request, 0)).toEqual({
        reply: "open_reply",
      });
    }
    const outcome = bundles.control({ ...control("open_request", BOTH, 999), xid: 1 }, request, 0);
    expect(outcome).toEqual({ error: "OFPBFC_OUT_OF_BUNDLES" });
  });

  it("refuses more bytes than its maximum and takes new ones after a discard", () => {
    const bundles = new Bundles();
    const message = encodeMessage({
      type: "packet_out",
      xid: 1,
      bufferId: 0xffffffff,
      inPort: 1,
      actions: [],
      data: new Uint8Array(60_000),
    });
    const one = { type: "bundle_add", xid: 1, bundleId: 1, flags: BOTH, message } as const;
    let added = 0;
    while (bundles.add(one, request, 0) === undefined) added++;
    expect(added).toBeGreaterThan(500);
    expect(bundles.add(one, request, 0)).toBe("OFPBFC_MSG_TOO_MANY");
    bundles.control({ ...control("discard_request"), xid: 2 }, request, 0);
    expect(bundles.add(one, request, 0)).toBeUndefined();
  });

  it("discards what is idle for too long, and keeps what is not", () => {
    const bundles = new Bundles();
    bundles.control({ ...control("open_request", BOTH, 1), xid: 5 }, request, 0);
    bundles.control({ ...control("open_request", BOTH, 2), xid: 6 }, request, BUNDLE_IDLE_MS - 1);
    expect(bundles.expire(BUNDLE_IDLE_MS).map(({ xid }) => xid)).toEqual([5]);
    expect(bundles.count).toBe(1);
  });
});
