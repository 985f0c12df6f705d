import { MessageChannel } from "node:worker_threads";
import { expect, test } from "vitest";
import { closeFile, createEventfd, type PolledClock } from "../../base/linux/index.js";
import { PacketPool } from "../../base/packet/index.js";
import { createMailboxState, MAY_WAIT, Mailbox, type MailboxHandler } from "../../base/worker/index.js";
import { plainFrame } from "../testing/frames.js";
import { GeneratorPort } from "../testing/generator-port.js";
import { Datapath } from "./datapath.js";
import { DatapathTime } from "./datapath-time.js";
import {
  BURST_SIZE,
  FRAMES_PER_REQUEST,
  FRAMES_SHARE,
  FRAMES_SHARE_MAX_MS,
  SPIN_ASKED_MS,
  SPIN_REQUESTS,
} from "./limits.js";
import { PollLoop } from "./poll-loop.js";

const REQUESTS = 50;
const FRAME = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");

/** What a loop had done before each request that it was asked, and before each sleep. */
interface Asked {
  readonly breaths: number[];
  readonly received: number[];
  readonly sleeps: number[];
}

/** Time passes when the clock is read, and while something is done that was asked for. */
interface Pace {
  readonly stepMs?: number;
  readonly requestMs?: number;
  /** How long after an answer the next request comes; at once when absent. */
  readonly gapMs?: number;
}

/** Runs a loop that is asked REQUESTS times, as fast as it answers, while so many frames come in. */
function runAsked(
  frames: number,
  hasLeft = false,
  { stepMs = 0, requestMs = 0, gapMs = 0 }: Pace = {},
): Asked {
  const { port1: main, port2: port } = new MessageChannel();
  const state = createMailboxState();
  const doorbell = createEventfd();
  let nowMs = 0;
  /** When the next request is to come. */
  let dueMs = Number.POSITIVE_INFINITY;
  const ms = new Float64Array(1);
  const clock: PolledClock = {
    ms,
    read: () => {
      nowMs += stepMs;
      ms[0] = nowMs;
      if (nowMs >= dueMs) ask();
    },
  };
  const pool = new PacketPool({ slots: 512 });
  const datapath = new Datapath({ pool, onEvents: () => undefined, connectionsMax: 64 });
  const source = new GeneratorPort("p1", pool, [FRAME]);
  source.left = frames;
  datapath.addBridge("br0").addPort({ port: source, ofport: 1, mac: new Uint8Array(6), mtu: 1500, nowMs: 0 });
  const asked: Asked = { breaths: [], received: [], sleeps: [] };
  const post = (method: string): void => {
    main.postMessage({ id: 0, method, body: undefined });
    Atomics.store(new Int32Array(state), MAY_WAIT, 1);
  };
  const handlers: Record<string, MailboxHandler> = {
    ask: () => {
      asked.breaths.push(datapath.breaths);
      asked.received.push(datapath.received);
      nowMs += requestMs;
      dueMs = nowMs + gapMs;
      if (gapMs === 0) ask();
    },
  };
  const ask = (): void => {
    dueMs = Number.POSITIVE_INFINITY;
    post(asked.breaths.length < REQUESTS ? "ask" : "$close");
  };
  try {
    const mailbox = new Mailbox({ port, state, doorbell }, handlers);
    post("ask");
    const wait = (): void => {
      asked.sleeps.push(asked.breaths.length);
      if (gapMs > 0) nowMs = dueMs;
    };
    const modules = { datapath, mailbox, clock, time: new DatapathTime(clock), wait };
    new PollLoop({ ...modules, hasLeft: () => hasLeft }).run();
    mailbox.close();
  } finally {
    main.close();
    datapath.close();
    closeFile(doorbell);
  }
  return asked;
}

test("all ports have a turn between two requests, and none is slept over", () => {
  const { breaths, sleeps } = runAsked(0);
  expect(breaths).toEqual(Array.from({ length: REQUESTS }, (_, n) => n));
  expect(sleeps).toEqual([]);
});

test("frames that wait have a share of the thread, however many requests there are", () => {
  const { received } = runAsked(Number.POSITIVE_INFINITY);
  const between = received.slice(1).map((frames, n) => frames - received[n]!);
  expect(between).toHaveLength(REQUESTS - 1);
  expect(Math.min(...between)).toBeGreaterThanOrEqual(FRAMES_PER_REQUEST);
  expect(Math.max(...between)).toBeLessThan(FRAMES_PER_REQUEST + BURST_SIZE);
});

test("frames that wait have several times as long as a request took, but not for ever", () => {
  const stepMs = 0.05;
  for (const requestMs of [1, 100]) {
    const { received } = runAsked(Number.POSITIVE_INFINITY, false, { stepMs, requestMs });
    const turns = Math.min(FRAMES_SHARE * requestMs, FRAMES_SHARE_MAX_MS) / stepMs;
    // A look at the clock takes a step, which counts as the request's.
    for (const [n, frames] of received.slice(1).entries())
      expect(Math.abs((frames - received[n]!) / BURST_SIZE - turns)).toBeLessThan(FRAMES_SHARE + 3);
  }
});

test("requests do not wait for frames that do not come", () => {
  const frames = FRAMES_PER_REQUEST + BURST_SIZE;
  const { received, sleeps } = runAsked(frames);
  expect(received.slice(0, 3)).toEqual([0, FRAMES_PER_REQUEST, frames]);
  expect(received).toHaveLength(REQUESTS);
  expect(sleeps).toEqual([]);
});

test("somebody who asks as soon as there is an answer finds it awake, and nobody else does", () => {
  const often = runAsked(0, false, { stepMs: 0.005, gapMs: SPIN_ASKED_MS / 2 }).sleeps;
  expect(often.length).toBeGreaterThan(0);
  expect(Math.max(...often)).toBeLessThanOrEqual(SPIN_REQUESTS + 1);
  const seldom = runAsked(0, false, { stepMs: 0.005, gapMs: 2 * SPIN_ASKED_MS }).sleeps;
  expect(seldom).toEqual(Array.from({ length: REQUESTS }, (_, n) => n + 1));
});

test("what has left its ports to another process answers without sleeping in between", () => {
  const { received, sleeps } = runAsked(Number.POSITIVE_INFINITY, true);
  expect(received).toEqual(Array.from({ length: REQUESTS }, () => 0));
  expect(sleeps).toEqual([]);
});
