// Against the kernel where the package and the capability are there (root, in CI and containers); the messages for
// missing ones are provoked by what is loaded instead of the package.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../errors/index.js";
import { waitFor } from "../time/index.js";
import { encodeIcmp, ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, parseIcmp, parseIpv4 } from "../wire/index.js";
import { openRawIp, probeFacility, type RawIpSocket, type RawSocketPackage, rawIpProblem } from "./index.js";

const nothing = { protocol: 1, onPacket: () => {} };
const notFound = () => {
  throw Object.assign(new Error("Cannot find module 'raw-socket'\nRequire stack: x"), {
    code: "MODULE_NOT_FOUND",
  });
};

describe("openRawIp()", () => {
  it("gives a remedy when the package is missing, was compiled for another Node, or is something else", () => {
    const remedy = expect.stringMatching(/python3, make and g\+\+ and run npm install again/);
    expect(() => openRawIp(nothing, notFound)).toThrow(
      expect.objectContaining({
        code: "RAW_SOCKET_MISSING",
        message: "the package raw-socket is not installed",
        remedy,
      }),
    );
    const stale = () => {
      throw Object.assign(new Error("The module was compiled against NODE_MODULE_VERSION 1"), {
        code: "ERR_DLOPEN_FAILED",
      });
    };
    expect(() => openRawIp(nothing, stale)).toThrow(/cannot be loaded \(The module was compiled/);
    expect(() => openRawIp(nothing, () => ({}))).toThrow(
      expect.objectContaining({ code: "RAW_SOCKET_MISSING", remedy }),
    );
  });

  it("says that the capability is missing when the kernel refuses", () => {
    const refused: RawSocketPackage = {
      createSocket() {
        throw new Error("Operation not permitted");
      },
    };
    expect(() => openRawIp(nothing, () => refused)).toThrow(
      expect.objectContaining({ code: "RAW_SOCKET_DENIED", message: expect.stringMatching(/CAP_NET_RAW/) }),
    );
  });

  it("rejects what was not sent when it is closed, and everything after", async () => {
    let closed = 0;
    const silent: RawSocketPackage = {
      createSocket: () => ({ on: () => {}, send: () => {}, close: () => closed++ }),
    };
    const socket = openRawIp(nothing, () => silent);
    const pending = socket.send(new Uint8Array(8), "127.0.0.1");
    socket.close();
    socket.close();
    await expect(pending).rejects.toMatchObject({ code: "RAW_SOCKET_FAILED" });
    await expect(socket.send(new Uint8Array(8), "127.0.0.1")).rejects.toMatchObject({
      code: "RAW_SOCKET_FAILED",
    });
    expect(closed).toBe(1);
  });

  it("sends to and receives from the kernel, or says why it cannot", async () => {
    const problem = rawIpProblem();
    if (problem !== undefined) {
      expect(() => openRawIp({ protocol: 1, onPacket: () => {} })).toThrow(PlinthError);
      return;
    }
    const rest = ((process.pid & 0xffff) << 16) | 7;
    const received: number[] = [];
    const socket = openRawIp({
      protocol: 1,
      onPacket(packet, source) {
        const message = parseIcmp(parseIpv4(packet, false).payload);
        if (message.rest === rest >>> 0 && source === "127.0.0.1") received.push(message.type);
      },
    });
    try {
      const payload = new TextEncoder().encode("plinth");
      await socket.send(encodeIcmp({ type: ICMP_ECHO_REQUEST, code: 0, rest, payload }), "127.0.0.1");
      await waitFor(() => received.includes(ICMP_ECHO_REPLY), "an echo reply", 5_000);
      await expect(socket.send(new Uint8Array(8), "no address")).rejects.toMatchObject({
        code: "RAW_SOCKET_FAILED",
      });
    } finally {
      socket.close();
    }
  });
});

it("an open socket is not collected while its owner only waits", async () => {
  if (rawIpProblem() !== undefined) {
    expect(() => openRawIp(nothing)).toThrow(PlinthError);
    return;
  }
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const start = (): { sent: Promise<void>; socket: WeakRef<RawIpSocket> } => {
    const socket = openRawIp(nothing);
    const echo = encodeIcmp({ type: ICMP_ECHO_REQUEST, code: 0, rest: 1, payload: new Uint8Array(8) });
    return { sent: socket.send(echo, "127.0.0.1"), socket: new WeakRef(socket) };
  };
  const { sent, socket } = start();
  // A WeakRef holds what it was made for until the task is over; the loop is not left before it sends.
  await Promise.resolve();
  setImmediate(collect);
  await sent;
  collect();
  await new Promise((resolve) => setTimeout(resolve, 20));
  collect();
  const kept = socket.deref();
  expect(kept).toBeDefined();
  kept?.close();
});

describe("facility raw-socket", () => {
  it("is there exactly when opening a socket works", () => {
    const facility = probeFacility("raw-socket");
    if (facility.available) openRawIp(nothing).close();
    else expect(() => openRawIp(nothing)).toThrow(expect.objectContaining({ name: "PlinthError" }));
  });

  it("names the package and the capability, each when it is missing", () => {
    expect(rawIpProblem(notFound)).toMatch(/package raw-socket is not installed/);
    expect(rawIpProblem(() => ({ createSocket: () => {} })) ?? "CAP_NET_RAW").toMatch(/CAP_NET_RAW/);
  });
});
