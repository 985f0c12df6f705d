// `plinth vswitchd --upgrade`: the switch is exchanged under guests that talk, whoever of QEMU and the switch listens, and
// under a stream. None of them sees a connection end, no frame is lost, doubled or overtaken, flows that were set
// meanwhile are in force; and a successor that cannot start changes nothing.
import { existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { cpus } from "node:os";
import { afterAll, beforeAll, expect, it } from "vitest";
import { closeFile, listenUnix, sysConnectUnix } from "../../base/linux/index.js";
import { waitFor } from "../../base/time/index.js";
import { askUnixctl } from "../../vswitch/cli/unixctl-client.js";
import { FakeGuest, PACKED } from "../../vswitch/port/fake-guest.js";
import { udpFrame } from "../../vswitch/testing/frames.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { PluggedGuest } from "../support/plugged-guest.js";
import { requirePrograms } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";

const DEADLINE_MS = 60_000;
/** Four, and the bridge's own. */
const PORTS = 5;
const FLOWS = [
  "table=0,ip,actions=ct(zone=1,table=1)",
  "table=1,ip,in_port=1,ct_state=+new,actions=ct(commit,zone=1),output:2,3,4",
  "table=1,ip,in_port=1,ct_state=+est,actions=output:2,3,4",
  "table=1,ip,in_port=2,ct_state=+est,actions=output:1",
];
let ours: SwitchProcess;
let left: PluggedGuest;
let right: PluggedGuest;
let listened: ListenedGuest;
let streamed: StreamPeer;
const successors: DaemonProcess[] = [];

beforeAll(async () => {
  requirePrograms("ovs-vsctl", "ovs-ofctl", "ovs-appctl");
  ours = new SwitchProcess();
  await ours.start();
  // The first to leave has a port worker, where there are two processors, whose ports it has to call back.
  await ours.vsctl("set", "Open_vSwitch", ".", "other_config:pmd-cpu-mask=3");
  expect(await ours.end()).toBe(0);
  await ours.start();
  await ours.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "fail_mode=secure");
  [left, right] = [1, 2].map((n) => new PluggedGuest(ours.path(`guest${n}`))) as [PluggedGuest, PluggedGuest];
  for (const [n, { path }] of [left, right].entries()) {
    const set = ["set", "Interface", `p${n}`, "type=dpdkvhostuserclient", `ofport_request=${n + 1}`];
    await ours.vsctl("add-port", "br0", `p${n}`, "--", ...set, `options:vhost-server-path=${path}`);
  }
  const where = ours.path("p4.sock");
  const stream = ["type=stream", "ofport_request=4", `options:path=${where}`, "options:server=true"];
  await ours.vsctl(
    ...["add-port", "br0", "p3", "--", "set", "Interface", "p3", "type=dpdkvhostuser", "ofport_request=3"],
    ...["--", "add-port", "br0", "p4", "--", "set", "Interface", "p4", ...stream],
  );
  for (const guest of [left, right]) await guest.plugged();
  listened = await ListenedGuest.dial(ours.path("p3"));
  streamed = new StreamPeer(where);
  await streamed.connected();
  for (const flow of FLOWS) await ours.ofctl("add-flow", "br0", flow);
}, DEADLINE_MS);
afterAll(async () => {
  for (const guest of [left, right, listened]) await guest?.close();
  streamed?.close();
  for (const one of successors) await one.end("SIGKILL");
  await ours?.destroy();
});

/** A guest whose QEMU dials, with packed rings. */
class ListenedGuest {
  readonly received: Uint8Array[] = [];
  readonly #guest: FakeGuest;
  readonly #watch: NodeJS.Timeout;

  static async dial(path: string): Promise<ListenedGuest> {
    const guest = new FakeGuest({ fd: sysConnectUnix(path), features: PACKED });
    await guest.start();
    return new ListenedGuest(guest);
  }

  private constructor(guest: FakeGuest) {
    this.#guest = guest;
    this.#watch = setInterval(() => this.received.push(...guest.receive()), 1);
  }

  close(): void {
    clearInterval(this.#watch);
    this.#guest.close();
  }
}

/** QEMU's end of a stream port. */
class StreamPeer {
  readonly frames: Uint8Array[] = [];
  readonly #socket: Socket;
  #bytes = Buffer.alloc(0);

  constructor(path: string) {
    this.#socket = connect(path);
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("error", () => undefined);
  }

