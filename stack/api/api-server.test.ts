// The server over real HTTPS: who gets in, how refusals look, and watches as streams.

import { X509Certificate } from "node:crypto";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { get as httpsGet, request as httpsRequest } from "node:https";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createControlServer } from "../../base/jsonrpc/index.js";
import { silentLog } from "../../base/log/index.js";
import { openMemoryStore, type Store } from "../../base/store/index.js";
import { SimulatedClock, waitFor } from "../../base/time/index.js";
import type { ApiObject } from "../resources/index.js";
import { type ApiServer, startApiServer } from "./api-server.js";
import { ApiClient } from "./client.js";
import { loadToken, readKubeconfig, writeKubeconfig } from "./credentials.js";
import { type ApiError, isApiError } from "./errors.js";
import type { HttpRequest } from "./http-transport.js";
import { BODY_SIZE_BYTES_MAX, BOOKMARK_INTERVAL_MS } from "./limits.js";
import { ResourceRegistry } from "./registry.js";
import { loadTls, RENEW_BEFORE_MS, type TlsFiles } from "./tls.js";

let directory: string;
let tls: TlsFiles;
let token: string;
beforeAll(async () => {
  directory = await mkdtemp("/tmp/papi-");
  tls = await loadTls(join(directory, "tls"), Date.now());
  token = await loadToken(join(directory, "token"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

let clock: SimulatedClock;
let store: Store;
let server: ApiServer;
let client: ApiClient;
beforeEach(async () => {
  clock = new SimulatedClock();
  store = openMemoryStore({ eventsMax: 64 });
  const registry = new ResourceRegistry({ store, clock });
  const options = { port: 0, tls, token, version: "0.0.0", hostSocket: join(directory, "host.sock") };
  server = await startApiServer(options, {
    registry,
    clock,
    log: silentLog,
    notReady: () => store.failure?.message,
  });
  client = new ApiClient(server.access);
  await client.create("Namespace", { metadata: { name: "a" } });
});
afterEach(async () => {
  client.close();
  await server.close();
  await store.close();
});

const SECRETS = "/api/v1/namespaces/a/secrets";
const secret = (name: string) => client.create("Secret", { metadata: { name, namespace: "a" } });

async function refusal(promise: Promise<unknown>): Promise<ApiError> {
  const thrown = await promise.then(
    () => new Error("it was not refused"),
    (reason: unknown) => reason,
  );
  if ((thrown as ApiError).status === undefined) throw thrown;
  return thrown as ApiError;
}
const statusOf = async (promise: Promise<unknown>): Promise<number> => (await refusal(promise)).status;

describe("who gets in", () => {
  test("nobody without the token, but for health and version", async () => {
    const stranger = new ApiClient({ ...server.access, token: `${token.slice(0, -1)}x` });
    try {
      const get = (path: string) => stranger.transport.json({ method: "GET", path });
      for (const path of ["/api", "/apis", SECRETS, "/openapi/v3", "/nothing"])
        expect(await statusOf(get(path))).toBe(401);
      expect(await get("/version")).toMatchObject({ minor: "32" });
    } finally {
      stranger.close();
    }
  });

  test("OpenAPI 2 comes in the form asked for, and JSON without a Content-Type is JSON", async () => {
    const { ca, server: url } = server.access;
    const send = (method: string, path: string, headers: object, body = "") =>
      new Promise<{ status: number | undefined; type: unknown; body: Buffer }>((resolve, reject) => {
        const options = {
          method,
          ca,
          headers: { authorization: `Bearer ${token}`, "content-length": body.length, ...headers },
        };
        httpsRequest(`${url}${path}`, options, (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => {
            const type = response.headers["content-type"];
            resolve({ status: response.statusCode, type, body: Buffer.concat(chunks) });
          });
        })
          .on("error", reject)
          .end(body);
      });
    const spec = "application/com.github.proto-openapi.spec";
    for (const accept of [`${spec}.v2@v1.0+protobuf`, `application/xml, ${spec}.v2.v1.0+protobuf`]) {
      const binary = await send("GET", "/openapi/v2", { accept });
      expect([binary.status, binary.type]).toEqual([200, `${spec}.v2.v1.0+protobuf`]);
      expect(binary.body.subarray(0, 5)).toEqual(Buffer.from("\x0a\x032.0"));
    }
    for (const headers of [{}, { accept: "application/json" }])
      expect(JSON.parse((await send("GET", "/openapi/v2", headers)).body.toString())).toMatchObject({
        swagger: "2.0",
      });
    expect((await send("GET", "/openapi/v2", { accept: "text/html" })).status).toBe(406);
    const body = JSON.stringify({ metadata: { name: "untyped" } });
    expect((await send("POST", SECRETS, {}, body)).status).toBe(201);
    expect((await send("PATCH", `${SECRETS}/untyped`, {}, body)).status).toBe(415);
    expect((await send("DELETE", `${SECRETS}/untyped`, {}, "{}")).status).toBe(200);
  });

  test("the page about the API is for everybody, and may load and run nothing", async () => {
    const { ca, server: url } = server.access;
    const answer = await new Promise<{ status: number | undefined; policy: unknown; text: string }>(
      (resolve, reject) => {
        httpsGet(`${url}/docs`, { ca }, (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => {
            const policy = response.headers["content-security-policy"];
            resolve({ status: response.statusCode, policy, text: Buffer.concat(chunks).toString() });
          });
        }).on("error", reject);
      },
    );
    expect(answer).toMatchObject({ status: 200, policy: expect.stringContaining("default-src 'none'") });
    expect(answer.text).toContain('<section id="VirtualMachine">');
  });

  test("the kubeconfig leads back to the server and is for its owner only", async () => {
    const path = join(directory, "kubeconfig");
    await writeKubeconfig(path, server.access);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(directory, "token"))).mode & 0o777).toBe(0o600);
    expect(await readKubeconfig(path)).toEqual({ ...server.access, namespace: "default" });
    await expect(readKubeconfig(join(directory, "none"))).rejects.toMatchObject({
      code: "KUBECONFIG_UNREADABLE",
    });
  });

  test("a port in use has a name", async () => {
    const registry = new ResourceRegistry({ store, clock });
    const options = { port: server.port, tls, token, version: "0", hostSocket: "" };
    const second = startApiServer(options, { registry, clock, log: silentLog });
    await expect(second).rejects.toMatchObject({ code: "PORT_IN_USE", field: "--port" });
  });
});

