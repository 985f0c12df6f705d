// Every segment here is what a server would send, checksums included; test/conformance checks real ones.
import { describe, expect, it } from "vitest";
import {
  encodeIpv4,
  encodeTcp,
  IPPROTO_TCP,
  parseEthernet,
  parseIpv4,
  parseTcp,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  type TcpFields,
} from "../../base/wire/index.js";
import { HttpProber } from "./http-prober.js";

const source = {
  address: 0x0a0a0065,
  mac: Uint8Array.of(2, 0, 0, 0, 0, 100),
  intervalMs: 1000,
  timeoutMs: 400,
  path: "/healthz",
};
const target = { address: 0x0a0a0002, mac: Uint8Array.of(2, 0, 0, 0, 0, 2), port: 8080 };
const SERVER_ISN = 0xffff_fffe; // Sequence numbers wrap right after the handshake.

function start() {
  const prober = new HttpProber();
  const reports: [boolean, string][] = [];
  const frames: Uint8Array[] = [];
  prober.configure(source, [target], (_, good, reason) => reports.push([good, reason]));
  const send = (frame: Uint8Array) => frames.push(frame);
  const tick = (nowMs: number) => prober.tick(nowMs, send);
  const last = () => {
    const ip = parseIpv4(parseEthernet(frames.at(-1) as Uint8Array).payload);
    return parseTcp(ip.payload, ip);
  };
  let next = SERVER_ISN;
  /** What the server sends next, at `nowMs`; `fields` override. */
  const answer = (flags: number, nowMs: number, text = "", fields: Partial<TcpFields> = {}) => {
    const { sourcePort, sequence, payload, flags: ours } = last();
    const pair = { source: target.address, destination: source.address };
    const bytes = Buffer.from(text);
    const segment = encodeTcp(
      {
        sourcePort: target.port,
        destinationPort: sourcePort,
        sequence: next,
        acknowledgment: (sequence + payload.byteLength + ((ours & TCP_SYN) !== 0 ? 1 : 0)) >>> 0,
        flags,
        payload: bytes,
        ...fields,
      },
      pair,
    );
    const packet = encodeIpv4({ ...pair, protocol: IPPROTO_TCP, payload: segment });
    if (fields.sequence === undefined) {
      next = (next + bytes.byteLength + ((flags & TCP_SYN) !== 0 ? 1 : 0)) >>> 0;
    }
    prober.receive(new DataView(packet.buffer), 0, 20, nowMs, send);
  };
  /** A connected prober whose request is out. */
  const connect = () => {
    tick(10);
    answer(TCP_SYN | TCP_ACK, 20, "", { options: Uint8Array.of(2, 4, 5, 0xb4) });
  };
  return { reports, frames, tick, last, answer, connect };
}

describe("HttpProber", () => {
  it("asks for the path, reads the status, and resets the connection", () => {
    const { reports, frames, tick, last, answer } = start();
    tick(10);
    const syn = last();
    expect(syn).toMatchObject({ destinationPort: 8080, flags: TCP_SYN });
    answer(TCP_SYN | TCP_ACK, 20);
    expect(last()).toMatchObject({
      flags: TCP_ACK | TCP_PSH,
      sequence: (syn.sequence + 1) >>> 0,
      acknowledgment: 0xffff_ffff,
    });
    const asked = Buffer.from(last().payload).toString();
    expect(asked).toMatch(/^GET \/healthz HTTP\/1\.1\r\nHost: 10\.10\.0\.2:8080\r\n[\s\S]*\r\n\r\n$/);
    answer(TCP_ACK, 25);
    answer(TCP_ACK | TCP_PSH, 30, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    expect(reports).toEqual([[true, "answered 200 in less than 100 ms"]]);
    expect(last()).toMatchObject({
      flags: TCP_RST,
      sequence: (syn.sequence + 1 + asked.length) >>> 0,
    });
    expect(frames).toHaveLength(3);
  });

  it.each([
    ["HTTP/1.1 204 No Content", true, "answered 204 in less than 100 ms"],
    ["HTTP/1.0 399", true, "answered 399 in less than 100 ms"],
    ["HTTP/1.1 404 Not Found", false, "answered 404 in less than 100 ms"],
    ["HTTP/1.1 503 Busy", false, "answered 503 in less than 100 ms"],
    ["HTTP/1.1 199 x", false, "answered 199 in less than 100 ms"],
    ["HTTP/2.0 200 OK", false, "what answered is not HTTP/1"],
    ["SSH-2.0-OpenSSH_9.2", false, "what answered is not HTTP/1"],
    ["HTTP/1.1 2\u00000 OK", false, "what answered is not HTTP/1"],
  ])("judges %j", (line, good, reason) => {
    const { reports, answer, connect } = start();
    connect();
    answer(TCP_ACK, 30, line);
    expect(reports).toEqual([[good, reason]]);
  });

  it("reads a status that comes byte by byte, twice, and out of order", () => {
    const { reports, answer, connect } = start();
    connect();
    for (const letter of "HTTP/1.1 20") {
      answer(TCP_ACK, 30, letter);
      answer(TCP_ACK, 30, letter, { sequence: (SERVER_ISN + 1) >>> 0 });
    }
    answer(TCP_ACK, 30, "500", { sequence: 4000 });
    expect(reports).toEqual([]);
    answer(TCP_ACK, 30, "0");
    expect(reports).toEqual([[true, "answered 200 in less than 100 ms"]]);
  });

  it("sends a lost SYN once more, and gives up when the time is over", () => {
    const { reports, frames, tick } = start();
    tick(10);
    for (const nowMs of [100, 210, 300, 409]) tick(nowMs);
    expect(frames).toHaveLength(2);
    expect(frames[1]).toEqual(frames[0]);
    tick(410);
    expect(reports).toEqual([[false, "no answer within 400 ms"]]);
    expect(frames).toHaveLength(3); // The reset.
    tick(1010);
    expect(frames).toHaveLength(4);
  });

  it("sends a lost request once more", () => {
    const { reports, frames, tick, last, answer, connect } = start();
    connect();
    const asked = last();
    tick(210);
    expect(last()).toEqual(asked);
    expect(frames).toHaveLength(3);
    answer(TCP_ACK, 220, "HTTP/1.1 200 OK\r\n");
    expect(reports).toEqual([[true, "answered 200 in less than 1000 ms"]]);
  });

  it("calls a refusal, a reset and an early end bad", () => {
    const refused = start();
    refused.tick(10);
    refused.answer(TCP_RST | TCP_ACK, 12, "", { sequence: 0 });
    expect(refused.reports).toEqual([[false, "port 8080 refuses connections"]]);
    const reset = start();
    reset.connect();
    reset.answer(TCP_RST, 30);
    expect(reset.reports).toEqual([[false, "the connection was reset before an answer"]]);
    const ended = start();
    ended.connect();
    ended.answer(TCP_ACK | TCP_FIN, 30, "HTTP/1");
    expect(ended.reports).toEqual([[false, "the connection was closed before an answer"]]);
    expect(ended.last().flags).toBe(TCP_RST);
  });

  it("ignores a reset that does not fit the connection, and answers to nothing", () => {
    const { reports, answer, connect } = start();
    connect();
    answer(TCP_RST, 30, "", { sequence: 12345 });
    answer(TCP_ACK, 30, "HTTP/1.1 200 OK", { destinationPort: 1 });
    answer(TCP_ACK, 30, "HTTP/1.1 200 OK", { sourcePort: 81 });
    expect(reports).toEqual([]);
  });
});
