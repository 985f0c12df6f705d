// A machine with two queue pairs moves live from one QEMU to another while it answers pings: its network card lies in the
// memory that both QEMUs share with our switch, which has to mark every page that it writes. A page forgotten is a ring
// that stands still or a reply with old bytes in it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { OFPP_NORMAL } from "../../base/openflow/index.js";
import { MemoryPort, PacketPool, RX_PACKETS, SLOT_SIZE } from "../../base/packet/index.js";
import { waitFor } from "../../base/time/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import * as net from "../../base/wire/index.js";
import {
  AGENT_PORT_NAME,
  ExecClient,
  ensureGuestImage,
  findQemu,
  type GuestImage,
  QmpClient,
} from "../../hypervisor-core/index.js";
import { cacheDirectory } from "../../stack/daemons/directory.js";
import { Datapath } from "../../vswitch/datapath/index.js";
import { VhostUserPort } from "../../vswitch/port/index.js";
import { apply, flowMod, output } from "../../vswitch/testing/rig.js";

const SLOTS = 1024;
const DEADLINE_MS = 120_000;
const GUEST_MAC = Uint8Array.of(0x52, 0x54, 0, 0xa1, 0xb2, 0xc3);
const HOST_MAC = Uint8Array.of(2, 0, 0, 0, 0, 0x99);
const GUEST_ADDRESS = 0x0a000002;
const HOST_ADDRESS = 0x0a000001;
const ECHO_SIZE = 1400;
/** Machines, and their ports of the bridge. */
const [SOURCE, DESTINATION] = [1, 2] as const;

let image: GuestImage;
let dir = "";
let window: GuestWindow;
let pool: PacketPool;
let datapath: Datapath;
let cards: VhostUserPort[] = [];
let host: MemoryPort;
const machines: ChildProcess[] = [];
let said = "";
let timer: ReturnType<typeof setInterval> | undefined;
const execs: ExecClient[] = [];
const monitors: QmpClient[] = [];

beforeAll(async () => {
  image = await ensureGuestImage({ cacheDir: join(cacheDirectory(), "images") });
  dir = mkdtempSync("/tmp/pmg-");
  window = new GuestWindow(1 << 30);
  const arenaOffset = window.reserveAnonymous(SLOTS * SLOT_SIZE);
  pool = new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset });
  datapath = new Datapath({ pool, onEvents: () => undefined });
  const bridge = datapath.addBridge("br0");
  cards = [SOURCE, DESTINATION].map(
    (n) => new VhostUserPort({ name: `vm${n}`, pool, window, path: join(dir, `net${n}`), role: "dial" }),
  );
  host = new MemoryPort({ name: "host", pool });
  [...cards, host].forEach((port, i) => {
    bridge.addPort({ port, ofport: i + 1, mac: Uint8Array.of(2, 0, 0, 0, 0, i), mtu: 1500, nowMs: 0 });
  });
  bridge.change(flowMod({ instructions: [apply(output(OFPP_NORMAL))] }), 0);
}, 300_000);

afterEach(async () => {
  clearInterval(timer);
  for (const exec of execs.splice(0)) exec.close();
  for (const monitor of monitors.splice(0)) monitor.close();
  for (const machine of machines.splice(0)) {
    if (machine.exitCode !== null || machine.signalCode !== null) continue;
    const exited = once(machine, "exit");
    machine.kill("SIGKILL");
    await exited;
  }
});
afterAll(() => {
  datapath?.close();
  window?.close();
  rmSync(dir, { recursive: true, force: true });
});

