// A thread that serves ports for the one that forwards: spins while there is work, sleeps in epoll when there is none.
// Wiring only. Hot: yes (the loop).
import { workerData } from "node:worker_threads";
import {
  createMonotonicClock,
  EPOLLIN,
  Epoll,
  keepThreadLedger,
  noteDescriptor,
  pinThread,
  strikeDescriptor,
} from "../../base/linux/index.js";
import { arenaSizeOf, PacketPool } from "../../base/packet/index.js";
import { GuestWindow } from "../../base/virtio/index.js";
import { Mailbox, type MailboxHandler, type MailboxSetup } from "../../base/worker/index.js";
import { serveLoan } from "../port/index.js";
import { REQUESTS_PER_TURN, SLEEP_MAX_MS, SPIN_BUSY_MS, SPIN_CALM_MS, SPIN_PACKETS } from "./limits.js";
import { PortFactory } from "./port-factory.js";
import { PortHost } from "./port-host.js";
import type { PortWorkerMethods, PortWorkerSetup } from "./requests.js";
import { ThreadMeter } from "./thread-meter.js";
import { hostStatus, turnServed } from "./thread-status.js";

const { mailbox: mailboxSetup, data } = workerData as { mailbox: MailboxSetup; data: PortWorkerSetup };

const { packets, lane, place, homeward, hostDevices, ledger } = data;
keepThreadLedger(ledger);
const { slots, largeSlots, share, largeShare } = packets;
pinThread(data.core);
const window = new GuestWindow();
const arenaOffset = window.reserveShared(packets.arenaFd, arenaSizeOf(slots, largeSlots));
const pool = new PacketPool({
  ...{ slots, largeSlots, arena: window.bytes, arenaOffset, shared: packets.memory },
});
const host = new PortHost({ pool, lane, place, homeward, share, largeShare });
const factory = new PortFactory({ pool, window, hostDevices });
const clock = createMonotonicClock();
const meter = new ThreadMeter(clock);
const epoll = new Epoll(256);
const unwatch = (name: string): void => {
  const one = host.served.find(({ port }) => port.name === name);
  if (one !== undefined && one.port.wakeFd >= 0) epoll.remove(one.port.wakeFd);
};
let sleeps = true;
const methods: PortWorkerMethods = {
  open: ({ spec, lane: portLane, handed }) => {
    handed?.fds.forEach(noteDescriptor); // cold
    host.balance();
    const port = factory.create(spec, handed);
    host.add(port, portLane);
    if (port.wakeFd >= 0) epoll.add(port.wakeFd, EPOLLIN);
  },
  close: ({ name }) => {
    unwatch(name);
    host.remove(name);
    factory.forget(name);
  },
  giveUp: ({ name }) => {
    unwatch(name);
    const handed = host.giveUp(name);
    handed?.fds.forEach(strikeDescriptor); // cold
    return handed;
  },
  lendQueues: ({ name, pairs, memory, workerLane, state }) =>
    host.lendQueues(name, pairs, memory, workerLane, state),
  recallQueues: ({ name }) => host.recallQueues(name),
  serveQueues: ({ name, lent, memory, lane: loanLane, state }) => {
    host.balance();
    const { loan, handed } = lent;
    const queues = serveLoan({ name, pool, window, memory, loan });
    host.add(queues, loanLane, [{ state: new Int32Array(state), handed }]);
    epoll.add(queues.wakeFd, EPOLLIN);
  },
  forgetQueues: ({ name }) => {
    unwatch(name);
    host.forget(name);
  },
  meet: ({ worker, workerLane, lane: portLane }) => host.meet(worker, workerLane, portLane),
  dismiss: ({ laneId }) => host.dismiss(laneId),
  part: ({ worker }) => host.part(worker),
  letSleep: (body) => {
    sleeps = body.sleeps;
  },
  status: () => hostStatus(host, meter, performance.now()), // cold
};
const mailbox = new Mailbox(mailboxSetup, methods as unknown as Record<string, MailboxHandler>);
epoll.add(mailbox.doorbell, EPOLLIN);
epoll.add(host.doorbell, EPOLLIN);

loop();
host.close();
epoll.close();
window.close();
mailbox.close();

/**
 * As poll-loop.ts, where it says why a time stands in an array. However much it is asked for, all ports have a turn
 * after each request.
 */
function loop(): void {
  const workMs = new Float64Array(1);
  let moved = 0;
  let isBusy = false;
  while (!mailbox.closing) {
    clock.read();
    const nowMs = clock.ms[0]!;
    meter.breath(isBusy);
    isBusy = mailbox.poll(REQUESTS_PER_TURN) > 0;
    const count = host.breathe(Math.floor(nowMs));
    if (meter.turnWindow()) turnServed(host);
    if (count > 0) {
      isBusy = true;
      if (moved < SPIN_PACKETS) moved += count;
    }
    if (isBusy) {
      workMs[0] = nowMs;
      continue;
    }
    if (!sleeps) continue;
    if (nowMs - workMs[0]! < (moved >= SPIN_PACKETS ? SPIN_BUSY_MS : SPIN_CALM_MS)) continue;
    moved = 0;
    clock.read();
    meter.breath(false);
    if (host.beginSleep()) epoll.wait(SLEEP_MAX_MS);
    host.endSleep();
    clock.read();
    meter.slept();
    mailbox.silence();
    host.tick(Math.floor(clock.ms[0]!));
  }
}
