// Runs the probers against the TCP, HTTP and ICMP of this kernel and prints what they report, as JSON. For
// test/conformance/probers-kernel.test.ts, which starts it in a network namespace of its own: it makes a TAP device
// there, whose far end the probers are.
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { addressOf, openTap, sysRead, sysWrite, withNetDevices } from "../../base/linux/index.js";
import {
  ETHERNET_SIZE,
  ETHERTYPE_IPV4,
  formatMac,
  parseEthernet,
  parseIpv4,
  parseIpv4Address,
  parseMac,
} from "../../base/wire/index.js";
import { createProber } from "../../nfv/probe/create-prober.js";

/** One line of the output. */
export interface KernelReport {
  readonly check: string;
  readonly good: boolean;
  readonly reason: string;
}

const DEVICE = "plinth0";
const ADDRESS = "10.99.0.2";
const PROBE_ADDRESS = "10.99.0.1";
const PROBE_MAC = parseMac("02:00:00:00:00:64");
const ENDPOINT_MAC = parseMac("02:00:00:00:00:02");
const HTTP_PORT = 8080;
const MUTE_PORT = 8081;
const CLOSED_PORT = 8082;
const DEADLINE_MS = 10_000;
const CHECKS = [
  { check: "TCP", protocol: "TCP", port: HTTP_PORT },
  { check: "TCP closed", protocol: "TCP", port: CLOSED_PORT },
  { check: "ICMP", protocol: "ICMP", port: 0 },
  { check: "HTTP", protocol: "HTTP", port: HTTP_PORT, path: "/healthz" },
  { check: "HTTP missing", protocol: "HTTP", port: HTTP_PORT, path: "/nowhere" },
  { check: "HTTP slow letters", protocol: "HTTP", port: HTTP_PORT, path: "/letters" },
  { check: "HTTP mute", protocol: "HTTP", port: MUTE_PORT, path: "/" },
  { check: "HTTP closed", protocol: "HTTP", port: CLOSED_PORT, path: "/" },
] as const;

const tap = openTap(DEVICE);
const buffer = new Uint8Array(2048);
const ip = (...args: string[]) => execFileSync("ip", args);
ip("link", "set", DEVICE, "address", formatMac(ENDPOINT_MAC));
ip("addr", "add", `${ADDRESS}/24`, "dev", DEVICE);
withNetDevices((devices) => devices.setUp(DEVICE, true));
ip("neigh", "replace", PROBE_ADDRESS, "lladdr", formatMac(PROBE_MAC), "dev", DEVICE);

const http = createServer((request, response) => {
  if (request.url === "/letters") {
    // The status line in two segments.
    response.socket?.setNoDelay(true);
    response.socket?.write("HTTP/1.1");
    setImmediate(() => response.socket?.end(" 204 No Content\r\n\r\n"));
    return;
  }
  response.writeHead(request.url === "/healthz" ? 200 : 404).end("x".repeat(10_000));
});
const mute = createTcpServer((socket) => socket.on("error", () => {}));
for (const server of [http, mute]) server.on("clientError", () => {});
await new Promise<void>((resolve) => http.listen(HTTP_PORT, ADDRESS, resolve));
await new Promise<void>((resolve) => mute.listen(MUTE_PORT, ADDRESS, resolve));

const send = (frame: Uint8Array): void => {
  sysWrite(tap, addressOf(frame), frame.byteLength);
};

/** One check, up to its first report. */
async function run({ check, protocol, port, ...more }: (typeof CHECKS)[number]): Promise<KernelReport> {
  const prober = createProber(protocol);
  let report: KernelReport | undefined;
  const source = {
    address: parseIpv4Address(PROBE_ADDRESS),
    mac: PROBE_MAC,
    intervalMs: 2_000,
    timeoutMs: 1_000,
    ...more,
  };
  const target = { address: parseIpv4Address(ADDRESS), mac: ENDPOINT_MAC, port };
  prober.configure(source, [target], (_, good, reason) => {
    report ??= { check, good, reason };
  });
  const endMs = performance.now() + DEADLINE_MS;
  while (report === undefined && performance.now() < endMs) {
    prober.tick(performance.now(), send);
    for (let size = receive(); size > 0; size = receive()) deliver(prober, size);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return report ?? { check, good: false, reason: "the prober reported nothing" };
}

function receive(): number {
  return sysRead(tap, addressOf(buffer), buffer.byteLength);
}

function deliver(prober: ReturnType<typeof createProber>, size: number): void {
  const frame = buffer.subarray(0, size);
  const { etherType, payload } = parseEthernet(frame);
  if (etherType !== ETHERTYPE_IPV4) return;
  const packet = parseIpv4(payload);
  if (packet.protocol !== prober.protocol || packet.destination !== parseIpv4Address(PROBE_ADDRESS)) return;
  const headerSize = ((payload[0] as number) & 15) * 4;
  prober.receive(new DataView(buffer.buffer), ETHERNET_SIZE, headerSize, performance.now(), send);
}

/** Connections that the kernel still holds to the probe address, by state; the prober's resets end them all. */
function leftConnections(): string {
  return execFileSync("ss", ["-tanH", "dst", PROBE_ADDRESS]).toString().trim();
}

const reports: KernelReport[] = [];
for (const each of CHECKS) reports.push(await run(each));
const endMs = performance.now() + DEADLINE_MS;
while (leftConnections() !== "" && performance.now() < endMs) {
  await new Promise((resolve) => setImmediate(resolve));
}
process.stdout.write(JSON.stringify({ reports, left: leftConnections() }));
process.exit(0);
