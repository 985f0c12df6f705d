// Connection tracking once more, slow and plain: a list of connections, packets as records, every rule as one sentence
// of its source. The tracker of vswitch/conntrack is held against it; it shares no code with it.
//
// It knows what a packet is to its connections, what it looks like afterwards, and what is remembered and how long. Of
// a translated connection's address and port it does not say which, only whether they are ones that may be.
// What lies at the edge of a TCP window is nobody's here: segments are near or far (FAR).
// Source: ovs-fields(7) ct_state, ovs-actions(7) ct, RFC 9293, 5382, 4787, 5508, 792.

export const TRACKED = 0x20;
export const IS_NEW = 0x01;
export const IS_ESTABLISHED = 0x02;
export const IS_RELATED = 0x04;
export const IS_REPLY = 0x08;
export const IS_INVALID = 0x10;
export const IS_SOURCE_TRANSLATED = 0x40;
export const IS_DESTINATION_TRANSLATED = 0x80;

/** No window reaches so far. */
export const FAR = 2 ** 30;

export interface Tuple {
  readonly protocol: "tcp" | "udp" | "icmp" | "other";
  readonly source: string;
  readonly destination: string;
  /** Of ICMP the identifier, of others without ports 0. */
  readonly sourcePort: number;
  /** Of ICMP "request" is 1, "reply" is 2. */
  readonly destinationPort: number;
}

export interface TcpHeader {
  readonly syn?: boolean;
  readonly ack?: boolean;
  readonly fin?: boolean;
  readonly rst?: boolean;
  /** Not wrapped. */
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly size: number;
}

export interface ModelPacket {
  readonly tuple: Tuple;
  readonly tcp?: TcpHeader;
  /** It is an ICMP error about this packet, as its speaker saw it; of the tuple only the addresses count. */
  readonly quoted?: ModelPacket;
}

/** nat(src=…) or nat(dst=…): addresses and, where given, ports that may be chosen. */
export interface ModelNat {
  readonly kind: "source" | "destination";
  readonly addresses: readonly string[];
  readonly ports?: readonly [first: number, last: number];
}

export interface ModelStep {
  readonly zone: number;
  readonly commit: boolean;
  readonly nat?: ModelNat | "existing";
}

type PeerState = "closed" | "syn-sent" | "established" | "closing" | "fin-wait-2" | "time-wait";
const ORDER: readonly PeerState[] = [
  "closed",
  "syn-sent",
  "established",
  "closing",
  "fin-wait-2",
  "time-wait",
];
const past = (state: PeerState, other: PeerState): boolean => ORDER.indexOf(state) >= ORDER.indexOf(other);

export interface ModelConnection {
  readonly zone: number;
  readonly original: Tuple;
  readonly reply: Tuple;
  readonly translated: "source" | "destination" | undefined;
  answered: boolean;
  timeout: string;
  expiresMs: number;
  /** The opener and the other end. */
  readonly peers: readonly [{ state: PeerState; end: number }, { state: PeerState; end: number }];
  readonly pickedUp: boolean;
}

/** How long after a packet that leaves the connection so (ovs-vswitchd.conf.db(5), CT_Timeout_Policy). */
export const TIMEOUTS_MS: Readonly<Record<string, number>> = {
  tcp_syn_sent: 30_000,
  tcp_syn_recv: 30_000,
  tcp_established: 86_400_000,
  tcp_fin_wait: 900_000,
  tcp_time_wait: 45_000,
  tcp_close: 30_000,
  udp_first: 60_000,
  udp_single: 60_000,
  udp_multiple: 30_000,
  icmp_first: 60_000,
  icmp_reply: 30_000,
};

export interface Verdict {
  readonly state: number;
  /** The packet as it goes on; undefined when the action drops it. */
  readonly packet: ModelPacket | undefined;
}

export function inverse(tuple: Tuple): Tuple {
  const turned = { ...tuple, source: tuple.destination, destination: tuple.source };
  if (tuple.protocol === "icmp") return { ...turned, destinationPort: 3 - tuple.destinationPort };
  return { ...turned, sourcePort: tuple.destinationPort, destinationPort: tuple.sourcePort };
}

export const sameTuple = (a: Tuple, b: Tuple): boolean =>
  a.protocol === b.protocol &&
  a.source === b.source &&
  a.destination === b.destination &&
  a.sourcePort === b.sourcePort &&
  a.destinationPort === b.destinationPort;

export class ReferenceTracker {
  #connections: ModelConnection[] = [];

