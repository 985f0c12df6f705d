// TCP health checks on the wire: SYN out, SYN-ACK is good (answered with RST, so that no connection is left behind),
// RST or silence is bad. Pure: frames in and out, time is a parameter.
// Source: RFC 9293, sections 3.5 (three-way handshake) and 3.10.7.3.
import { IPPROTO_TCP, TCP_ACK, TCP_RST, TCP_SYN } from "../../base/wire/index.js";
import { localPortOf, numberOf, tcpFrame } from "./probe-frame.js";
import type { Prober, ProbeSource, ProbeTarget, Report, Send } from "./prober.js";
import { Rounds, took } from "./rounds.js";

interface Handshake {
  localPort: number;
  sequence: number;
}

export class TcpProber<T extends ProbeTarget = ProbeTarget> implements Prober<T> {
  readonly protocol = IPPROTO_TCP;
  readonly #rounds = new Rounds<T, Handshake>(() => ({ localPort: 0, sequence: 0 }));
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
      state.localPort = localPortOf(this.#turn);
      state.sequence = numberOf(this.#turn++, nowMs);
      send(
        tcpFrame(source, target, { sourcePort: state.localPort, sequence: state.sequence, flags: TCP_SYN }),
      );
    });
  }

  receive(view: DataView, ip: number, headerSize: number, nowMs: number, send: Send): void {
    const source = this.#source;
    const tcp = ip + headerSize;
    const port = view.getUint16(tcp);
    const localPort = view.getUint16(tcp + 2);
    const round = this.#rounds.find(
      view.getUint32(ip + 12),
      ({ target, state }) => target.port === port && state.localPort === localPort,
    );
    if (round === undefined || source === undefined) return;
    const sequence = (round.state.sequence + 1) >>> 0;
    const flags = view.getUint8(tcp + 13);
    if ((flags & TCP_ACK) === 0 || view.getUint32(tcp + 8) !== sequence) return;
    if ((flags & TCP_RST) !== 0) {
      this.#rounds.end(round, false, `port ${port} refuses connections`);
    } else if ((flags & TCP_SYN) !== 0) {
      send(tcpFrame(source, round.target, { sourcePort: localPort, sequence, flags: TCP_RST }));
      this.#rounds.end(round, true, `answered ${took(round, nowMs)}`);
    }
  }
}
