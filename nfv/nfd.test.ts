// nfd as its neighbours see it: the switch's end of the stream socket, and the control socket.
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { callControl } from "../base/jsonrpc/index.js";
import { silentLog } from "../base/log/index.js";
import { Random } from "../base/random/index.js";
import { waitFor } from "../base/time/index.js";
import {
  ETHERTYPE_ARP,
  encodeArp,
  encodeEthernet,
  parseArp,
  parseEthernet,
  parseIpv4Address,
  parseMac,
} from "../base/wire/index.js";
import { type Nfd, startNfd } from "./nfd.js";

let dir: string;
let nfd: Nfd;
beforeEach(async () => {
  dir = mkdtempSync("/tmp/pnfd-");
  nfd = await startNfd({
    lockPath: join(dir, "nfd.lock"),
    socketPath: join(dir, "nfd.sock"),
    log: silentLog,
  });
});
afterEach(async () => {
  await nfd.close();
  rmSync(dir, { recursive: true, force: true });
});

const call = (method: string, params = {}) => callControl(join(dir, "nfd.sock"), method, params);
const config = () => ({
  name: "shop/web",
  type: "LoadBalancer",
  socket: join(dir, "web.sock"),
  macAddress: "02:00:00:00:00:64",
  address: "10.10.0.100",
  ports: [{ port: 80 }],
  endpoints: [{ name: "web1", address: "10.10.0.2", macAddress: "02:00:00:00:00:02" }],
});

const request = encodeEthernet({
  destination: new Uint8Array(6).fill(255),
  source: parseMac("02:00:00:00:00:32"),
  etherType: ETHERTYPE_ARP,
  payload: encodeArp({
    operation: 1,
    senderMac: parseMac("02:00:00:00:00:32"),
    senderAddress: parseIpv4Address("10.10.0.50"),
    targetMac: new Uint8Array(6),
    targetAddress: parseIpv4Address("10.10.0.100"),
  }),
});

const framed = (frame: Uint8Array): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(frame.byteLength);
  return Buffer.concat([length, frame]);
};

/** Connects as the switch does. */
function dial(path = join(dir, "web.sock")): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const dialled = connect(path, () => resolve(dialled));
    dialled.on("error", reject);
  });
}

/** Sends one frame as the switch, and waits for the one that comes back. */
async function ask(path?: string): Promise<Uint8Array> {
  const socket = await dial(path);
  let received = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
  });
  socket.write(framed(request));
  await waitFor(
    () => received.length >= 4 && received.length >= 4 + received.readUInt32BE(0),
    "no answer",
    5_000,
  );
  socket.destroy();
  return received.subarray(4);
}