  live(nowMs: number): readonly ModelConnection[] {
    this.#connections = this.#connections.filter(({ expiresMs }) => expiresMs > nowMs);
    return this.#connections;
  }

  /** Whether the sender of such packets has spoken in a connection of the zone. */
  hasSpoken(tuple: Tuple, zone: number, nowMs: number): boolean {
    const found = this.#find(tuple, zone, false, nowMs);
    return found !== undefined && found.connection.peers[found.direction as 0 | 1].state !== "closed";
  }

  /**
   * One ct(). `before` is what an earlier one of this packet has found, with its zone. `chosen` is what the packet looks
   * like afterwards in the tracker that is tried, undefined when it is dropped: the model accepts it or throws.
   */
  ct(
    packet: ModelPacket,
    step: ModelStep,
    before: { readonly state: number; readonly zone: number } | undefined,
    chosen: Tuple | undefined,
    nowMs: number,
  ): Verdict {
    if (packet.quoted !== undefined) return this.#error(packet, packet.quoted, step, nowMs);
    const done =
      before !== undefined &&
      before.zone === step.zone &&
      (before.state & (IS_SOURCE_TRANSLATED | IS_DESTINATION_TRANSLATED)) !== 0;
    const { tcp } = packet;
    if (tcp !== undefined && nonsense(tcp)) return { state: TRACKED | IS_INVALID, packet };
    const found = this.#find(packet.tuple, step.zone, done, nowMs);
    if (found === undefined) return this.#unknown(packet, step, chosen, nowMs);
    const { connection, direction } = found;
    let opening = false;
    if (tcp !== undefined) {
      const { peers } = connection;
      const isSyn = tcp.syn === true && tcp.ack !== true;
      // RFC 9293, 3.10.7: after its end a connection may be opened anew.
      if (isSyn && past(peers[0].state, "fin-wait-2") && past(peers[1].state, "fin-wait-2")) {
        this.#connections = this.#connections.filter((one) => one !== connection);
        return this.#unknown(packet, step, chosen, nowMs);
      }
      opening = isSyn && direction === 0 && !past(peers[0].state, "established");
      if (opening) {
        if (peers[1].state === "closed") peers[0].end = endOf(tcp);
      } else if (!fits(connection, direction, tcp)) {
        const invalid = { state: TRACKED | IS_INVALID };
        return step.nat === undefined ? { ...invalid, packet } : this.#go(packet, invalid.state, found, done);
      } else followTcp(connection, direction, tcp);
    }
    if (direction === 1) connection.answered = true;
    renew(connection, nowMs);
    const established = tcp === undefined ? connection.answered : !opening;
    const state = TRACKED | (established ? IS_ESTABLISHED : IS_NEW) | (direction === 1 ? IS_REPLY : 0);
    return step.nat === undefined ? { state, packet } : this.#go(packet, state, found, done);
  }