  async connected(): Promise<void> {
    await waitFor(() => !this.#socket.connecting, "the stream port", DEADLINE_MS);
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const length = this.#bytes.length < 4 ? Number.POSITIVE_INFINITY : this.#bytes.readUInt32BE(0);
      if (this.#bytes.length < 4 + length) return;
      this.frames.push(Uint8Array.from(this.#bytes.subarray(4, 4 + length)));
      this.#bytes = this.#bytes.subarray(4 + length);
    }
  }
}

/** A process that is to take over. */
function successor(...words: readonly string[]): DaemonProcess {
  const args = ["vswitchd", "--dir", ours.dir, "--upgrade", ...words];
  const one = new DaemonProcess({ args, controlSocket: ours.path("vswitchd.ctl") });
  successors.push(one);
  return one;
}

const frame = (n: number, isAnswer = false): Uint8Array => {
  const ends = isAnswer
    ? { source: "10.0.0.2", destination: "10.0.0.1", sourcePort: 53, destinationPort: 4000 }
    : { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 4000, destinationPort: 53 };
  return udpFrame(ends, new TextEncoder().encode(String(n).padStart(20, "0")));
};
const numberOf = (bytes: Uint8Array): number => Number(new TextDecoder().decode(bytes.subarray(42, 62)));

it("a successor that cannot start leaves the switch as it was", async () => {
  const { pid } = ours;
  await expect(successor("--ovsdb", "ptcp:none").start()).rejects.toThrow("ended with");
  expect(((await ours.call("ping")) as { pid: number }).pid).toBe(pid);
  await left.send(frame(0));
  await waitFor(() => right.received.length > 0, "a frame through the switch that stayed", DEADLINE_MS);
  expect(left.absences).toEqual([]);
  expect(await portsByThread()).toEqual(cpus().length > 1 ? [0, 4] : [4]);
}, 120_000);

/** How many ports each thread serves; the first one forwards. */
async function portsByThread(): Promise<number[]> {
  const threads = (await ours.appctl("dpif-netdev/pmd-rxq-show")).split("pmd thread ").slice(1);
  return threads.map((text) => text.match(/port: p/g)?.length ?? 0);
}

it("takes over under traffic, again and again, and nobody notices: no peer, no frame, no flow, no connection", async () => {
  let sentCount = 1;
  let isSending = true;
  const sending = (async () => {
    for (let n = 1; isSending; n++) {
      await left.send(frame(n));
      sentCount = n + 1;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  await ours.appctl("fdb/add", "br0", "p1", "7", "52:54:00:00:00:77");
  const stations = await ours.appctl("fdb/show", "br0");
  const everybody: readonly (() => readonly Uint8Array[])[] = [
    () => right.received,
    () => listened.received,
    () => streamed.frames,
  ];
  const haveMore = async (): Promise<void> => {
    const seen = everybody.map((received) => received().length);
    await waitFor(
      () => everybody.every((received, i) => received().length > (seen[i] as number) + 20),
      "traffic",
      DEADLINE_MS,
    );
  };
  await haveMore();
  for (const round of [1, 2]) {
    const next = successor();
    const starting = next.start();
    // Set while the successor prepares itself, or after: it must not matter.
    const flow = `table=7,priority=${round},actions=drop`;
    await waitFor(
      () =>
        ours.ofctl("add-flow", "br0", flow).then(
          () => true,
          () => false,
        ),
      flow,
      DEADLINE_MS,
    );
    await starting;
    expect(tookOver(next)).toEqual({ ports: PORTS, handedPorts: PORTS - 1, gapMs: expect.any(Number) });
    await haveMore();
    // The successor's workers serve them as those before did.
    expect(await portsByThread()).toEqual(cpus().length > 1 ? [0, 4] : [4]);
    expect(await ours.appctl("dpif-netdev/pmd-rxq-rebalance")).toBe("pmd rxq rebalance requested.\n");
    expect(await (round === 1 ? ours.end() : successors.at(-2)?.end())).toBe(0);
  }
  isSending = false;
  await sending;
  await waitFor(
    () => everybody.every((received) => numberOf(received().at(-1) as Uint8Array) === sentCount - 1),
    "the last frame",
    DEADLINE_MS,
  );

  const sent = Array.from({ length: sentCount }, (_, n) => n);
  for (const received of everybody) expect(received().map(numberOf)).toEqual(sent);
  for (const guest of [left, right]) expect(guest.absences).toEqual([]);
  await right.send(frame(1, true));
  await waitFor(() => left.received.length > 0, "an answer in the old connection", DEADLINE_MS);
  const flows = await ours.ofctl("dump-flows", "br0");
  for (const round of [1, 2]) expect(flows).toContain(`table=7, n_packets=0, n_bytes=0, priority=${round} `);
  expect(await ours.appctl("fdb/show", "br0")).toBe(stations);
  expect(stations).toContain("52:54:00:00:00:77");
  // Of all three lives together.
  expect(await ours.ofctl("dump-ports", "br0", "p0")).toContain(`rx pkts=${sentCount},`);
  expect((await ours.appctl("dpctl/ct-get-nconns")).trim()).toBe("1");
  expect(existsSync(ours.path("upgrade.sock"))).toBe(false);
}, 120_000);

/** What a successor tells of the moment when it took over. */
function tookOver({ said }: DaemonProcess): unknown {
  const line = said.split("\n").find((one) => one.includes('"took over"'));
  const { ports, handedPorts, gapMs } = JSON.parse(line ?? "{}");
  console.info(line);
  return { ports, handedPorts, gapMs };
}

it("ends when its successor is killed at the worst moment, and the next start finds everything", async () => {
  const { pid } = successors.at(-1) as DaemonProcess;
  const last = successors.at(-1) as DaemonProcess;
  // A successor that asks for everything and takes nothing.
  const socket = ours.path("dead.sock");
  const listener = listenUnix(socket);
  await askUnixctl("upgrade/leave", [String(pid), socket], {
    socket: ours.path("vswitchd.ctl"),
    timeoutMs: DEADLINE_MS,
  });
  closeFile(listener);
  await last.ended();
  expect(last.exitCode).toBe(1);
  const next = successor();
  await next.start();
  for (const guest of [left, right])
    await waitFor(() => guest.absences.length === 1, "both cards back", DEADLINE_MS);
  await left.send(frame(7));
  await waitFor(() => numberOf(right.received.at(-1) as Uint8Array) === 7, "traffic again", DEADLINE_MS);
  expect(await ours.ofctl("dump-flows", "br0")).toContain("table=7, ");
}, 120_000);

it("starts as usual where no switch runs", async () => {
  for (const one of successors) await one.end("SIGKILL");
  const next = successor();
  await next.start();
  expect(await ours.ofctl("dump-flows", "br0")).toContain("table=7, ");
  expect(await next.end()).toBe(0);
}, 120_000);
