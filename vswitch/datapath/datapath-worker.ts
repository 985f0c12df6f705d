// The datapath's thread: breathes while there is work, sleeps in epoll when there is none. Wiring only.
// Hot: yes (the loop).
import { workerData } from "node:worker_threads";
import { EPOLLIN, Epoll, pinThread } from "../../base/linux/index.js";
import { arenaSizeOf, PacketPool, POOL_LARGE_SLOTS } from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { Mailbox, type MailboxHandler, type MailboxSetup } from "../../base/worker/index.js";
import { SlotBank } from "../port/index.js";
import { tryConnectionFile } from "./connection-file.js";
import { datapathMethods } from "./control.js";
import { Datapath } from "./datapath.js";
import { DatapathTime } from "./datapath-time.js";
import { Leaving } from "./leaving.js";
import {
  CALM_SLEEPS,
  SLEEP_CALM_MS,
  SLEEP_MAX_MS,
  SPIN_BUSY_MS,
  SPIN_CALM_MS,
  SPIN_PACKETS,
} from "./limits.js";
import { PortFactory } from "./port-factory.js";
import { type DatapathSetup, EVENTS, type EventsMessage, LEFT, type LeftMessage } from "./requests.js";

const { mailbox: mailboxSetup, data } = workerData as { mailbox: MailboxSetup; data: DatapathSetup };

const window = new GuestWindow();
const { shared } = data;
const { slots, largeSlots } = shared ?? { slots: data.slots, largeSlots: POOL_LARGE_SLOTS };
const arenaSize = arenaSizeOf(slots, largeSlots);
const arenaOffset =
  shared === undefined ? window.reserveAnonymous(arenaSize) : window.reserveShared(shared.arenaFd, arenaSize);
const pool = new PacketPool({
  ...{ slots, largeSlots, arena: window.bytes, arenaOffset },
  ...(shared === undefined ? {} : { shared: shared.memory, isFull: true }),
});
const { lanes = [], share = 0, largeShare = 0 } = shared ?? {};
const banks = lanes.map((lane) => new SlotBank({ pool, lane, share, largeShare }));
if (data.core !== undefined) pinThread(data.core);
const epoll = new Epoll(256);
const kept =
  data.connectionFile === undefined
    ? undefined
    : tryConnectionFile(data.connectionFile, data.connectionsMax, data.follows);
const datapath = new Datapath({
  pool,
  ...(kept !== undefined && "file" in kept ? { connectionMemory: kept.file.memory } : {}),
  connectionsMax: data.connectionsMax,
  ...(data.pickupGraceMs === undefined ? {} : { pickupGraceMs: data.pickupGraceMs }),
  clock: () => performance.now(), // cold: once per so many breaths
  onEvents: (bridge, events) => mailbox.emit(EVENTS, { bridge, events } satisfies EventsMessage),
});
const time = new DatapathTime();
/** Another process is about to have our ports; then nothing is taken from them any more. */
let leaving: Leaving | undefined;
let hasLeft = false;
let sleeps = true;
const factory = new PortFactory({ pool, window, hostDevices: data.hostDevices });
const methods = datapathMethods({
  datapath,
  factory,
  time,
  banks,
  watch: (fd) => epoll.add(fd, EPOLLIN),
  unwatch: (fd) => epoll.remove(fd),
  checkConnections: () => {
    if (kept !== undefined && "problem" in kept) throw kept.problem;
  },
  leave: (socket) => {
    endLeaving();
    leaving = new Leaving(socket, { datapath, factory });
    epoll.add(leaving.fd, EPOLLIN);
  },
  letSleep: (mayIt) => {
    sleeps = mayIt;
  },
  rehearseConnections: () => {
    if (kept !== undefined && "file" in kept) kept.file.rehearse(performance.now()); // cold;
  },
  restoreConnections: () => {
    if (kept === undefined) return { connections: 0 };
    if ("problem" in kept) return { connections: 0, problem: kept.problem.message };
    const shiftMs = kept.file.claim(performance.now()); // cold
    if (shiftMs === undefined) return { connections: 0 };
    return { connections: datapath.conntrack.restore(performance.now(), shiftMs) }; // cold
  },
});
const mailbox = new Mailbox(mailboxSetup, methods as unknown as Record<string, MailboxHandler>);
epoll.add(mailbox.doorbell, EPOLLIN);

loop();
endLeaving();
datapath.close();
epoll.close();
window.close();
mailbox.close();

/** Whether the successor wants the ports now. */
function look(one: Leaving, nowMs: number): void {
  const state = one.poll(nowMs);
  if (state === "stays") return;
  hasLeft = true;
  endLeaving();
  mailbox.emit(LEFT, { isTakenOver: state === "left" } satisfies LeftMessage);
}

function endLeaving(): void {
  if (leaving === undefined) return;
  epoll.remove(leaving.fd);
  leaving.close();
  leaving = undefined;
}

/** A busy datapath spins for a while before it sleeps, a calm one hardly: it shares the cores with the guests. */
function loop(): void {
  let lastWorkMs = 0;
  let packets = 0;
  let isBusy = false;
  let calmSleeps = 0;
  const { meter } = datapath;
  while (!mailbox.closing) {
    const nowMs = performance.now(); // cold: once per breath
    meter?.breath(nowMs, isBusy);
    isBusy = mailbox.poll() > 0;
    if (leaving !== undefined) look(leaving, time.at(nowMs));
    if (hasLeft) {
      epoll.wait(SLEEP_MAX_MS);
      mailbox.onDoorbell();
      continue;
    }
    if (isBusy) lastWorkMs = nowMs;
    const received = datapath.breathe(time.at(nowMs));
    if (received > 0) {
      isBusy = true;
      calmSleeps = 0;
      lastWorkMs = nowMs;
      packets += received;
      continue;
    }
    if (!sleeps) continue;
    if (nowMs - lastWorkMs < (packets >= SPIN_PACKETS ? SPIN_BUSY_MS : SPIN_CALM_MS)) continue;
    packets = 0;
    meter?.breath(performance.now(), isBusy); // cold: once per sleep
    isBusy = false;
    const sleepMaxMs = calmSleeps++ < CALM_SLEEPS ? SLEEP_MAX_MS : SLEEP_CALM_MS;
    if (datapath.beginSleep()) epoll.wait(Math.min(sleepMaxMs, datapath.sleepMs));
    datapath.endSleep();
    const wokenMs = performance.now(); // cold: once per sleep
    meter?.slept(wokenMs);
    mailbox.onDoorbell();
    datapath.tick(time.at(wokenMs));
  }
}