  /** The packet as the other side of its connection knows it. */
  #go(
    packet: ModelPacket,
    state: number,
    { connection, direction }: { connection: ModelConnection; direction: number },
    done: boolean,
  ): Verdict {
    if (connection.translated === undefined) return { state, packet };
    const bit = translationBit(connection.translated, direction);
    const tuple = done ? packet.tuple : inverse(direction === 0 ? connection.reply : connection.original);
    return { state: state | bit, packet: { ...packet, tuple } };
  }

  #find(tuple: Tuple, zone: number, translated: boolean, nowMs: number) {
    const look = (wanted: Tuple, turn: number) => {
      for (const connection of this.live(nowMs)) {
        if (connection.zone !== zone) continue;
        if (sameTuple(connection.original, wanted)) return { connection, direction: 0 ^ turn };
        if (sameTuple(connection.reply, wanted)) return { connection, direction: 1 ^ turn };
      }
      return undefined;
    };
    return look(tuple, 0) ?? (translated ? look(inverse(tuple), 1) : undefined);
  }

  #unknown(packet: ModelPacket, step: ModelStep, chosen: Tuple | undefined, nowMs: number): Verdict {
    const { tuple, tcp } = packet;
    // RFC 792: an answer to nothing opens nothing; RFC 9293: neither does a SYN-ACK or a reset.
    if (tuple.protocol === "icmp" && tuple.destinationPort !== 1)
      return { state: TRACKED | IS_INVALID, packet };
    if (tcp !== undefined && (tcp.rst === true || (tcp.syn === true) === (tcp.ack === true)))
      return { state: TRACKED | IS_INVALID, packet };
    if (!step.commit) return { state: TRACKED | IS_NEW, packet };
    const nat = typeof step.nat === "object" ? step.nat : undefined;
    const reply = nat === undefined ? inverse(tuple) : this.#choose(tuple, nat, chosen, step.zone, nowMs);
    if (reply === undefined || this.#taken(reply, step.zone, nowMs))
      return { state: TRACKED | IS_NEW, packet: undefined };
    const isSyn = tcp?.syn === true;
    const connection: ModelConnection = {
      zone: step.zone,
      original: tuple,
      reply,
      translated: nat?.kind,
      answered: false,
      timeout: tcp !== undefined ? "tcp_syn_sent" : tuple.protocol === "icmp" ? "icmp_first" : "udp_first",
      expiresMs: 0,
      pickedUp: tcp !== undefined && !isSyn,
      peers: [
        { state: isSyn ? "syn-sent" : tcp?.fin === true ? "closing" : "established", end: endOf(tcp) },
        { state: "closed", end: 0 },
      ],
    };
    connection.expiresMs = nowMs + (TIMEOUTS_MS[connection.timeout] as number);
    this.#connections.push(connection);
    const bit = nat === undefined ? 0 : translationBit(nat.kind, 0);
    return { state: TRACKED | IS_NEW | bit, packet: { ...packet, tuple: inverse(reply) } };
  }

  #taken(tuple: Tuple, zone: number, nowMs: number): boolean {
    return this.live(nowMs).some(
      (one) => one.zone === zone && (sameTuple(one.original, tuple) || sameTuple(one.reply, tuple)),
    );
  }

  /** The reply tuple of what was chosen. Throws when it may not be, or when nothing was though something is free. */
  #choose(
    tuple: Tuple,
    nat: ModelNat,
    chosen: Tuple | undefined,
    zone: number,
    nowMs: number,
  ): Tuple | undefined {
    const at = (address: string, port: number): Tuple =>
      nat.kind === "source"
        ? inverse({ ...tuple, source: address, sourcePort: port })
        : inverse({ ...tuple, destination: address, destinationPort: port });
    const own = nat.kind === "source" ? tuple.sourcePort : tuple.destinationPort;
    // An identifier is no port: a range of ports does not bind it.
    const range = tuple.protocol === "icmp" ? undefined : nat.ports;
    const [first, last] = range ?? [own, own];
    const keeps = own >= first && own <= last;
    const free = (address: string, port: number): boolean => !this.#taken(at(address, port), zone, nowMs);
    if (chosen === undefined) {
      if (range === undefined && nat.kind === "source") throw new Error("nothing chosen among all ports");
      for (const address of nat.addresses)
        for (let port = first; port <= last; port++)
          if (free(address, port)) throw new Error(`nothing chosen, but ${address}:${port} is free`);
      return undefined;
    }
    const [address, port] =
      nat.kind === "source"
        ? [chosen.source, chosen.sourcePort]
        : [chosen.destination, chosen.destinationPort];
    if (!nat.addresses.includes(address)) throw new Error(`${address} is not among the addresses`);
    // RFC 4787, REQ-1 and 4.2.1: a port stays if it can; one of no range becomes an ephemeral one.
    if (keeps && free(address, own) && port !== own) throw new Error(`port ${own} was free`);
    const inRange = port >= first && port <= last;
    const ephemeral = range === undefined && nat.kind === "source" && !free(address, own);
    if (!inRange && !(ephemeral && (port >= 1024 || tuple.protocol === "icmp")))
      throw new Error(`port ${port} may not be chosen`);
    if (!free(address, port)) throw new Error(`${address}:${port} is taken`);
    return at(address, port);
  }

  /** RFC 5508, 4.2: an error belongs to the connection of what it quotes, and is translated with it. */
  #error(packet: ModelPacket, quoted: ModelPacket, step: ModelStep, nowMs: number): Verdict {
    const invalid = { state: TRACKED | IS_INVALID, packet };
    // RFC 792: it goes to who sent the datagram that it speaks of.
    if (packet.tuple.destination !== quoted.tuple.source) return invalid;
    const found = this.#find(inverse(quoted.tuple), step.zone, false, nowMs);
    if (found === undefined) return invalid;
    const { connection, direction } = found;
    const state = TRACKED | IS_RELATED | (direction === 1 ? IS_REPLY : 0);
    if (step.nat === undefined || connection.translated === undefined) return { state, packet };
    const before = direction === 1 ? connection.original : connection.reply;
    // RFC 5508, REQ-4 and REQ-5: who speaks from behind a translated address speaks by it.
    const behind = before.destination !== quoted.tuple.destination;
    return {
      state: state | translationBit(connection.translated, direction),
      packet: {
        tuple: {
          ...packet.tuple,
          destination: before.source,
          source: behind ? before.destination : packet.tuple.source,
        },
        quoted: { ...quoted, tuple: before },
      },
    };
  }
}

