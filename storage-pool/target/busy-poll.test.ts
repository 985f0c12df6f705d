// When the worker looks for more work before it sleeps; with a waiter and a clock of the test's own.
import { expect, test } from "vitest";
import { BusyPoll, LOOK_MS } from "./busy-poll.js";

/** What a look costs, in ms. */
const LOOK_COST_MS = 0.002;

/** A client that asks `thinkMs` after each answer; somebody else takes `stolenMs` of the processor in each look. */
class Client {
  nowMs = 0;
  readyMs: number;
  thinkMs: number;
  stolenMs = 0;
  sleeps = 0;
  looks = 0;

  constructor(thinkMs: number) {
    this.thinkMs = thinkMs;
    this.readyMs = thinkMs;
  }

  wait(timeoutMs: number): number {
    if (timeoutMs === 0) {
      this.looks++;
      this.nowMs += LOOK_COST_MS + this.stolenMs;
    } else {
      this.sleeps++;
      this.nowMs = Math.max(this.nowMs, Math.min(this.readyMs, this.nowMs + timeoutMs));
    }
    if (this.readyMs > this.nowMs) return 0;
    this.readyMs = Number.POSITIVE_INFINITY;
    return 1;
  }

  /** `count` requests, one after the other; how many times it was slept for. */
  serve(poll: BusyPoll, count: number, isAlone = true): number {
    const before = this.sleeps;
    for (let n = 0; n < count; ) {
      if (poll.wait(250, isAlone) === 0) continue;
      n++;
      this.readyMs = this.nowMs + this.thinkMs;
    }
    return this.sleeps - before;
  }
}

const pollOf = (client: Client) => new BusyPoll(client, () => client.nowMs);

test("a client that answers at once is waited for without sleeping, after some requests", () => {
  const client = new Client(LOOK_MS / 2);
  const poll = pollOf(client);
  expect(client.serve(poll, 16)).toBe(16);
  expect(client.serve(poll, 1000)).toBe(0);
  expect(poll.hitCount).toBe(1000);
});

test("clients that send several requests at a time are slept for, so that they come together", () => {
  const client = new Client(LOOK_MS / 2);
  const poll = pollOf(client);
  expect(client.serve(poll, 1000, false)).toBe(1000);
  expect(client.serve(poll, 100)).toBe(16);
  expect(client.serve(poll, 1000, false)).toBe(1000);
  expect(poll.hitCount).toBe(84);
});

test("who is slower than a look is slept for, with a few looks now and then", () => {
  const client = new Client(LOOK_MS * 2);
  const poll = pollOf(client);
  expect(client.serve(poll, 10_000)).toBe(10_000);
  // A second of it: no more than a twentieth is spent looking.
  expect(client.nowMs).toBeGreaterThan(900);
  expect(client.looks * LOOK_COST_MS).toBeLessThan(client.nowMs / 5);
  const idle = new Client(10);
  expect(idle.serve(pollOf(idle), 1000)).toBe(1000);
  expect(idle.looks).toBe(0);
});

test("a processor that others want is left to them, longer each time", () => {
  const client = new Client(LOOK_MS / 2);
  client.stolenMs = 1;
  const poll = pollOf(client);
  client.serve(poll, 40_000);
  const early = poll.lookCount;
  expect(early).toBeGreaterThan(0);
  expect(early).toBeLessThan(12);
  // They are gone: it finds out, and looks again.
  client.stolenMs = 0;
  client.serve(poll, 400_000);
  expect(client.serve(poll, 1000)).toBe(0);
});

test("a wait of no length is one look, and nothing is learned from it", () => {
  const client = new Client(1);
  const poll = pollOf(client);
  for (let n = 0; n < 100; n++) expect(poll.wait(0, true)).toBe(n * LOOK_COST_MS + LOOK_COST_MS >= 1 ? 1 : 0);
  expect(client.sleeps).toBe(0);
  expect(client.looks).toBe(100);
  expect(poll.lookCount).toBe(0);
});