describe("certificates", () => {
  test("name localhost and both loopback addresses, signed by the authority", () => {
    const certificate = new X509Certificate(tls.cert);
    expect(certificate.checkIssued(new X509Certificate(tls.ca))).toBe(true);
    expect(certificate.subjectAltName).toBe(
      "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
    );
  });

  test("are kept while they are fresh, made anew before they end, and never in the open", async () => {
    const place = join(directory, "tls2");
    const nowMs = Date.now();
    const first = await loadTls(place, nowMs);
    expect(await loadTls(place, nowMs)).toEqual(first);
    const endMs = new Date(new X509Certificate(first.cert).validTo).getTime();
    const renewed = await loadTls(place, endMs - RENEW_BEFORE_MS + 60_000);
    expect(renewed.cert).not.toBe(first.cert);
    expect(renewed.ca).toBe(first.ca);
    expect((await stat(join(place, "key.pem"))).mode & 0o777).toBe(0o600);
    await rm(join(place, "key.pem"));
    expect((await loadTls(place, nowMs)).key).not.toBe(renewed.key);
    server.renewTls(tls);
    expect(await client.list("Secret")).toMatchObject({ items: [] });
  });
});

describe("refusals", () => {
  const post = (body: unknown, contentType?: string) =>
    client.transport.json({
      method: "POST",
      path: SECRETS,
      body,
      ...(contentType === undefined ? {} : { contentType }),
    });

  test("are Status objects with the code of HTTP", async () => {
    expect(await statusOf(client.transport.json({ method: "GET", path: "/apis/nothing" }))).toBe(404);
    expect(await statusOf(post([]))).toBe(400);
    expect(await statusOf(post({ kind: "Network", metadata: { name: "x" } }))).toBe(400);
    expect(await statusOf(post({ metadata: { name: "x" } }, "text/plain"))).toBe(415);
    expect(
      await statusOf(post({ metadata: { name: "x" }, data: { a: "x".repeat(BODY_SIZE_BYTES_MAX) } })),
    ).toBe(413);
    const error = await refusal(post({ metadata: { name: "X" } }));
    expect(error.toStatus()).toMatchObject({
      kind: "Status",
      status: "Failure",
      reason: "Invalid",
      code: 422,
      details: {
        kind: "Secret",
        name: "X",
        causes: [{ field: "metadata.name", reason: "FieldValueInvalid" }],
      },
    });
  });

  test("a body cannot reach a prototype", async () => {
    const body = JSON.parse('{"metadata":{"name":"x"},"data":{"__proto__":{"x":"y"}}}');
    expect(await statusOf(post(body))).toBe(400);
    expect(({} as { x?: string }).x).toBeUndefined();
  });

  test("unknown fields are refused, warned of or dropped, as asked", async () => {
    const warnings: string[] = [];
    const warned = new ApiClient({ ...server.access, onWarning: (text) => warnings.push(text) });
    try {
      const create = (fieldValidation: "Strict" | "Warn" | "Ignore", name: string) =>
        warned.create("Secret", { metadata: { name, namespace: "a" }, colour: "red", size: 3 } as never, {
          fieldValidation,
        });
      expect((await refusal(create("Strict", "s"))).message).toContain('unknown field "colour"');
      await create("Ignore", "i");
      expect(warnings).toEqual([]);
      await create("Warn", "w");
      expect(warnings).toEqual(['299 - "unknown field \\"colour\\""', '299 - "unknown field \\"size\\""']);
    } finally {
      warned.close();
    }
  });
});

