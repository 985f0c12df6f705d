// TCP health checks on the wire: SYN out, SYN-ACK is good (answered with RST, so that no connection is left behind),
// RST or silence is bad. Pure: frames in and out, time is a parameter.
// Source: RFC 9293, sections 3.5 (three-way handshake) and 3.10.7.3.
import {
  ETHERTYPE_IPV4,
  encodeEthernet,
  encodeIpv4,
  encodeTcp,
  IPPROTO_TCP,
  TCP_ACK,
  TCP_RST,
  TCP_SYN,
} from "../../base/wire/index.js";

export interface ProbeSource {
  /** IPv4 as u32. */
  readonly address: number;
  readonly mac: Uint8Array;
  readonly intervalMs: number;
  /** A probe without an answer for this long is bad. At most intervalMs. */
  readonly timeoutMs: number;
}

export interface ProbeTarget {
  readonly address: number;
  readonly mac: Uint8Array;
  readonly port: number;
}

interface Probe<T extends ProbeTarget> {
  readonly target: T;
  nextAtMs: number;
  /** 0: no probe is out. */
  sentAtMs: number;
  localPort: number;
  sequence: number;
}

type Report<T> = (target: T, good: boolean, reason: string) => void;

/** Local ports go round this range (RFC 6335, dynamic ports), so that a late answer does not meet the next probe. */
const PORT_FIRST = 49_152;
const PORT_COUNT = 16_384;

export class TcpProber<T extends ProbeTarget = ProbeTarget> {
  #source: ProbeSource | undefined;
  #report: Report<T> = () => {};
  #probes: Probe<T>[] = [];
  #answers: Uint8Array[] = [];
  #turn = 0;

  /** Takes the new set of targets; those that stay keep their rhythm. */
  configure(source: ProbeSource, targets: readonly T[], report: Report<T>): void {
    this.#source = source;
    this.#report = report;
    this.#probes = targets.map((target) => {
      const same = this.#probes.find(
        (probe) => probe.target.address === target.address && probe.target.port === target.port,
      );
      return same === undefined
        ? { target, nextAtMs: 0, sentAtMs: 0, localPort: 0, sequence: 0 }
        : { ...same, target };
    });
  }

  /** Ends probes that took too long, sends those that are due. Call at least every few tens of milliseconds. */
  tick(nowMs: number, send: (frame: Uint8Array) => void): void {
    const source = this.#source;
    if (source === undefined) return;
    for (const frame of this.#answers.splice(0)) send(frame);
    for (const probe of this.#probes) {
      if (probe.sentAtMs !== 0 && nowMs - probe.sentAtMs >= source.timeoutMs) {
        probe.sentAtMs = 0;
        this.#report(probe.target, false, `no answer within ${source.timeoutMs} ms`);
      }
      if (probe.sentAtMs !== 0 || nowMs < probe.nextAtMs) continue;
      probe.nextAtMs = nowMs + source.intervalMs;
      probe.sentAtMs = Math.max(1, nowMs);
      probe.localPort = PORT_FIRST + (this.#turn++ % PORT_COUNT);
      // Nothing secret: an on-path guest could only spoil the health of its own endpoint.
      probe.sequence = (Math.imul(this.#turn, 0x9e3779b1) ^ Math.round(nowMs)) >>> 0;
      send(segment(source, probe, probe.sequence, TCP_SYN));
    }
  }

  /** Takes a TCP segment that was sent to the source address; `view` holds it with its IPv4 header at `ip`, checked. */
  receive(view: DataView, ip: number, headerSize: number, nowMs: number): void {
    const from = view.getUint32(ip + 12);
    const tcp = ip + headerSize;
    const port = view.getUint16(tcp);
    const localPort = view.getUint16(tcp + 2);
    const probe = this.#probes.find(
      ({ target, sentAtMs, localPort: ours }) =>
        sentAtMs !== 0 && target.address === from && target.port === port && ours === localPort,
    );
    const source = this.#source;
    if (probe === undefined || source === undefined) return;
    const flags = view.getUint8(tcp + 13);
    const acknowledges = (flags & TCP_ACK) !== 0 && view.getUint32(tcp + 8) === (probe.sequence + 1) >>> 0;
    if (!acknowledges) return;
    const tookMs = Math.max(0, Math.round(nowMs - probe.sentAtMs));
    if ((flags & TCP_RST) !== 0) {
      probe.sentAtMs = 0;
      this.#report(probe.target, false, `port ${port} refuses connections`);
    } else if ((flags & TCP_SYN) !== 0) {
      probe.sentAtMs = 0;
      this.#answers.push(segment(source, probe, (probe.sequence + 1) >>> 0, TCP_RST));
      this.#report(probe.target, true, `answered in ${tookMs} ms`);
    }
  }
}

function segment(
  source: ProbeSource,
  probe: Probe<ProbeTarget>,
  sequence: number,
  flags: number,
): Uint8Array {
  const pair = { source: source.address, destination: probe.target.address };
  const payload = encodeTcp(
    { sourcePort: probe.localPort, destinationPort: probe.target.port, sequence, flags, window: 1024 },
    pair,
  );
  return encodeEthernet({
    destination: probe.target.mac,
    source: source.mac,
    etherType: ETHERTYPE_IPV4,
    payload: encodeIpv4({ ...pair, protocol: IPPROTO_TCP, payload, dontFragment: true }),
  });
}
