// Controllers at their worst, against a switch of its own: half messages, floods, groups that contain themselves,
// bundles that end with their connection, and peers that ask for everything and read nothing. Meanwhile a well-behaved
// controller is served, afterwards its flows are as it left them, and memory is bounded.
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  encodeMessage,
  type GroupMod,
  OFP_NO_BUFFER,
  OFPG_ANY,
  OFPP_ANY,
  OFPP_CONTROLLER,
  type OpenFlowMessage,
} from "../../base/openflow/index.js";
import { Random } from "../../base/random/index.js";
import { waitFor } from "../../base/time/index.js";
import { ControllerPeer } from "../../vswitch/testing/controller-peer.js";
import { apply, field, flowMod, output } from "../../vswitch/testing/rig.js";
import { requirePrograms } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";

const DEADLINE_MS = 100_000;
const SEED = 20_261;
/** Above what the idle switch needs. */
const MEMORY_GROWTH_MAX_MIB = 1200;
const COOKIE = 0x600dn;
const GOING = 0xbadn;
const ALL_ONES = 0xffffffffffffffffn;
const STAYING_FLOWS = 10_000;

let daemon: SwitchProcess;
const sockets: Socket[] = [];

beforeEach(async () => {
  requirePrograms("ovs-vsctl");
  daemon = new SwitchProcess();
  await daemon.start();
  await daemon.vsctl("add-br", "br0", "--", "set-fail-mode", "br0", "secure");
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await daemon.destroy();
});

function dial(): Socket {
  const socket = connect(daemon.path("br0.mgmt"));
  socket.on("error", () => undefined);
  sockets.push(socket);
  return socket;
}

async function controller(): Promise<ControllerPeer> {
  const peer = new ControllerPeer(dial());
  await peer.established();
  return peer;
}

