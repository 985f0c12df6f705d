// The datapath's thread: what its loop (poll-loop.ts) works with. Wiring only.
import { workerData } from "node:worker_threads";
import { createMonotonicClock, EPOLLIN, Epoll, pinThread } from "../../base/linux/index.js";
import { arenaSizeOf, PacketPool, POOL_LARGE_SLOTS } from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { Mailbox, type MailboxHandler, type MailboxSetup } from "../../base/worker/index.js";
import { SlotBank } from "../port/index.js";
import { tryConnectionFile } from "./connection-file.js";
import { datapathMethods } from "./control.js";
import { Datapath } from "./datapath.js";
import { DatapathTime } from "./datapath-time.js";
import { Leaving } from "./leaving.js";
import { PollLoop } from "./poll-loop.js";
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
const banks = lanes.map((lane, place) => new SlotBank({ pool, lane, place, share, largeShare }));
if (data.core !== undefined) pinThread(data.core);
const epoll = new Epoll(256);
const kept =
  data.connectionFile === undefined
    ? undefined
    : tryConnectionFile(data.connectionFile, data.connectionsMax, data.follows);
const clock = createMonotonicClock();
const datapath = new Datapath({
  pool,
  ...(kept !== undefined && "file" in kept ? { connectionMemory: kept.file.memory } : {}),
  connectionsMax: data.connectionsMax,
  ...(data.pickupGraceMs === undefined ? {} : { pickupGraceMs: data.pickupGraceMs }),
  clock,
  onEvents: (bridge, events) => mailbox.emit(EVENTS, { bridge, events } satisfies EventsMessage),
});
const time = new DatapathTime(clock);
/** Another process is about to have our ports; then nothing is taken from them any more. */
let leaving: Leaving | undefined;
let hasLeft = false;
/** Connections of another process are in the index. */
let areForeseen = false;
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
    loop.sleeps = mayIt;
  },
  rehearseConnections: () => {
    if (kept === undefined || !("file" in kept) || !kept.file.rehearse(performance.now())) return; // cold
    datapath.conntrack.foresee();
    areForeseen = true;
  },
  restoreConnections: () => {
    if (kept === undefined) return { connections: 0 };
    if ("problem" in kept) return { connections: 0, problem: kept.problem.message };
    const shiftMs = kept.file.claim(performance.now()); // cold
    if (shiftMs === undefined && !areForeseen) return { connections: 0 };
    // Where there is nothing to restore any more the memory is empty, and what was foreseen of it goes.
    return { connections: datapath.conntrack.restore(performance.now(), shiftMs ?? 0) }; // cold
  },
});
const mailbox = new Mailbox(mailboxSetup, methods as unknown as Record<string, MailboxHandler>);
epoll.add(mailbox.doorbell, EPOLLIN);

const loop = new PollLoop({
  ...{ datapath, mailbox, clock, time },
  wait: (timeoutMs) => {
    epoll.wait(timeoutMs);
  },
  hasLeft: () => {
    if (leaving !== undefined) look(leaving, time.lastMs);
    return hasLeft;
  },
});
loop.run();
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