describe("lists and watches", () => {
  const open = (query: Record<string, string | boolean>, accept?: string) => {
    const lines: {
      type: string;
      object: { metadata?: { name?: string; resourceVersion: string }; code?: number };
    }[] = [];
    const request = {
      method: "GET",
      path: SECRETS,
      query: { watch: true, ...query },
      ...(accept ? { accept } : {}),
    } as const;
    const ended = client.transport.lines(request, 30_000, (line) => lines.push(line as never));
    return {
      lines,
      ended: ended.then(
        () => "ended",
        (error: Error) => error,
      ),
      names: () => lines.map((line) => `${line.type} ${line.object.metadata?.name ?? ""}`),
    };
  };
  const arrive = (count: () => number, wanted: number) =>
    waitFor(() => count() >= wanted, "no events", 5000, 2);

  test("pages go on where they ended", async () => {
    for (const name of ["x", "y", "z"]) await secret(name);
    const page = async (query: object): Promise<{ items: unknown[]; metadata: { continue?: string } }> =>
      (await client.transport.json({ method: "GET", path: SECRETS, query: { limit: 2, ...query } })) as never;
    const first = await page({});
    const second = await page({ continue: first.metadata.continue });
    expect([first.items.length, second.items.length, second.metadata.continue]).toEqual([2, 1, undefined]);
    expect(await statusOf(page({ continue: "nonsense" }))).toBe(400);
  });

  test("a watch without a version starts with what is there; bookmarks and the end come by the clock", async () => {
    await secret("x");
    const { lines, names, ended } = open({ allowWatchBookmarks: true, timeoutSeconds: "60" });
    await arrive(() => lines.length, 1);
    const y = await secret("y");
    await arrive(() => lines.length, 2);
    clock.advance(BOOKMARK_INTERVAL_MS);
    await arrive(() => lines.length, 3);
    expect(names()).toEqual(["ADDED x", "ADDED y", "BOOKMARK "]);
    expect(lines[2]?.object.metadata?.resourceVersion).toBe(y.metadata.resourceVersion);
    clock.advance(60_000);
    expect(await ended).toBe("ended");
  });

  test("initial events can be marked as complete", async () => {
    await secret("x");
    const { lines } = open({
      sendInitialEvents: true,
      resourceVersionMatch: "NotOlderThan",
      allowWatchBookmarks: true,
    });
    await arrive(() => lines.length, 2);
    expect(lines[1]).toMatchObject({
      type: "BOOKMARK",
      object: { metadata: { annotations: { "k8s.io/initial-events-end": "true" } } },
    });
  });

  test("a watch from a version that is too old says so", async () => {
    for (let i = 0; i < 80; i++) await secret(`s${i}`);
    const { ended } = open({ resourceVersion: "1" });
    expect(isApiError(await ended, "Expired")).toBe(true);
  });

  test("watches can show rows, with their columns once", async () => {
    await secret("x");
    const { lines } = open({}, "application/json;as=Table;v=v1;g=meta.k8s.io");
    await arrive(() => lines.length, 1);
    await secret("y");
    await arrive(() => lines.length, 2);
    const tables = lines.map(
      (line) => line.object as unknown as { columnDefinitions: unknown[]; rows: { cells: unknown[] }[] },
    );
    expect(tables.map((table) => [table.columnDefinitions.length, table.rows[0]?.cells[0]])).toEqual([
      [4, "x"],
      [0, "y"],
    ]);
  });

  test("an informer over HTTPS goes on after the server was away", async () => {
    const seen: string[] = [];
    const informer = client.watchKind("Secret", {
      onChange: ({ type, object }) => seen.push(`${type} ${object.metadata.name}`),
    });
    await informer.synced;
    await secret("x");
    await arrive(() => seen.length, 1);
    const { port } = server;
    await server.close();
    const registry = new ResourceRegistry({ store, clock });
    await registry.create((await import("../resources/index.js")).secretKind, "a", {
      metadata: { name: "y" },
    });
    const options = { port, tls, token, version: "0.0.0", hostSocket: "" };
    server = await startApiServer(options, { registry, clock, log: silentLog });
    await arrive(() => seen.length, 2);
    expect(seen).toEqual(["added x", "added y"]);
    informer.close();
  });

  test("nothing comes first when that is not wanted", async () => {
    await secret("x");
    const { lines } = open({ sendInitialEvents: false, resourceVersionMatch: "NotOlderThan" });
    // The watch is open before the object is made, or the object would be missed for good.
    await waitFor(
      async () => {
        if (lines.length === 0) await secret(`y${Math.random().toString(36).slice(2)}`);
        return lines.length > 0;
      },
      "a change after the watch began",
      30_000,
    );
    expect(lines[0]?.object.metadata?.name).toMatch(/^y/);
  });

  test("close() ends every watch in good order", async () => {
    const { lines, ended } = open({});
    await secret("x");
    await arrive(() => lines.length, 1);
    await server.close();
    expect(await ended).toBe("ended");
  });
});

