import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PlinthError } from "../errors/index.js";
import { waitFor } from "../time/index.js";
import {
  callControl,
  connectJsonRpc,
  createControlServer,
  JsonRpcFault,
  JsonRpcSession,
  JsonStream,
  listenJsonRpc,
  parseActiveEndpoint,
  parsePassiveEndpoint,
} from "./index.js";

let dir: string;
const cleanups: (() => unknown)[] = [];
beforeEach(() => {
  dir = mkdtempSync("/tmp/jr-");
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(dir, { recursive: true, force: true });
});

describe("JsonStream", () => {
  it("bounds size and nesting", () => {
    expect(() => new JsonStream({ depthMax: 3 }).push(Buffer.from("[[[["))).toThrow(
      expect.objectContaining({ code: "JSON_TOO_DEEP" }),
    );
    const stream = new JsonStream({ sizeBytesMax: 8 });
    stream.push(Buffer.from('["aaaa'));
    expect(() => stream.push(Buffer.from("aaaaaaa"))).toThrow(
      expect.objectContaining({ code: "JSON_TOO_LARGE" }),
    );
    expect(() => stream.push(Buffer.from("{}"))).toThrow(expect.objectContaining({ code: "JSON_MALFORMED" }));
  });

  it("refuses bytes that are no UTF-8, and scalars", () => {
    expect(() => new JsonStream().push(Uint8Array.of(0x5b, 0x22, 0xff, 0x22, 0x5d))).toThrow(PlinthError);
    expect(() => new JsonStream().push(Buffer.from("12 "))).toThrow(PlinthError);
  });

  it("refuses a bracket that closes another kind at once, also in a later chunk", () => {
    const stream = new JsonStream();
    expect(stream.push(Buffer.from('{"a":["}",[1]'))).toEqual([]);
    expect(() => stream.push(Buffer.from("}"))).toThrow("not JSON: } where [ is open");
    expect(() => new JsonStream().push(Buffer.from('{"a":1]'))).toThrow("] where { is open");
  });
});

describe("JsonRpcSession", () => {
  it("matches answers to requests and drops late ones", () => {
    const session = new JsonRpcSession();
    const first = session.request("a", [1], 100);
    const second = session.request("b", [], 200);
    expect(JSON.parse(first.text)).toEqual({ id: 0, method: "a", params: [1] });
    expect(session.expire(100)).toEqual([first.id]);
    const events = session.receive(
      Buffer.from('{"id":0,"result":1,"error":null}{"id":1,"result":null,"error":"no"}'),
    );
    expect(events).toEqual([{ kind: "fault", id: second.id, error: "no" }]);
    expect(session.end()).toEqual([]);
  });
});

describe("endpoints", () => {
  it("are understood in both directions", () => {
    expect(parseActiveEndpoint("tcp:[::1]:6640")).toEqual({ kind: "tcp", host: "::1", port: 6640 });
    expect(parsePassiveEndpoint("ptcp:0:127.0.0.1")).toEqual({ kind: "tcp", host: "127.0.0.1", port: 0 });
    expect(() => parsePassiveEndpoint("ptcp:99999")).toThrow(
      expect.objectContaining({ code: "ENDPOINT_INVALID" }),
    );
    expect(() => parseActiveEndpoint(`unix:/${"x".repeat(107)}`)).toThrow(
      expect.objectContaining({ code: "SOCKET_PATH_TOO_LONG" }),
    );
  });
});

describe("JsonRpcConnection", () => {
  it("calls, is called back, is notified, and answers echo", async () => {
    const heard: unknown[] = [];
    const server = await listenJsonRpc("ptcp:0:127.0.0.1", {
      async request({ method, params }, peer) {
        if (method === "boom") throw new JsonRpcFault({ error: "bad", details: "why" });
        peer.notify("told", params);
        return [await peer.call("back", []), ...params];
      },
    });
    cleanups.push(() => server.close());
    const client = await connectJsonRpc(`tcp:127.0.0.1:${server.port}`, {
      handler: {
        request: () => "here",
        notification: (method, params) => heard.push(method, ...params),
      },
    });
    cleanups.push(() => client.close());
    expect(await client.call("x", ["é"])).toEqual(["here", "é"]);
    expect(heard).toEqual(["told", "é"]);
    expect(await client.call("echo", [7])).toEqual([7]);
    await expect(client.call("boom", [])).rejects.toThrow("bad: why");
  });

  it("rejects calls at their deadline and when the peer goes", async () => {
    const path = join(dir, "s");
    const silent = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => silent.listen(path, resolve));
    cleanups.push(() => new Promise((resolve) => silent.close(resolve)));
    const client = await connectJsonRpc(`unix:${path}`);
    await expect(client.call("x", [], 20)).rejects.toMatchObject({ code: "RPC_TIMEOUT" });
    const open = client.call("x", [], 5000);
    client.close();
    await expect(open).rejects.toMatchObject({ code: "RPC_CLOSED" });
    await expect(client.call("x", [])).rejects.toMatchObject({ code: "RPC_CLOSED" });
  });

  it("closes on malformed bytes and keeps serving others", async () => {
    const path = join(dir, "s");
    const server = await createControlServer(path, { hi: () => "hi" });
    cleanups.push(() => server.close());
    const socket = connect(path);
    let gone = false;
    socket.on("error", () => {});
    socket.on("close", () => {
      gone = true;
    });
    socket.write("GET / HTTP/1.1\r\n");
    await waitFor(() => gone, "the connection to be closed", 2000);
    expect(await callControl(path, "hi")).toBe("hi");
  });
});

describe("createControlServer()", () => {
  it("carries errors with code and field, answers ping, and is private", async () => {
    const path = join(dir, "c");
    let ended = false;
    const server = await createControlServer(
      path,
      {
        refuse: () => {
          throw new PlinthError("POOL_FULL", "no room", { field: "sizeBytes", remedy: "less" });
        },
        same: (params) => params,
      },
      { name: "testd", version: "9", shutdown: () => (ended = true) },
    );
    cleanups.push(() => server.close());
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await callControl(path, "ping")).toEqual({ name: "testd", version: "9", pid: process.pid });
    expect(await callControl(path, "same", { a: [1] })).toEqual({ a: [1] });
    await expect(callControl(path, "refuse")).rejects.toMatchObject({
      code: "POOL_FULL",
      message: "no room",
      field: "sizeBytes",
      remedy: "less",
    });
    await expect(callControl(path, "__proto__")).rejects.toMatchObject({ code: "METHOD_UNKNOWN" });
    await callControl(path, "shutdown");
    await waitFor(() => ended, "shutdown", 2000);
  });

  it("replaces a stale socket, but neither a live one nor a file", async () => {
    const path = join(dir, "c");
    const first = await createControlServer(path, {});
    await expect(createControlServer(path, {})).rejects.toMatchObject({ code: "SOCKET_IN_USE" });
    await first.close();
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, "data");
    await expect(createControlServer(path, {})).rejects.toMatchObject({ code: "SOCKET_PATH_TAKEN" });
    await expect(createControlServer(join(dir, "x".repeat(120)), {})).rejects.toMatchObject({
      code: "SOCKET_PATH_TOO_LONG",
    });
    await expect(callControl(join(dir, "none"), "ping")).rejects.toMatchObject({ code: "RPC_UNREACHABLE" });
  });
});
