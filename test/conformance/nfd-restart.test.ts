// `plinth nfd` killed in the middle of connections, and one that is asked the same again: every connection goes on at
// the endpoint that it had, whether the endpoints are checked or not. The test is the switch.
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import {
  formatIpv4Address,
  parseEthernet,
  parseIpv4,
  parseIpv4Address,
  parseMac,
  parseTcp,
  TCP_ACK,
  TCP_SYN,
} from "../../base/wire/index.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { tcpFrame } from "../support/pipeline-frames.js";
import { encodeStreamFrame, StreamFrames } from "../support/stream-peer.js";

const DEADLINE_MS = 20_000;
const CONNECTIONS = 60;
const VIP = "10.10.0.100";
const PROBE = "10.10.0.101";
const WEBS = ["10.10.0.2", "10.10.0.3", "10.10.0.4"];
const end = (address: string, last: number) => ({
  ofport: 0,
  mac: parseMac(`02:00:00:00:00:${last.toString(16).padStart(2, "0")}`),
  address: parseIpv4Address(address),
});
const client = end("10.10.0.50", 0x32);
const vip = end(VIP, 0x64);

interface Seen {
  readonly to: string;
  readonly sourcePort: number;
  readonly flags: number;
  readonly sequence: number;
}

/** The switch's end of a function's stream socket. */
class SwitchEnd {
  readonly #socket: Socket;
  readonly seen: Seen[] = [];
  readonly #frames = new StreamFrames();

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("data", (chunk) => this.#take(chunk));
  }

  static dial(path: string): Promise<SwitchEnd> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(new SwitchEnd(socket)));
      socket.once("error", reject);
    });
  }

  send(
    from: typeof client,
    to: typeof client,
    ports: [number, number],
    flags: number,
    acknowledgment = 0,
  ): void {
    const frame = tcpFrame(from, to, { source: ports[0], destination: ports[1] }, flags, 1, acknowledgment);
    this.#socket.write(encodeStreamFrame(frame));
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    for (const frame of this.#frames.push(chunk)) {
      const ip = parseIpv4(parseEthernet(frame).payload);
      const tcp = parseTcp(ip.payload, ip);
      const to = formatIpv4Address(ip.destination);
      this.seen.push({ to, sourcePort: tcp.sourcePort, flags: tcp.flags, sequence: tcp.sequence });
      if (ip.source !== parseIpv4Address(PROBE) || tcp.flags !== TCP_SYN) continue;
      const web = end(to, Number(to.split(".")[3]));
      const ports: [number, number] = [tcp.destinationPort, tcp.sourcePort];
      this.send(web, end(PROBE, 0x64), ports, TCP_SYN | TCP_ACK, (tcp.sequence + 1) >>> 0);
    }
  }

  /** Where a segment of each connection comes out. */
  async place(flags: number): Promise<Map<number, string>> {
    const before = this.seen.length;
    for (let i = 0; i < CONNECTIONS; i++) this.send(client, vip, [40_000 + i, 80], flags);
    const found = () => this.seen.slice(before).filter(({ sourcePort }) => sourcePort < 40_000 + CONNECTIONS);
    await waitFor(
      () => found().length === CONNECTIONS,
      () => `${CONNECTIONS} segments to come out, there are ${found().length}`,
      DEADLINE_MS,
    );
    return new Map(found().map(({ sourcePort, to }) => [sourcePort, to]));
  }
}

describe.each([
  ["not checked", {}],
  ["checked", { probeAddress: PROBE }],
])("plinth nfd with endpoints that are %s", (_, probes) => {
  let dir: string;
  let nfd: DaemonProcess;
  let device: SwitchEnd | undefined;
  beforeEach(() => {
    dir = mkdtempSync("/tmp/pnr-");
    nfd = new DaemonProcess({ args: ["nfd", "--dir", dir], controlSocket: join(dir, "run", "nfd.sock") });
  });
  afterEach(async () => {
    device?.close();
    await nfd.end();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Starts nfd, applies the function, and attaches to it as the switch does. */
  async function start(): Promise<SwitchEnd> {
    await nfd.start();
    await nfd.call("function.apply", {
      name: "shop/web",
      type: "LoadBalancer",
      socket: join(dir, "nf.sock"),
      macAddress: "02:00:00:00:00:64",
      address: VIP,
      ...probes,
      ports: [{ port: 80 }],
      endpoints: WEBS.map((address, i) => ({
        name: `web${i}`,
        address,
        macAddress: `02:00:00:00:00:0${address.split(".")[3]}`,
      })),
      healthCheck: { intervalMs: 500, timeoutMs: 500, healthyThreshold: 2 },
    });
    return SwitchEnd.dial(join(dir, "nf.sock"));
  }

  async function allHealthy(): Promise<boolean> {
    const list = (await nfd.call("function.list")) as {
      endpoints: { state: string }[];
    }[];
    return list[0]?.endpoints.every(({ state }) => state === "Healthy") === true;
  }

  it("keeps every connection at its endpoint when it is killed", async () => {
    device = await start();
    if ("probeAddress" in probes) await waitFor(allHealthy, "the endpoints to be healthy", DEADLINE_MS);
    const before = await device.place(TCP_SYN);
    expect(new Set(before.values())).toEqual(new Set(WEBS));
    await nfd.end("SIGKILL");
    device.close();
    device = await start();
    // At once, before any check can have been answered twice.
    expect(await device.place(TCP_ACK)).toEqual(before);
    if ("probeAddress" in probes) await waitFor(allHealthy, "the endpoints to be healthy", DEADLINE_MS);
    expect(await device.place(TCP_ACK)).toEqual(before);
  });
});