describe("lists", () => {
  type List = { items: ApiObject[]; metadata: { continue?: string; remainingItemCount?: number } };
  const list = (query: HttpRequest["query"] = {}): Promise<List> =>
    client.transport.json({ method: "GET", path: SECRETS, query }) as Promise<List>;

  test("come in pages of one moment, which say how much is left", async () => {
    for (const name of ["p", "q", "r", "s", "t"]) await secret(name);
    const first = await list({ limit: 2 });
    expect([first.items.length, first.metadata.remainingItemCount]).toEqual([2, 3]);
    await client.delete("Secret", { name: "s", namespace: "a" });
    await secret("qq");
    const second = await list({ limit: 2, continue: first.metadata.continue });
    const third = await list({ limit: 2, continue: second.metadata.continue });
    const names = [first, second, third].flatMap(({ items }) => items.map(({ metadata }) => metadata.name));
    expect(names).toEqual(["p", "q", "r", "s", "t"]);
    expect(third.metadata.continue).toBeUndefined();
    const some = await list({ limit: 1, labelSelector: "!none" });
    expect(some.metadata.remainingItemCount).toBeUndefined();
    for (let i = 0; i < 80; i++) await secret(`x${i}`);
    expect(await refusal(list({ continue: first.metadata.continue }))).toMatchObject({
      reason: "Expired",
      status: 410,
    });
  });

  test("of a version are judged by what is asked of it", async () => {
    const { resourceVersion } = (await secret("x")).metadata;
    await secret("y");
    const exact = await list({ resourceVersion, resourceVersionMatch: "Exact" });
    expect(exact.items.map(({ metadata }) => metadata.name)).toEqual(["x"]);
    expect((await list({ resourceVersion, resourceVersionMatch: "NotOlderThan" })).items).toHaveLength(2);
    const future = await refusal(list({ resourceVersion: "999" }));
    expect([future.status, future.details?.causes?.[0]?.reason]).toEqual([504, "ResourceVersionTooLarge"]);
    for (const query of [
      { resourceVersionMatch: "Exact" },
      { resourceVersionMatch: "Exact", resourceVersion: "0" },
      { resourceVersionMatch: "Newest", resourceVersion: "1" },
      { sendInitialEvents: true },
      { watch: true, sendInitialEvents: true },
    ])
      expect(await statusOf(list(query))).toBe(422);
  });

  test("are compressed when they are long and the client takes gzip", async () => {
    const data = { k: Buffer.alloc(300_000, "x").toString("base64") };
    await client.create("Secret", { metadata: { name: "long", namespace: "a" }, data });
    const fetched = (encoding: string) =>
      new Promise<{ encoding: string | undefined; body: Buffer }>((resolve, reject) => {
        const headers = { authorization: `Bearer ${token}`, "accept-encoding": encoding };
        const sent = httpsGet(`${server.access.server}${SECRETS}`, { ca: tls.ca, headers }, (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () =>
            resolve({ encoding: response.headers["content-encoding"], body: Buffer.concat(chunks) }),
          );
        });
        sent.on("error", reject);
      });
    const plain = await fetched("identity");
    expect(plain.encoding).toBeUndefined();
    for (const accepted of ["gzip", "br, gzip;q=0.5"]) {
      const { encoding, body } = await fetched(accepted);
      expect([encoding, body.length < plain.body.length / 10]).toEqual(["gzip", true]);
      expect(gunzipSync(body)).toEqual(plain.body);
    }
    expect((await fetched("gzip;q=0")).encoding).toBeUndefined();
  });
});

