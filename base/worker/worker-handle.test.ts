import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { spawnWorker, WorkerHandle } from "./index.js";

/** Requests, each made when the one before was answered; Node delivers a thousand messages before it does anything else. */
const CHAIN = 3000;

const entry = new URL("./echo-worker.js", import.meta.url);

test("requests to a worker asleep in epoll_wait are answered in order", async () => {
  const handle = new WorkerHandle(entry, { name: "echo", data: { a: 1 } });
  expect(await handle.request("data")).toEqual({ a: 1 });
  const order: number[] = [];
  const asked = Array.from({ length: 200 }, (_, i) =>
    handle.request<number>("echo", i).then((answer) => order.push(answer)),
  );
  await Promise.all(asked);
  expect(order).toEqual(Array.from({ length: 200 }, (_, i) => i));
  await handle.close();
  await handle.close();
  await expect(handle.request("echo", 1)).rejects.toMatchObject({ code: "WORKER_DIED" });
});

test("a worker that is awake is asked without its doorbell, and is woken again later", async () => {
  const handle = new WorkerHandle(entry, { name: "echo" });
  await handle.request("spin", 200);
  for (let i = 0; i < 20; i++) expect(await handle.request("echo", i)).toBe(i);
  expect(await handle.request("rung")).toBe(false);
  await setTimeout(250);
  expect(await handle.request("echo", "asleep")).toBe("asleep");
  await handle.close();
});

test("settled() resolves behind the answers to everything that was asked before, and at once when that is nothing", async () => {
  const handle = new WorkerHandle(entry, { name: "echo" });
  const order: unknown[] = [];
  const note = (what: unknown): void => void order.push(what);
  for (let i = 0; i < 3; i++) handle.request("echo", i).then(note);
  handle.request("refuse").catch(() => note("refused"));
  const settled = handle.settled().then(() => note("settled"));
  handle.request("echo", "later").then(note);
  await settled;
  expect(order).toEqual([0, 1, 2, "refused", "settled"]);
  await handle.request("echo", 0);
  let isSettled = false;
  handle.settled().then(() => {
    isSettled = true;
  });
  await Promise.resolve();
  expect(isSettled).toBe(true);
  const crashed = expect(handle.request("crash")).rejects.toMatchObject({ code: "WORKER_DIED" });
  await handle.settled();
  await crashed;
  await expect(handle.settled()).rejects.toMatchObject({ code: "WORKER_DIED" });
  await handle.close();
});

test("answers that are lingered for come in order with events and refusals, and leave a turn to everything else", async () => {
  const heard: unknown[] = [];
  const handle = new WorkerHandle(entry, {
    ...{ name: "echo", lingerMs: 10_000 },
    onEvent: (event, body) => heard.push([event, body]),
  });
  let [turns, without] = [0, 0];
  let isOver = false;
  const turn = (): void => {
    turns++;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  for (let i = 0; i < CHAIN; i++) {
    handle.notify("emit", i);
    const before = turns;
    heard.push(await handle.request("echo", i));
    if (turns === before) without++;
  }
  isOver = true;
  expect(heard).toEqual(Array.from({ length: CHAIN }, (_, i) => [["said", i], i]).flat());
  expect(turns).toBeGreaterThan(0);
  expect(without).toBeGreaterThan(CHAIN / 2);
  await expect(handle.request("refuse")).rejects.toMatchObject({ code: "REFUSED" });
  await expect(handle.request("crash")).rejects.toMatchObject({ code: "WORKER_DIED" });
  await handle.close();
});

test("a PlinthError crosses the threads, an unknown method is refused, events arrive", async () => {
  const events: unknown[] = [];
  const handle = new WorkerHandle(entry, {
    name: "echo",
    onEvent: (event, body) => events.push([event, body]),
  });
  await expect(handle.request("refuse")).rejects.toMatchObject({
    code: "REFUSED",
    field: "body",
    remedy: "ask for something else",
  });
  await expect(handle.request("nonsense")).rejects.toMatchObject({ code: "METHOD_UNKNOWN" });
  handle.notify("emit", "hello");
  await handle.request("echo", 0);
  expect(events).toEqual([["said", "hello"]]);
  await handle.close();
});

test("a worker that dies rejects what waits and is reported once", async () => {
  let report!: (message: string) => void;
  const died = new Promise<string>((resolve) => {
    report = resolve;
  });
  const handle = new WorkerHandle(entry, { name: "echo", onDied: (error) => report(error.message) });
  await expect(handle.request("crash")).rejects.toMatchObject({ code: "WORKER_DIED" });
  expect(await died).toContain("broken invariant");
  await handle.close();
});

test("a worker that does not answer in time is ended as one that died", async () => {
  let report!: (message: string) => void;
  const died = new Promise<string>((resolve) => {
    report = resolve;
  });
  const handle = new WorkerHandle(entry, {
    name: "echo",
    answerDeadlineMs: 300,
    onDied: (error) => report(error.message),
  });
  const hanging = expect(handle.request("hang")).rejects.toMatchObject({ code: "WORKER_DIED" });
  await expect(handle.request("echo", 1)).rejects.toMatchObject({ code: "WORKER_DIED" });
  await hanging;
  expect(await died).toContain("did not answer hang within 300 ms");
  await handle.close();
});

test("a worker that is to be ended while it loads is ended afterwards, and nothing else with it", async () => {
  for (let i = 0; i < 12; i++) {
    const handle = new WorkerHandle(entry, { name: "echo", answerDeadlineMs: 5 + 15 * i });
    await expect(handle.request("hang")).rejects.toMatchObject({ code: "WORKER_DIED" });
    await handle.close();
  }
});

test("close() right after start still ends the worker", async () => {
  const handle = new WorkerHandle(entry, { name: "echo" });
  await handle.close();
});

test("spawnWorker() names a worker that was not built", () => {
  expect(() => spawnWorker(new URL("./missing-worker.js", import.meta.url))).toThrowError(
    expect.objectContaining({ code: "WORKER_NOT_BUILT" }),
  );
});
