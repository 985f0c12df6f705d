// The smallest worker with a poll loop: answers what it is asked. Used by the tests of this folder, and an
// example of the wiring. Thread: worker.
import { workerData } from "node:worker_threads";
import { PlinthError } from "../errors/index.js";
import { drainEventfd, EPOLLIN, Epoll } from "../linux/index.js";
import { Mailbox, type MailboxSetup } from "./mailbox.js";

const setup = workerData as { mailbox: MailboxSetup; data: unknown };
let spinUntilMs = 0;
const mailbox = new Mailbox(setup.mailbox, {
  echo: (body) => body,
  data: () => setup.data,
  refuse: () => {
    throw new PlinthError("REFUSED", "no", { field: "body", remedy: "ask for something else" });
  },
  emit: (body) => mailbox.emit("said", body),
  hang: () => {
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  },
  /** Stays awake for so long. */
  spin: (ms: number) => {
    spinUntilMs = performance.now() + ms;
  },
  /** Whether the doorbell was rung since it was silenced. */
  rung: () => drainEventfd(mailbox.doorbell),
  crash: () => {
    throw new Error("broken invariant");
  },
});
const epoll = new Epoll();
epoll.add(mailbox.doorbell, EPOLLIN);
while (!mailbox.closing) {
  if (performance.now() < spinUntilMs) {
    mailbox.poll();
    continue;
  }
  if (mailbox.beginSleep()) epoll.wait(-1);
  mailbox.endSleep();
  mailbox.onDoorbell();
}
epoll.close();
mailbox.close();
