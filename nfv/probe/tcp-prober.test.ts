import { describe, expect, it } from "vitest";
import {
  encodeIpv4,
  encodeTcp,
  IPPROTO_TCP,
  parseEthernet,
  parseIpv4,
  parseTcp,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
} from "../../base/wire/index.js";
import { TcpProber } from "./tcp-prober.js";

const source = {
  address: 0x0a0a0065,
  mac: Uint8Array.of(2, 0, 0, 0, 0, 100),
  intervalMs: 1000,
  timeoutMs: 400,
};
const target = { address: 0x0a0a0002, mac: Uint8Array.of(2, 0, 0, 0, 0, 2), port: 80 };

function start() {
  const prober = new TcpProber();
  const reports: [boolean, string][] = [];
  const frames: Uint8Array[] = [];
  prober.configure(source, [target], (_, good, reason) => reports.push([good, reason]));
  const tick = (nowMs: number) => prober.tick(nowMs, (frame) => frames.push(frame));
  const last = () => {
    const ip = parseIpv4(parseEthernet(frames.at(-1) as Uint8Array).payload);
    return parseTcp(ip.payload, ip);
  };
  const answer = (flags: number, acknowledgment: number, nowMs: number, from = target.address) => {
    const syn = last();
    const pair = { source: from, destination: source.address };
    const payload = encodeTcp(
      { sourcePort: target.port, destinationPort: syn.sourcePort, sequence: 7, acknowledgment, flags },
      pair,
    );
    const packet = encodeIpv4({ ...pair, protocol: IPPROTO_TCP, payload });
    prober.receive(new DataView(packet.buffer), 0, 20, nowMs, (frame) => frames.push(frame));
  };
  return { reports, frames, tick, last, answer };
}

describe("TcpProber", () => {
  it("calls a SYN-ACK good and resets the half-open connection", () => {
    const { reports, tick, last, answer } = start();
    tick(10);
    const syn = last();
    expect(syn).toMatchObject({ destinationPort: 80, flags: TCP_SYN });
    answer(TCP_SYN | TCP_ACK, (syn.sequence + 1) >>> 0, 25);
    expect(reports).toEqual([[true, "answered in less than 100 ms"]]);
    expect(last()).toMatchObject({
      flags: TCP_RST,
      sequence: (syn.sequence + 1) >>> 0,
      sourcePort: syn.sourcePort,
    });
  });

  it("calls a reset and silence bad, and probes again after the interval", () => {
    const { reports, frames, tick, last, answer } = start();
    tick(0);
    answer(TCP_RST | TCP_ACK, (last().sequence + 1) >>> 0, 5);
    tick(999);
    expect(frames).toHaveLength(1);
    tick(1000);
    expect(frames).toHaveLength(2);
    tick(1400);
    expect(reports).toEqual([
      [false, "port 80 refuses connections"],
      [false, "no answer within 400 ms"],
    ]);
  });

  it("ignores answers that no probe is waiting for", () => {
    const { reports, tick, last, answer } = start();
    tick(0);
    answer(TCP_SYN | TCP_ACK, last().sequence, 5);
    answer(TCP_SYN | TCP_ACK, (last().sequence + 1) >>> 0, 5, 0x0a0a0003);
    expect(reports).toEqual([]);
  });
});