describe("nfd", () => {
  it("carries frames between the switch's port and the function", async () => {
    await call("function.apply", config());
    const reply = parseArp(parseEthernet(await ask()).payload);
    expect(reply).toMatchObject({ operation: 2, senderAddress: parseIpv4Address("10.10.0.100") });
    const [status] = (await call("function.list")) as { name: string; counters: Record<string, number> }[];
    expect(status).toMatchObject({ name: "shop/web", counters: { arp: 1 }, endpoints: [{ name: "web1" }] });
  });

  it("takes a changed configuration on the same socket, and lets a switch come back", async () => {
    await call("function.apply", config());
    await ask();
    await call("function.apply", { ...config(), endpoints: [] });
    await ask();
    expect(await call("function.list")).toMatchObject([{ endpoints: [], counters: { arp: 2 } }]);
  });

  it("refuses what it does not understand and changes nothing", async () => {
    await call("function.apply", config());
    await expect(call("function.apply", { ...config(), address: "nowhere" })).rejects.toMatchObject({
      code: "FUNCTION_INVALID",
      field: "address",
    });
    expect(await call("function.list")).toHaveLength(1);
    await expect(call("function.delete", { name: "shop/other" })).rejects.toMatchObject({
      code: "FUNCTION_UNKNOWN",
    });
    await call("function.delete", { name: "shop/web" });
    expect(await call("function.list")).toEqual([]);
  });

  it.each([
    ["the path is too long", () => join(dir, "x".repeat(100)), /at most 107/],
    ["the directory is missing", () => join(dir, "missing", "web.sock"), /ENOENT/],
    ["links lead in a circle", () => join(dir, "circle", "web.sock"), /ELOOP/],
    ["a file is in the way", () => join(dir, "nfd.lock"), /EADDRINUSE/],
    ["another function listens there", () => join(dir, "web.sock"), /EADDRINUSE/],
  ])("refuses a socket that cannot be made and changes nothing when %s", async (_, path, why) => {
    symlinkSync(join(dir, "circle"), join(dir, "circle"));
    await call("function.apply", config());
    const mine = { ...config(), name: "shop/mine", socket: join(dir, "mine.sock") };
    await call("function.apply", mine);
    const before = readdirSync(dir).sort();
    for (const name of ["shop/mine", "shop/new"]) {
      await expect(
        call("function.apply", { ...mine, name, socket: path(), endpoints: [] }),
      ).rejects.toMatchObject({
        code: "FUNCTION_SOCKET_UNAVAILABLE",
        field: "socket",
        message: expect.stringMatching(why),
      });
    }
    expect(readdirSync(dir).sort()).toEqual(before);
    expect(await call("function.list")).toMatchObject([
      { name: "shop/web", endpoints: [{ name: "web1" }] },
      { name: "shop/mine", endpoints: [{ name: "web1" }] },
    ]);
    expect(parseArp(parseEthernet(await ask(mine.socket)).payload).operation).toBe(2);
  });

  it("ends a connection that loses the framing, and takes the next", async () => {
    await call("function.apply", config());
    const random = new Random(7);
    for (let round = 0; round < 20; round++) {
      const socket = await dial();
      let ended = false;
      socket.on("close", () => {
        ended = true;
      });
      socket.on("error", () => {});
      const garbage = Uint8Array.from({ length: 1 + random.below(5_000) }, () => random.below(256));
      // A length that no frame has, sooner or later.
      socket.write(Buffer.concat([framed(garbage), Buffer.alloc(8, 0xff)]));
      await waitFor(() => ended, "the connection to end", 5_000);
    }
    expect(parseArp(parseEthernet(await ask()).payload).operation).toBe(2);
  });

  it("serves the others while one peer floods it and reads nothing", async () => {
    await call("function.apply", config());
    const other = { ...config(), name: "shop/other", socket: join(dir, "other.sock") };
    await call("function.apply", other);
    const flood = await dial();
    flood.on("error", () => {});
    flood.pause();
    const garbage = framed(new Uint8Array(60).fill(0x45));
    const burst = Buffer.concat(
      Array.from({ length: 2_000 }, (_, i) => (i % 2 === 0 ? garbage : framed(request))),
    );
    let stopped = false;
    const more = () => {
      if (!stopped) flood.write(burst, more);
    };
    more();
    const counted = async () => {
      const list = (await call("function.list")) as { counters: Record<string, number> }[];
      return list[0]?.counters["dropped-not-ours"] ?? 0;
    };
    await waitFor(async () => (await counted()) > 5_000, "the flood to arrive", 10_000);
    expect(parseArp(parseEthernet(await ask(other.socket)).payload).operation).toBe(2);
    expect(await call("ping")).toMatchObject({ name: "nfd" });
    stopped = true;
    flood.destroy();
    expect(parseArp(parseEthernet(await ask()).payload).operation).toBe(2);
  });

  it("runs once per lock", async () => {
    const second = startNfd({
      lockPath: join(dir, "nfd.lock"),
      socketPath: join(dir, "other.sock"),
      log: silentLog,
    });
    await expect(second).rejects.toMatchObject({ code: "ALREADY_RUNNING" });
    expect(await call("ping")).toMatchObject({ name: "nfd" });
  });
});