function startMachine(n: number, ...more: readonly string[]): void {
  const socket = (id: string): string[] => [
    "-chardev",
    `socket,id=${id},path=${join(dir, `${id}${n}`)},server=on,wait=off`,
  ];
  const mac = Buffer.from(GUEST_MAC).toString("hex").match(/../g)!.join(":");
  const machine = spawn(
    findQemu(),
    [
      ...["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg,tb-size=64", "-cpu", "max"],
      ...["-machine", "q35,usb=off,memory-backend=m", "-m", "128M", "-smp", "2"],
      ...["-object", "memory-backend-memfd,id=m,size=128M,share=on"],
      ...["-kernel", image.kernel, "-initrd", image.initramfs],
      ...["-append", "console=ttyS0 quiet panic=1 mitigations=off no_timer_check cryptomgr.notests"],
      ...[...socket("qmp"), "-mon", "chardev=qmp,mode=control"],
      ...["-device", "virtio-serial-pci,max_ports=2", ...socket("agent")],
      ...["-device", `virtserialport,chardev=agent,name=${AGENT_PORT_NAME}`],
      ...[...socket("net"), "-netdev", "vhost-user,id=n,chardev=net,queues=2"],
      ...["-device", `virtio-net-pci,netdev=n,mac=${mac},mq=on,vectors=0,romfile=`],
      ...more,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  machine.stderr?.on("data", (text: Buffer) => {
    said = `${said}${n}: ${text}`.slice(-4000);
  });
  machines.push(machine);
}

/** The monitor of machine `n`, once QEMU is there. */
async function monitorOf(n: number): Promise<QmpClient> {
  let monitor: QmpClient | undefined;
  await waitFor(
    async () => {
      try {
        monitor = await QmpClient.open({ path: join(dir, `qmp${n}`), deadlineMs: 10_000 });
        return true;
      } catch {
        return false;
      }
    },
    () => `the monitor of machine ${n}; QEMU said ${said}`,
    DEADLINE_MS,
    50,
  );
  monitors.push(monitor!);
  return monitor!;
}

async function execIn(n: number, script: string): Promise<string> {
  const exec = new ExecClient(join(dir, `agent${n}`));
  execs.push(exec);
  const result = await exec.run({ command: ["sh", "-c", script], timeoutMs: 60_000 }, DEADLINE_MS);
  expect(Buffer.from(result.stderr).toString()).toBe("");
  return Buffer.from(result.stdout).toString().trim();
}

const payloadOf = (sequence: number): Uint8Array =>
  Uint8Array.from({ length: ECHO_SIZE }, (_, i) => (sequence * 31 + i * 7) & 0xff);

/** Replies by sequence number; what is wrong with one is in `wrong`. */
const replies = new Set<number>();
const wrong: string[] = [];
let sequence = 0;

function send(etherType: number, payload: Uint8Array): void {
  host.inject(net.encodeEthernet({ destination: GUEST_MAC, source: HOST_MAC, etherType, payload }));
}

function ping(): void {
  const payload = payloadOf(++sequence);
  const echo = net.encodeIcmp({
    type: net.ICMP_ECHO_REQUEST,
    code: 0,
    rest: 0x7777_0000 + sequence,
    payload,
  });
  const ip = { source: HOST_ADDRESS, destination: GUEST_ADDRESS, protocol: net.IPPROTO_ICMP, payload: echo };
  send(net.ETHERTYPE_IPV4, net.encodeIpv4(ip));
}

/** What the host at 10.0.0.1 does with a frame: it answers ARP and judges echo replies. */
function receive(frame: Uint8Array): void {
  const { etherType, payload } = net.parseEthernet(frame);
  if (etherType === net.ETHERTYPE_ARP) {
    const arp = net.parseArp(payload);
    if (arp.operation !== net.ARP_REQUEST || arp.targetAddress !== HOST_ADDRESS) return;
    const answer = {
      operation: net.ARP_REPLY,
      senderMac: HOST_MAC,
      senderAddress: HOST_ADDRESS,
      targetMac: arp.senderMac,
      targetAddress: arp.senderAddress,
    };
    send(net.ETHERTYPE_ARP, net.encodeArp(answer));
    return;
  }
  if (etherType !== net.ETHERTYPE_IPV4) return;
  const ip = net.parseIpv4(payload);
  if (ip.protocol !== net.IPPROTO_ICMP) return;
  try {
    const icmp = net.parseIcmp(ip.payload);
    if (icmp.type !== net.ICMP_ECHO_REPLY) return;
    const number = icmp.rest & 0xffff;
    if (Buffer.compare(icmp.payload, payloadOf(number)) !== 0) wrong.push(`reply ${number} has other bytes`);
    if (replies.has(number)) wrong.push(`reply ${number} came twice`);
    replies.add(number);
  } catch (thrown) {
    wrong.push(String(thrown));
  }
}

/** Everything between the machines: the switch breathes, the host pings every few milliseconds. */
function startTraffic(): void {
  let pingMs = 0;
  timer = setInterval(() => {
    const nowMs = performance.now();
    if (nowMs - pingMs > 5 && sequence - replies.size < 20_000) {
      pingMs = nowMs;
      ping();
    }
    for (let i = 0; i < 20; i++) datapath.breathe(performance.now());
    for (const frame of host.takeSent()) receive(frame);
  }, 1);
}

async function untilReplies(count: number, what: string): Promise<void> {
  const wanted = replies.size + count;
  await waitFor(
    () => replies.size >= wanted,
    () =>
      `${count} replies ${what}: ${replies.size} of ${sequence}; ${cards.map((card) => `${card.lastError} ${Array.from(card.stats).join(" ")}`).join("; ")}; QEMU said ${said}`,
    DEADLINE_MS,
    5,
  );
}

test("a machine that is moved live answers on, with every byte right", { timeout: 280_000 }, async () => {
  startTraffic();
  startMachine(SOURCE);
  const source = await monitorOf(SOURCE);
  await execIn(
    SOURCE,
    "killall udhcpc; ifconfig eth0 10.0.0.2 netmask 255.255.255.0 up; echo here >/run/was",
  );
  await untilReplies(200, "before the move");
  startMachine(DESTINATION, "-incoming", `unix:${join(dir, "move")}`);
  const destination = await monitorOf(DESTINATION);
  expect((cards[1] as VhostUserPort).stats[RX_PACKETS]).toBe(0);
  const before = replies.size;
  await source.execute("migrate", { uri: `unix:${join(dir, "move")}` });
  let state: { status?: string; "error-desc"?: string } = {};
  await waitFor(
    async () => {
      state = (await source.execute("query-migrate")) as typeof state;
      return state.status === "completed" || state.status === "failed";
    },
    () => `the move: ${JSON.stringify(state)}; QEMU said ${said}`,
    DEADLINE_MS,
    50,
  );
  expect(state).toMatchObject({ status: "completed" });
  // It was answering while its memory went over.
  expect(replies.size).toBeGreaterThan(before);
  await waitFor(
    async () => ((await destination.execute("query-status")) as { running: boolean }).running,
    () => `the destination to run; QEMU said ${said}`,
    DEADLINE_MS,
    20,
  );
  const gone = (cards[0] as VhostUserPort).stats[RX_PACKETS];
  // More than any ring holds.
  await untilReplies(600, "after the move");
  expect(wrong).toEqual([]);
  expect((cards[0] as VhostUserPort).stats[RX_PACKETS]).toBe(gone);
  expect((cards[1] as VhostUserPort).stats[RX_PACKETS]).toBeGreaterThanOrEqual(600);
  expect(await execIn(DESTINATION, "cat /run/was")).toBe("here");
});
