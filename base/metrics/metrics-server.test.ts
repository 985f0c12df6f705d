import { mkdtempSync, rmSync, statSync } from "node:fs";
import { type IncomingMessage, type RequestOptions, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { PlinthError } from "../errors/index.js";
import { silentLog } from "../log/index.js";
import { type MetricsServer, openMetricsServer, parseMetricsEndpoint } from "./metrics-server.js";

const servers: MetricsServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function open(read: () => Promise<string>, where = "127.0.0.1:0"): Promise<MetricsServer> {
  const server = await openMetricsServer(parseMetricsEndpoint(where), read, silentLog);
  servers.push(server);
  return server;
}

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: string;
}

function ask(options: RequestOptions): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ path: "/metrics", ...options }, (response: IncomingMessage) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode, type: response.headers["content-type"], body }),
      );
    });
    asked.on("error", reject);
    asked.end();
  });
}

describe("parseMetricsEndpoint()", () => {
  it("takes host and port, an IPv6 address in brackets, and a socket", () => {
    expect(parseMetricsEndpoint("localhost:9475")).toEqual({ kind: "tcp", host: "localhost", port: 9475 });
    expect(parseMetricsEndpoint("[::1]:0")).toEqual({ kind: "tcp", host: "::1", port: 0 });
    expect(parseMetricsEndpoint("unix:/run/m.sock")).toEqual({ kind: "unix", path: "/run/m.sock" });
  });

  it.each(["", "9475", ":9475", "localhost:", "localhost:65536", "::1:80", "unix:", "http://x:1"])(
    "refuses %j",
    (text) => {
      expect(() => parseMetricsEndpoint(text)).toThrow(`"${text}" is no place for metrics`);
    },
  );

  it("throws nothing but PlinthErrors", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseMetricsEndpoint(text);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PlinthError);
        }
      }),
    );
  });
});

describe("openMetricsServer()", () => {
  it("serves one page, to GET and HEAD", async () => {
    const { port } = await open(async () => "a 1\n");
    const type = "text/plain; version=0.0.4; charset=utf-8";
    expect(await ask({ port })).toEqual({ status: 200, type, body: "a 1\n" });
    expect(await ask({ port, path: "/metrics?x=1" })).toMatchObject({ status: 200 });
    expect(await ask({ port, method: "HEAD" })).toEqual({ status: 200, type, body: "" });
    expect(await ask({ port, path: "/" })).toMatchObject({ status: 404, body: "only /metrics is here\n" });
    expect(await ask({ port, method: "POST" })).toMatchObject({ status: 405 });
  });

  it("answers scrapes that come together with one look", async () => {
    let looks = 0;
    const { port } = await open(async () => `look ${++looks}\n`);
    const one = "GET /metrics HTTP/1.1\r\nHost: x\r\n";
    // In one write, so that all have come before the first is answered.
    const socket = connect(port as number, "127.0.0.1");
    socket.write(`${one}\r\n${one}\r\n${one}Connection: close\r\n\r\n`);
    let said = "";
    for await (const chunk of socket) said += String(chunk);
    expect([...said.matchAll(/^look \d/gm)].map(([line]) => line)).toEqual(["look 1", "look 1", "look 1"]);
    expect((await ask({ port })).body).toBe("look 2\n");
  });

  it("says 503 when there are no numbers, and goes on", async () => {
    let isBroken = true;
    const { port } = await open(async () => {
      if (isBroken) throw new Error("not now");
      return "a 1\n";
    });
    expect(await ask({ port })).toMatchObject({ status: 503, body: "there are no numbers now\n" });
    isBroken = false;
    expect(await ask({ port })).toMatchObject({ status: 200 });
  });

  it("listens on a socket that only its owner can reach, and refuses one that is taken", async () => {
    const dir = mkdtempSync("/tmp/pl-met-");
    try {
      const path = join(dir, "m.sock");
      await open(async () => "a 1\n", `unix:${path}`);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect((await ask({ socketPath: path })).body).toBe("a 1\n");
      await expect(open(async () => "", `unix:${path}`)).rejects.toMatchObject({ code: "SOCKET_IN_USE" });
    } finally {
      for (const server of servers.splice(0)) await server.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it("refuses a port that is in use", async () => {
    const { port } = await open(async () => "");
    await expect(open(async () => "", `127.0.0.1:${port}`)).rejects.toMatchObject({
      code: "SOCKET_IN_USE",
      field: "--metrics",
    });
  });
});
