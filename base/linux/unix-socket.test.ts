import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  addressOf,
  closeFile,
  createEventfd,
  createMemfd,
  createSocketPair,
  drainEventfd,
  EPOLLIN,
  Epoll,
  listenUnix,
  MessageChannel,
  peerCredentials,
  preadFile,
  pwriteFile,
  ringEventfd,
  setSocketBuffers,
  socketError,
  sysAccept,
  sysConnectUnix,
  sysReceive,
  sysSend,
} from "./index.js";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
});
afterEach(() => rmSync(dir, { recursive: true }));

test("listen, connect, accept, send and receive without blocking", () => {
  const listener = listenUnix(`${dir}/s`, { mode: 0o660 });
  expect(statSync(`${dir}/s`).mode & 0o777).toBe(0o660);
  expect(sysAccept(listener)).toBe(-11);
  const client = sysConnectUnix(`${dir}/s`);
  const server = sysAccept(listener);
  expect(client).toBeGreaterThan(0);
  expect(server).toBeGreaterThan(0);
  expect(peerCredentials(server)).toEqual({
    pid: process.pid,
    uid: process.getuid!(),
    gid: process.getgid!(),
  });
  setSocketBuffers(client, 1 << 20);
  const out = new TextEncoder().encode("hello");
  const back = new Uint8Array(16);
  expect(sysReceive(server, addressOf(back), 16)).toBe(-11);
  expect(sysSend(client, addressOf(out), 5)).toBe(5);
  expect(sysReceive(server, addressOf(back), 16)).toBe(5);
  expect(new TextDecoder().decode(back.subarray(0, 5))).toBe("hello");
  closeFile(client);
  expect(sysReceive(server, addressOf(back), 16)).toBe(0);
  expect(sysSend(server, addressOf(out), 5)).toBe(-32);
  expect(socketError(server)).toBe(0);
  closeFile(server);
  closeFile(listener);
});

test("listenUnix() replaces a stale socket file but neither a live one nor another file", () => {
  const first = listenUnix(`${dir}/s`);
  expect(() => listenUnix(`${dir}/s`)).toThrowError(expect.objectContaining({ code: "EADDRINUSE" }));
  closeFile(first);
  closeFile(listenUnix(`${dir}/s`));
  writeFileSync(`${dir}/f`, "precious");
  expect(() => listenUnix(`${dir}/f`)).toThrowError(expect.objectContaining({ code: "EADDRINUSE" }));
  expect(sysConnectUnix(`${dir}/none`)).toBe(-2);
});

test("a path over 107 bytes is refused by name", () => {
  const path = `${dir}/${"x".repeat(108 - dir.length - 1)}`;
  expect(() => listenUnix(path)).toThrowError(
    expect.objectContaining({ code: "SOCKET_PATH_TOO_LONG", message: expect.stringContaining("108 bytes") }),
  );
  expect(() => sysConnectUnix(path)).toThrowError(expect.objectContaining({ code: "SOCKET_PATH_TOO_LONG" }));
  closeFile(listenUnix(path.slice(0, 107)));
});

test("MessageChannel passes descriptors along with bytes", () => {
  const [a, b] = createSocketPair();
  const memfd = createMemfd("passed", 4096);
  pwriteFile(memfd, Uint8Array.of(42), 100);
  const bell = createEventfd();
  const channel = new MessageChannel();
  const out = Uint8Array.of(1, 2, 3);
  expect(channel.send(a, addressOf(out), 3, [memfd, bell])).toBe(3);
  const back = new Uint8Array(8);
  expect(channel.receive(b, addressOf(back), 8)).toBe(3);
  expect(channel.fdCount).toBe(2);
  expect(channel.truncated).toBe(false);
  const [memory, doorbell] = [channel.fds[0]!, channel.fds[1]!];
  const content = new Uint8Array(1);
  preadFile(memory, content, 100);
  expect(content[0]).toBe(42);
  ringEventfd(doorbell);
  expect(drainEventfd(bell)).toBe(true);
  expect(channel.send(a, addressOf(out), 3)).toBe(3);
  expect(channel.receive(b, addressOf(back), 8)).toBe(3);
  expect(channel.fdCount).toBe(0);
  for (const fd of [a, b, memfd, bell, memory, doorbell]) closeFile(fd);
});

test("Epoll reports exactly the rung doorbells, and nothing after they were drained", () => {
  const epoll = new Epoll();
  const bells = [createEventfd(), createEventfd(), createEventfd()];
  for (const bell of bells) epoll.add(bell, EPOLLIN);
  expect(epoll.wait(0)).toBe(0);
  ringEventfd(bells[1]!);
  expect(epoll.wait(1000)).toBe(1);
  expect(epoll.fds[0]).toBe(bells[1]);
  expect(epoll.events[0]).toBe(EPOLLIN);
  expect(drainEventfd(bells[1]!)).toBe(true);
  expect(drainEventfd(bells[1]!)).toBe(false);
  expect(epoll.wait(0)).toBe(0);
  epoll.remove(bells[0]!);
  epoll.remove(bells[0]!);
  ringEventfd(bells[0]!);
  expect(epoll.wait(0)).toBe(0);
  for (const bell of bells) closeFile(bell);
  epoll.close();
});
