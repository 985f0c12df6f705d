// ICMP health checks on the wire: echo request out, its reply is good, silence is bad. It says that the machine is
// there, not that the service is. Pure: frames in and out, time is a parameter. Source: RFC 792, page 14.
import {
  checksum,
  encodeIcmp,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_SIZE,
  IPPROTO_ICMP,
} from "../../base/wire/index.js";
import { ipFrame } from "./probe-frame.js";
import type { Prober, ProbeSource, ProbeTarget, Report, Send } from "./prober.js";
import { Rounds, took } from "./rounds.js";

interface Echo {
  sequence: number;
}

/** All probes of one function share it; replies are told apart by who sends them and by sequence number. */
const IDENTIFIER = 0x504c;
const PAYLOAD = new TextEncoder().encode("plinth health check");

export class IcmpProber<T extends ProbeTarget = ProbeTarget> implements Prober<T> {
  readonly protocol = IPPROTO_ICMP;
  readonly #rounds = new Rounds<T, Echo>(() => ({ sequence: 0 }));
  #source: ProbeSource | undefined;
  #turn = 0;

  configure(source: ProbeSource, targets: readonly T[], report: Report<T>): void {
    this.#source = source;
    this.#rounds.configure(targets, report);
  }

  tick(nowMs: number, send: Send): void {
    const source = this.#source;
    if (source === undefined) return;
    this.#rounds.tick(nowMs, source, ({ target, state }) => {
      this.#turn = (this.#turn + 1) & 0xffff;
      state.sequence = this.#turn;
      const rest = ((IDENTIFIER << 16) | state.sequence) >>> 0;
      const echo = encodeIcmp({ type: ICMP_ECHO_REQUEST, code: 0, rest, payload: PAYLOAD });
      send(ipFrame(source, target, IPPROTO_ICMP, echo));
    });
  }

  receive(view: DataView, ip: number, headerSize: number, nowMs: number): void {
    const icmp = ip + headerSize;
    const size = view.getUint16(ip + 2) - headerSize;
    if (size !== ICMP_SIZE + PAYLOAD.byteLength || view.getUint16(icmp) !== ICMP_ECHO_REPLY << 8) return;
    if (view.getUint16(icmp + 4) !== IDENTIFIER) return;
    const sequence = view.getUint16(icmp + 6);
    const round = this.#rounds.find(view.getUint32(ip + 12), ({ state }) => state.sequence === sequence);
    if (round === undefined) return;
    if (checksum(new Uint8Array(view.buffer, view.byteOffset + icmp, size), 0, size) !== 0) return;
    this.#rounds.end(round, true, `answered ${took(round, nowMs)}`);
  }
}
