// nfd as its neighbours see it: the switch's end of the stream socket, and the control socket.
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { callControl } from "../base/jsonrpc/index.js";
import { silentLog } from "../base/log/index.js";
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

/** Connects as the switch does, sends one frame, and waits for the one that comes back. */
async function ask(): Promise<Uint8Array> {
  const path = join(dir, "web.sock");
  const socket = await new Promise<Socket>((resolve, reject) => {
    const dialled = connect(path, () => resolve(dialled));
    dialled.on("error", reject);
  });
  let received = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
  });
  const length = Buffer.alloc(4);
  length.writeUInt32BE(request.byteLength);
  socket.write(Buffer.concat([length, request]));
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