describe("actions go to the host agent", () => {
  const path = "/apis/plinth.dev/v1alpha1/namespaces/a/virtualmachines/m";
  const exec = (body: unknown) => client.transport.json({ method: "POST", path: `${path}/exec`, body });

  test("and say when it is not there", async () => {
    expect(await statusOf(exec({ command: ["ls"] }))).toBe(404);
    await client.create("VirtualMachine", { metadata: { name: "m", namespace: "a" } });
    const error = await refusal(exec({ command: ["ls"] }));
    expect([error.status, error.message]).toEqual([503, "the host agent is not running"]);
    expect((await refusal(exec({ command: "ls" }))).details?.causes?.[0]?.field).toBe("command");
  });

  test("which answers exec, and serves the console as a WebSocket", async () => {
    await client.create("VirtualMachine", { metadata: { name: "m", namespace: "a" } });
    const serialPath = join(directory, "serial.sock");
    const serial: Server = createServer((socket) =>
      socket.on("data", (bytes) => socket.write(`echo ${bytes}`)),
    );
    await new Promise<void>((resolve) => serial.listen(serialPath, resolve));
    const control = await createControlServer(join(directory, "host.sock"), {
      "vm.exec": (parameters) => ({ exitCode: 3, stdout: JSON.stringify(parameters), stderr: "" }),
      "vm.console": () => ({ socket: serialPath }),
    });
    try {
      const answer = (await exec({ command: ["ls", "/"], timeoutMs: 500 })) as {
        exitCode: number;
        stdout: string;
      };
      expect(answer.exitCode).toBe(3);
      expect(JSON.parse(answer.stdout)).toEqual({
        namespace: "a",
        name: "m",
        command: ["ls", "/"],
        timeoutMs: 500,
      });
      const url = `${server.access.server.replace("https", "wss")}${path}/console`;
      const said = await new Promise<string>((resolve, reject) => {
        const socket = new WebSocket(url, { ca: tls.ca, headers: { authorization: `Bearer ${token}` } });
        socket.on("open", () => socket.send("hello"));
        socket.on("message", (data) => {
          resolve(String(data));
          socket.close();
        });
        socket.on("error", reject);
      });
      expect(said).toBe("echo hello");
      const refused = await new Promise<number>((resolve) => {
        const socket = new WebSocket(url, { ca: tls.ca });
        socket.on("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
        socket.on("error", () => {});
      });
      expect(refused).toBe(401);
    } finally {
      await control.close();
      serial.close();
    }
  });
});