function residentMib(): number {
  const status = readFileSync(`/proc/${daemon.pid}/status`, "latin1");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

const hello = encodeMessage({ type: "hello", xid: 1, version: 4, versions: [4] });
const filter = { tableId: 255, outPort: OFPP_ANY, outGroup: OFPG_ANY, match: [] };
const allFlows = (xid: number): Uint8Array =>
  encodeMessage({
    type: "multipart_request",
    xid,
    flags: 0,
    body: { kind: "flow", ...filter, cookie: 0n, cookieMask: 0n },
  });

/** Changes one of its own flows, waits for the barrier and looks at all of them. */
async function behaveWell(peer: ControllerPeer, round: number): Promise<void> {
  peer.send(flowMod({ cookie: COOKIE, tableId: 9, priority: round, match: [field("in_port", 1)] }));
  peer.send({ type: "barrier_request" });
  await waitFor(() => peer.messages.some(({ type }) => type === "barrier_reply"), "no barrier", DEADLINE_MS);
  peer.messages.length = 0;
  peer.send({
    type: "multipart_request",
    flags: 0,
    body: { kind: "aggregate", ...filter, cookie: COOKIE, cookieMask: ALL_ONES },
  });
  await waitFor(() => peer.messages.some(({ type }) => type === "multipart_reply"), "no answer", DEADLINE_MS);
  expect(peer.messages).toMatchObject([{ body: { kind: "aggregate", flowCount: round } }]);
  peer.messages.length = 0;
}

const group = (groupId: number, to: number, command: GroupMod["command"]): GroupMod => ({
  type: "group_mod",
  xid: 1,
  command,
  groupType: "indirect",
  groupId,
  buckets: [
    { weight: 0, watchPort: OFPP_ANY, watchGroup: OFPG_ANY, actions: [{ type: "group", groupId: to }] },
  ],
});

/** Each does its worst and leaves. */
const ABUSES: Readonly<Record<string, (random: () => number) => void>> = {
  "half a message": (random) => {
    const socket = dial();
    const bytes = encodeMessage({ ...flowMod({}), xid: 1 });
    socket.write(hello);
    socket.end(bytes.slice(0, 1 + Math.floor(random() * (bytes.length - 1))));
  },
  "bytes that mean nothing": (random) => {
    const socket = dial();
    socket.write(hello);
    for (let i = 0; i < 20; i++) {
      const length = 8 + Math.floor(random() * 300);
      const bytes = Uint8Array.from({ length }, () => Math.floor(random() * 256));
      bytes.set([4, Math.floor(random() * 30), length >> 8, length & 0xff]);
      socket.write(bytes);
    }
  },
  "groups that contain themselves": () => {
    const socket = dial();
    socket.write(hello);
    const first = { ...group(1, 2, "add"), buckets: [{ ...group(1, 2, "add").buckets[0], actions: [] }] };
    const mods = [
      first as GroupMod,
      group(2, 1, "add"),
      group(3, 2, "add"),
      group(1, 3, "modify"),
      group(1, 1, "modify"),
    ];
    for (let i = 0; i < 50; i++) for (const mod of mods) socket.write(encodeMessage(mod));
  },
  "groups that multiply, and watch each other in a circle": () => {
    const socket = dial();
    socket.write(hello);
    const bucket = (to: number, watchGroup: number): GroupMod["buckets"][number] => ({
      weight: 0,
      watchPort: OFPP_ANY,
      watchGroup,
      actions: to === 0 ? [] : [{ type: "group", groupId: to }],
    });
    const base = { type: "group_mod", xid: 1, command: "add" } as const;
    for (let n = 32; n > 0; n--) {
      const buckets = Array.from({ length: 4 }, () => bucket(n === 32 ? 0 : 1000 + n + 1, OFPG_ANY));
      socket.write(encodeMessage({ ...base, groupType: "all", groupId: 1000 + n, buckets }));
    }
    for (const n of [0, 1, 2]) {
      const buckets = Array.from({ length: 500 }, () => bucket(0, 2000 + ((n + 1) % 3)));
      socket.write(encodeMessage({ ...base, groupType: "ff", groupId: 2000 + n, buckets }));
    }
    for (let i = 0; i < 20; i++) {
      for (const groupId of [1001, 2000]) {
        socket.write(
          encodeMessage({
            type: "packet_out",
            xid: 1,
            bufferId: OFP_NO_BUFFER,
            inPort: OFPP_CONTROLLER,
            actions: [{ type: "group", groupId }],
            data: new Uint8Array(60),
          }),
        );
      }
    }
    socket.end();
  },
  "all priorities of one match": () => {
    const socket = dial();
    socket.write(hello);
    const match = [field("in_port", 77)];
    const mods: Uint8Array[] = [];
    for (let i = 0; i < 65_536; i++)
      mods.push(
        encodeMessage({ ...flowMod({ tableId: 8, priority: (i * 25_717) & 0xffff, match }), xid: i }),
      );
    mods.push(encodeMessage({ ...flowMod({ command: "delete", tableId: 8, match }), xid: 1 }));
    socket.end(Buffer.concat(mods));
  },
  "requests in pieces that never end": (random) => {
    const socket = dial();
    socket.write(hello);
    const body = { kind: "table_features", tables: [] } as const;
    for (let i = 0; i < 20_000; i++) {
      const xid = Math.floor(random() * 1000);
      socket.write(encodeMessage({ type: "multipart_request", xid, flags: 1, body }));
    }
    socket.end();
  },
  "a bundle that is left": () => {
    const socket = dial();
    socket.write(hello);
    const bundle = { xid: 7, bundleId: 1, flags: 3 } as const;
    socket.write(encodeMessage({ type: "bundle_control", ...bundle, control: "open_request" }));
    const message = encodeMessage({ ...flowMod({ command: "delete", tableId: 255 }), xid: 7 });
    for (let i = 0; i < 500; i++) socket.write(encodeMessage({ type: "bundle_add", ...bundle, message }));
    socket.end();
  },
  "a peer that asks and does not read": () => {
    const socket = dial();
    socket.pause();
    socket.write(hello);
    for (let xid = 0; xid < 2000; xid++) socket.write(allFlows(xid));
  },
};

it("serves a well-behaved controller whatever the others do", async () => {
  const generator = new Random(SEED);
  const random = (): number => generator.uint32() / 2 ** 32;
  const good = await controller();
  const idleMib = residentMib();
  let round = 0;
  await behaveWell(good, ++round);

  const flooder = await controller();
  const flows = 100_000;
  const batch: Uint8Array[] = [];
  for (let i = 0; i < flows; i++) {
    const match = [field("eth_src", 0x020000000000 + i)];
    const cookie = i < STAYING_FLOWS ? 0n : GOING;
    const mod = flowMod({ tableId: 3, cookie, match, instructions: [apply(output(1))] });
    batch.push(encodeMessage({ ...mod, xid: i }));
  }
  flooder.socket.write(Buffer.concat(batch));
  flooder.send({ type: "barrier_request" });
  while (!flooder.messages.some(({ type }) => type === "barrier_reply")) await behaveWell(good, ++round);
  expect(flooder.messages.filter(({ type }: OpenFlowMessage) => type === "error")).toEqual([]);

  // Those that stay are enough for the answers that nobody reads to be long.
  flooder.send(flowMod({ command: "delete", tableId: 3, cookie: GOING, cookieMask: ALL_ONES }));

  const names = Object.keys(ABUSES);
  for (let i = 0; i < 25; i++) {
    const name = i < names.length ? names[i] : names[Math.floor(random() * names.length)];
    ABUSES[name as string]?.(random);
    if (i % 5 === 4) await behaveWell(good, ++round);
  }
  for (let i = 0; i < 10; i++) await behaveWell(good, ++round);
  const table = await daemon.ofctl("dump-aggregate", "br0");
  expect(table).toContain(`flow_count=${STAYING_FLOWS + round}`);
  expect(residentMib() - idleMib).toBeLessThan(MEMORY_GROWTH_MAX_MIB);
}, 300_000);
