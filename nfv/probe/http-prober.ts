// HTTP health checks on the wire: a connection of our own, GET, and the status of the answer: 200 to 399 is good.
//
//   connecting ──SYN-ACK──► asking (ACK and GET in one segment) ──status line──► RST, reported
//      │ RST: refused         │ RST, FIN, no HTTP, a status elsewhere: bad
//      └── once per probe, when half of the time is over, the segment of the phase is sent again
//
// Only the status line is read, in order: segments that do not continue what is there are ignored, for the server sends
// them again. Everything is bounded: one request per interval, STATUS_LINE_SIZE bytes kept, RST at every end.
// Pure: frames in and out, time is a parameter. Source: RFC 9293, section 3.10.7; RFC 9112, sections 3 and 4.
import {
  formatIpv4Address,
  IPPROTO_TCP,
  TCP_ACK,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
} from "../../base/wire/index.js";
import { localPortOf, numberOf, tcpFrame } from "./probe-frame.js";
import type { Prober, ProbeSource, ProbeTarget, Report, Send } from "./prober.js";
import { type Round, Rounds, took } from "./rounds.js";

interface Exchange {
  localPort: number;
  /** Our initial sequence number. */
  sequence: number;
  /** "connecting" until the SYN-ACK. */
  phase: "connecting" | "asking";
  /** The next byte we expect of the server. */
  expected: number;
  /** The phase's segment, or that of the one before, was sent again. */
  repeated: boolean;
  request: Uint8Array;
  /** The first bytes of the answer. */
  line: string;
}

/** "HTTP/1.1 200" */
const STATUS_LINE_SIZE = 12;
const STATUS_LINE = /^HTTP\/1\.[01] ([1-5][0-9]{2})$/;
const STATUS_GOOD_MIN = 200;
const STATUS_GOOD_MAX = 399;

export class HttpProber<T extends ProbeTarget = ProbeTarget> implements Prober<T> {
  readonly protocol = IPPROTO_TCP;
  readonly #rounds = new Rounds<T, Exchange>(() => ({
    localPort: 0,
    sequence: 0,
    phase: "connecting",
    expected: 0,
    repeated: false,
    request: new Uint8Array(0),
    line: "",
  }));
  #source: ProbeSource | undefined;
  #turn = 0;

  configure(source: ProbeSource, targets: readonly T[], report: Report<T>): void {
    this.#source = source;
    this.#rounds.configure(targets, report);
  }

  tick(nowMs: number, send: Send): void {
    const source = this.#source;
    if (source === undefined) return;
    const begin = (round: Round<T, Exchange>): void => {
      const { state, target } = round;
      state.localPort = localPortOf(this.#turn);
      state.sequence = numberOf(this.#turn++, nowMs);
      state.phase = "connecting";
      state.repeated = false;
      state.request = encodeRequest(source.path ?? "/", target);
      state.line = "";
      send(current(source, round));
    };
    this.#rounds.tick(nowMs, source, begin, (round) => send(reset(source, round)));
    this.#rounds.forEachOut((round) => {
      if (round.state.repeated || nowMs - round.sentAtMs < source.timeoutMs / 2) return;
      round.state.repeated = true;
      send(current(source, round));
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
    if (round.state.phase === "connecting") this.#connect(source, round, view, tcp, send);
    else this.#read(source, round, view, tcp, ip + view.getUint16(ip + 2), nowMs, send);
  }

  #connect(source: ProbeSource, round: Round<T, Exchange>, view: DataView, tcp: number, send: Send): void {
    const { state, target } = round;
    const flags = view.getUint8(tcp + 13);
    if ((flags & TCP_ACK) === 0 || view.getUint32(tcp + 8) !== (state.sequence + 1) >>> 0) return;
    if ((flags & TCP_RST) !== 0) {
      this.#rounds.end(round, false, `port ${target.port} refuses connections`);
    } else if ((flags & TCP_SYN) !== 0) {
      state.phase = "asking";
      state.expected = (view.getUint32(tcp + 4) + 1) >>> 0;
      send(current(source, round));
    }
  }

  /** Takes a segment that ends at `end`, once connected. */
  #read(
    source: ProbeSource,
    round: Round<T, Exchange>,
    view: DataView,
    tcp: number,
    end: number,
    nowMs: number,
    send: Send,
  ): void {
    const { state } = round;
    const flags = view.getUint8(tcp + 13);
    const from = tcp + (view.getUint8(tcp + 12) >>> 4) * 4;
    if ((flags & TCP_SYN) !== 0 || view.getUint32(tcp + 4) !== state.expected) return;
    if (from < tcp + 20 || from > end) return;
    if ((flags & TCP_RST) !== 0) {
      this.#rounds.end(round, false, "the connection was reset before an answer");
      return;
    }
    for (let at = from; at < end && state.line.length < STATUS_LINE_SIZE; at++) {
      state.line += String.fromCharCode(view.getUint8(at));
    }
    state.expected = (state.expected + end - from) >>> 0;
    if (state.line.length === STATUS_LINE_SIZE) {
      send(reset(source, round));
      this.#judge(round, nowMs);
    } else if ((flags & TCP_FIN) !== 0) {
      send(reset(source, round));
      this.#rounds.end(round, false, "the connection was closed before an answer");
    } else if (end > from) {
      send(acknowledgment(source, round));
    }
  }

  #judge(round: Round<T, Exchange>, nowMs: number): void {
    const status = STATUS_LINE.exec(round.state.line)?.[1];
    if (status === undefined) {
      this.#rounds.end(round, false, "what answered is not HTTP/1");
      return;
    }
    const good = Number(status) >= STATUS_GOOD_MIN && Number(status) <= STATUS_GOOD_MAX;
    this.#rounds.end(round, good, `answered ${status} ${took(round, nowMs)}`);
  }
}

/** The segment of the phase: SYN, or GET with the ACK of the handshake. */
function current(source: ProbeSource, { target, state }: Round<ProbeTarget, Exchange>): Uint8Array {
  const { localPort: sourcePort, sequence } = state;
  if (state.phase === "connecting") return tcpFrame(source, target, { sourcePort, sequence, flags: TCP_SYN });
  return tcpFrame(source, target, {
    sourcePort,
    sequence: (sequence + 1) >>> 0,
    acknowledgment: state.expected,
    flags: TCP_ACK | TCP_PSH,
    payload: state.request,
  });
}

/** Acknowledges all that was read. */
function acknowledgment(source: ProbeSource, { target, state }: Round<ProbeTarget, Exchange>): Uint8Array {
  return tcpFrame(source, target, {
    sourcePort: state.localPort,
    sequence: (state.sequence + 1 + state.request.byteLength) >>> 0,
    acknowledgment: state.expected,
    flags: TCP_ACK,
  });
}

/** Ends the connection, also one that is half open. */
function reset(source: ProbeSource, { target, state }: Round<ProbeTarget, Exchange>): Uint8Array {
  const sent = state.phase === "connecting" ? 0 : state.request.byteLength;
  return tcpFrame(source, target, {
    sourcePort: state.localPort,
    sequence: (state.sequence + 1 + sent) >>> 0,
    flags: TCP_RST,
  });
}

/** `path` is at most HTTP_PATH_MAX bytes, so that the request fits into one segment. */
function encodeRequest(path: string, target: ProbeTarget): Uint8Array {
  const host = `${formatIpv4Address(target.address)}${target.port === 80 ? "" : `:${target.port}`}`;
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    "User-Agent: plinth-health-check",
    "Accept: */*",
    "Connection: close",
  ];
  return new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
}
