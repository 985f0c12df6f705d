import { describe, expect, it } from "vitest";
import {
  encodeIcmp,
  encodeIpv4,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_UNREACHABLE,
  type IcmpMessage,
  IPPROTO_ICMP,
  parseEthernet,
  parseIcmp,
  parseIpv4,
} from "../../base/wire/index.js";
import { IcmpProber } from "./icmp-prober.js";

const source = {
  address: 0x0a0a0065,
  mac: Uint8Array.of(2, 0, 0, 0, 0, 100),
  intervalMs: 1000,
  timeoutMs: 400,
};
const web1 = { address: 0x0a0a0002, mac: Uint8Array.of(2, 0, 0, 0, 0, 2), port: 0 };
const web2 = { address: 0x0a0a0003, mac: Uint8Array.of(2, 0, 0, 0, 0, 3), port: 0 };

function start(targets = [web1]) {
  const prober = new IcmpProber();
  const reports: [number, boolean, string][] = [];
  const frames: Uint8Array[] = [];
  prober.configure(source, targets, (target, good, reason) => reports.push([target.address, good, reason]));
  const tick = (nowMs: number) => prober.tick(nowMs, (frame) => frames.push(frame));
  const sent = (index = frames.length - 1) => {
    const { destination, payload } = parseEthernet(frames[index] as Uint8Array);
    const ip = parseIpv4(payload);
    return { mac: destination, to: ip.destination, echo: parseIcmp(ip.payload) };
  };
  const answer = (change: Partial<IcmpMessage>, nowMs: number, from = web1.address, index?: number) => {
    const payload = encodeIcmp({ ...sent(index).echo, type: ICMP_ECHO_REPLY, ...change });
    receive(payload, nowMs, from);
  };
  const receive = (payload: Uint8Array, nowMs: number, from = web1.address) => {
    const packet = encodeIpv4({
      source: from,
      destination: source.address,
      protocol: IPPROTO_ICMP,
      payload,
      options: new Uint8Array(4),
    });
    // Ethernet pads short frames: what lies behind the total length is not the message's.
    const padded = new Uint8Array(packet.byteLength + 9).fill(0xee);
    padded.set(packet);
    prober.receive(new DataView(padded.buffer), 0, 24, nowMs);
  };
  return { reports, frames, tick, sent, answer, receive };
}

describe("IcmpProber", () => {
  it("calls an echo reply good", () => {
    const { reports, tick, sent, answer } = start();
    tick(10);
    expect(sent()).toMatchObject({
      mac: web1.mac,
      to: web1.address,
      echo: { type: ICMP_ECHO_REQUEST, code: 0 },
    });
    answer({}, 25);
    expect(reports).toEqual([[web1.address, true, "answered in less than 100 ms"]]);
  });

  it("calls silence bad, and asks again after the interval under another number", () => {
    const { reports, frames, tick, sent, answer } = start();
    tick(0);
    tick(401);
    expect(reports).toEqual([[web1.address, false, "no answer within 400 ms"]]);
    tick(999);
    expect(frames).toHaveLength(1);
    tick(1000);
    expect(sent(1).echo.rest).not.toBe(sent(0).echo.rest);
    answer({}, 1001, web1.address, 0); // Too late: it answers the first.
    expect(reports).toHaveLength(1);
  });

  it("tells endpoints apart by who answers", () => {
    const { reports, tick, answer } = start([web1, web2]);
    tick(0);
    answer({}, 5, web2.address, 0);
    answer({}, 6, web2.address, 1);
    tick(401);
    expect(reports).toEqual([
      [web2.address, true, "answered in less than 10 ms"],
      [web1.address, false, "no answer within 400 ms"],
    ]);
  });

  it("ignores what is not the answer", () => {
    const { reports, tick, sent, answer, receive } = start();
    tick(0);
    const { echo } = sent();
    answer({ type: ICMP_ECHO_REQUEST }, 1);
    answer({ type: ICMP_UNREACHABLE }, 1);
    answer({ code: 1 }, 1);
    answer({ rest: (echo.rest + 1) >>> 0 }, 1);
    answer({ rest: (echo.rest ^ 0x10000) >>> 0 }, 1);
    answer({ payload: echo.payload.subarray(1) }, 1);
    const wrong = encodeIcmp({ ...echo, type: ICMP_ECHO_REPLY });
    wrong[9] = (wrong[9] as number) ^ 1;
    receive(wrong, 1);
    expect(reports).toEqual([]);
    answer({}, 2);
    expect(reports).toHaveLength(1);
  });
});