function translationBit(kind: "source" | "destination", direction: number): number {
  return (kind === "source") === (direction === 0) ? IS_SOURCE_TRANSLATED : IS_DESTINATION_TRANSLATED;
}

/** Flags that no TCP sends (RFC 9293, 3.5 and 3.10.7). */
function nonsense({ syn = false, ack = false, fin = false, rst = false }: TcpHeader): boolean {
  if (syn && (fin || rst)) return true;
  if (!syn && !ack && !rst) return true;
  return fin && !ack;
}

/** Whether the segment can be of this connection, for segments that are either near or far. */
function fits({ peers }: ModelConnection, direction: number, tcp: TcpHeader): boolean {
  const own = peers[direction] as { state: PeerState; end: number };
  const other = peers[1 - direction] as { state: PeerState; end: number };
  // Who speaks for the first time chooses its number.
  if (own.state === "closed") return true;
  const isNear = (a: number, b: number): boolean => Math.abs(a - b) < FAR / 2;
  const isCertain =
    past(other.state, "syn-sent") && !past(other.state, "fin-wait-2") && !past(own.state, "fin-wait-2");
  // RFC 9293, 3.10.7.4: what acknowledges something that was never sent is not acceptable.
  if (isCertain && tcp.ack === true && !isNear(tcp.acknowledgment, other.end)) return false;
  // RFC 5961, 3.2: a reset hits the next number; one beside it where an end counts its SYN or FIN otherwise.
  if (tcp.rst === true) return isCertain ? Math.abs(tcp.sequence - own.end) <= 1 : true;
  // RFC 9293, 3.8.4: keep-alives have a number of the past, and no text.
  const empty = tcp.size === 0 && tcp.fin !== true && tcp.syn !== true;
  return empty || isNear(tcp.sequence, own.end);
}

/** The number behind the segment (RFC 9293, 3.4: SYN and FIN count). */
function endOf(tcp: TcpHeader | undefined): number {
  if (tcp === undefined) return 0;
  return tcp.sequence + tcp.size + (tcp.syn === true ? 1 : 0) + (tcp.fin === true ? 1 : 0);
}

function followTcp(connection: ModelConnection, direction: number, tcp: TcpHeader): void {
  const { peers } = connection;
  const own = peers[direction] as { state: PeerState; end: number };
  const other = peers[1 - direction] as { state: PeerState; end: number };
  if (own.state === "closed") {
    own.state = connection.pickedUp && tcp.syn !== true ? "established" : "syn-sent";
    own.end = tcp.sequence;
  }
  // A segment without octets may lie in the past.
  if (endOf(tcp) > tcp.sequence) own.end = Math.max(own.end, endOf(tcp));
  if (tcp.rst === true) {
    own.state = "time-wait";
    other.state = "time-wait";
    return;
  }
  if (tcp.fin === true && !past(own.state, "closing")) own.state = "closing";
  if (tcp.ack !== true) return;
  if (other.state === "syn-sent") other.state = "established";
  else if (other.state === "closing") other.state = "fin-wait-2";
}

function renew(connection: ModelConnection, nowMs: number): void {
  const { protocol } = connection.original;
  const [a, b] = connection.peers.map(({ state }) => state) as [PeerState, PeerState];
  if (protocol === "icmp") connection.timeout = connection.answered ? "icmp_reply" : "icmp_first";
  else if (protocol !== "tcp") connection.timeout = connection.answered ? "udp_multiple" : "udp_single";
  else if (past(a, "fin-wait-2") && past(b, "fin-wait-2")) connection.timeout = "tcp_close";
  else if (past(a, "closing") && past(b, "closing")) connection.timeout = "tcp_time_wait";
  else if (b === "closed") connection.timeout = "tcp_syn_sent";
  else if (a === "syn-sent" || b === "syn-sent") connection.timeout = "tcp_syn_recv";
  else if (past(a, "closing") || past(b, "closing")) connection.timeout = "tcp_fin_wait";
  else connection.timeout = "tcp_established";
  connection.expiresMs = nowMs + (TIMEOUTS_MS[connection.timeout] as number);
}
