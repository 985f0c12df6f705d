// The NBD server's poll loop: listeners, connections and exports on raw sockets, in one thread.
//
//   breath:  epoll_wait ─► accept / receive ─► parse ─► commit each touched device ─► finish ─► flush queue ─► send
//
// One commit and at most one flush serve all connections of a breath. Invariant: a reply is sent only after the commit
// (and, for FLUSH and FUA, the sync) that it speaks of. Thread: the pool's worker. Hot: yes.
import {
  closeFile,
  EAGAIN,
  EINTR,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  type Epoll,
  setSocketBuffers,
  sysAccept,
  sysReceive,
  sysSend,
  tuneTcp,
} from "../../base/linux/index.js";
import {
  CONNECTIONS_MAX,
  CONNECTIONS_PER_SOCKET_MAX,
  NBD_HANDSHAKE_MS,
  REPLY_QUEUE_BYTES_MAX,
} from "../limits.js";
import { HOP_ANSWER, HOP_APPEND, HOP_QUEUE, HOP_SEND, HopTimes } from "../metrics/hop-times.js";
import type { AwaitedReads } from "../volume/awaited-reads.js";
import type { BlockDevice } from "../volume/block-device.js";
import { type FlushQueue, FlushRounds, type FlushWaiter, type Syncer } from "./flush-rounds.js";
import { Connection, type ExportSource, type Listener } from "./nbd-connection.js";
import { askForClients, type NbdPlace, openListener, removeSocket } from "./nbd-listener.js";
import type { TlsMode } from "./nbd-session.js";
import { INPUT_SIZE, NbdTransmission } from "./nbd-transmission.js";
import { ReadingConnections } from "./reading-connections.js";

const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;

export class NbdServer implements FlushQueue {
  readonly #epoll: Epoll;
  readonly #listeners = new Map<number, Listener>();
  readonly #connections = new Map<number, Connection>();
  readonly #touched: Connection[] = [];
  /** Connections whose volumes are at their limits. */
  #throttled: Connection[] = [];
  readonly #servedLast: Connection[] = [];
  readonly #reading = new ReadingConnections();
  readonly #sendAnswers = (connection: Connection): void => {
    this.#send(connection);
    // It may have been kept from asking for more.
    if (!connection.closed && connection.transmission!.hungry) this.#parse(connection);
  };
  readonly times = new HopTimes();
  readonly #flushes: FlushRounds;
  #nowMs = 0;
  /** A pool is being opened anew: who connects now would find less than there is. */
  #holding = false;
  /** Some connection may have a write that waits for room. */
  hasStalled = false;
  /** Clients of other fronts, which an inline sync would keep waiting, too. */
  otherClients = 0;
  acceptedCount = 0;
  refusedCount = 0;
  /** Requests of the last breath. */
  breathRequests = 0;

  readonly #awaited: AwaitedReads | undefined;

  /** `awaited`: where reads of the exports wait for the disks by themselves, if anywhere. */
  constructor(epoll: Epoll, syncer: Syncer, awaited?: AwaitedReads) {
    this.#epoll = epoll;
    this.#awaited = awaited;
    this.#flushes = new FlushRounds(
      syncer,
      this.times,
      () => this.#connections.size + this.otherClients <= 1,
      (waiters) => this.#sendAll(waiters),
    );
  }

  /**
   * Serves `exports` at `place` under `name`; returns the port, 0 when it has none. Throws EADDRINUSE and
   * SOCKET_PATH_TOO_LONG.
   */
  listen(name: string, place: NbdPlace, exports: ExportSource, tls: TlsMode): number {
    const { fd, port } = openListener(place);
    this.#listeners.set(fd, { name, place, fd, exports, tls, connections: 0 });
    this.#epoll.add(fd, EPOLLIN);
    return port;
  }

  /** Stops listening, ends the connections that came that way, and removes the socket. */
  unlisten(name: string): void {
    const listener = this.#listener(name);
    if (listener === undefined) return;
    this.#listeners.delete(listener.fd);
    this.#epoll.remove(listener.fd);
    closeFile(listener.fd);
    if (listener.place.kind === "unix") removeSocket(listener.place.path);
    this.#closeWhere((connection) => connection.listener === listener);
  }

  isListening(name: string): boolean {
    return this.#listener(name) !== undefined;
  }

  #listener(name: string): Listener | undefined {
    return [...this.#listeners.values()].find((listener) => listener.name === name); // cold
  }

  /** Ends every connection that uses `device`, under whatever name. */
  disconnect(device: BlockDevice): void {
    this.#closeWhere((connection) => connection.transmission?.export.device === device);
  }

  /** Clients that use `device` wait from now on; what they have asked for already is answered. New ones wait in the backlog. */
  park(device: BlockDevice): void {
    this.#holding = true;
    askForClients(this.#epoll, this.#listeners.keys(), false);
    const chosen = this.#where((connection) => connection.transmission?.export.device === device);
    for (let i = 0; i < chosen.length; i++) {
      chosen[i]!.parked = true;
      this.#updateInterest(chosen[i]!);
    }
  }

  /** Clients that wait go on with what their export's name stands for now; without one their connections end. */
  unpark(): void {
    this.#holding = false;
    askForClients(this.#epoll, this.#listeners.keys(), true);
    const chosen = this.#where((connection) => connection.parked);
    for (let i = 0; i < chosen.length; i++) {
      const connection = chosen[i]!;
      const target = connection.listener.exports.open(connection.session.negotiated.exportName);
      if (target === undefined || !connection.transmission!.rebind(target)) this.#close(connection);
      else {
        connection.parked = false;
        this.#parse(connection);
      }
    }
  }

  /** Clients that use `device` now. */
  connectionsOf(device: BlockDevice): number {
    return this.#where((connection) => connection.transmission?.export.device === device).length;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Handles a descriptor that epoll reported; false when it is not one of ours. */
  onReady(fd: number, events: number, nowMs: number): boolean {
    this.#nowMs = nowMs;
    const connection = this.#connections.get(fd);
    if (connection !== undefined) {
      if ((events & EPOLLOUT) !== 0) this.#send(connection);
      if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) !== 0 && !connection.closed) this.#receive(connection);
      return true;
    }
    const listener = this.#listeners.get(fd);
    if (listener === undefined) return false;
    this.#accept(listener);
    return true;
  }

  /** Ends a breath: commits, answers, starts a flush, sends. Returns true when requests are left in the buffers. */
  endBreath(): boolean {
    const touched = this.#touched.splice(0);
    this.breathRequests = 0;
    if (touched.length === 0) {
      // Guests of another front may wait for one.
      this.#flushes.start();
      this.#awaited?.look();
      this.sendReads();
      return this.#touched.length > 0;
    }
    const { times } = this;
    times.begin(this.#nowMs);
    let count = 0;
    for (let i = 0; i < touched.length; i++) count += touched[i]!.transmission!.pendingCount;
    this.breathRequests = count;
    times.lap(HOP_QUEUE, count);
    for (let i = 0; i < touched.length; i++) {
      (touched[i]!.transmission as NbdTransmission).export.commit();
    }
    times.lap(HOP_APPEND, count);
    const alone = touched.length === 1 && (this.#awaited?.count ?? 0) === 0;
    const ahead = this.#awaited?.goesAhead() ?? false;
    for (let i = 0; i < touched.length; i++) {
      const connection = touched[i]!;
      connection.parsed = false;
      if (!connection.closed) connection.transmission!.finish(alone, ahead);
    }
    let tried = 0;
    let blocked = 0;
    for (let i = 0; i < touched.length; i++) {
      if (touched[i]!.closed) continue;
      const connection = touched[i]!;
      const { reads } = connection.transmission!;
      connection.transmission!.finishReads();
      if (reads.awaited > 0) this.#reading.note(connection);
      tried += reads.tried;
      blocked += reads.blocked;
    }
    if (tried > 0) this.#awaited?.tried(tried, blocked);
    times.lap(HOP_ANSWER, count);
    for (let i = 0; i < touched.length; i++) {
      touched[i]!.transmission!.export.commitResult = 0;
    }
    this.#flushes.start();
    let more = false;
    for (let i = 0; i < touched.length; i++) {
      const connection = touched[i]!;
      if (connection.closed) continue;
      const { export: target, finishedCount } = connection.transmission!;
      target.share.counters.latency.observe(times.atMs - times.seenMs, finishedCount);
      this.#send(connection);
      if (!connection.closed && connection.transmission!.hungry) {
        this.#parse(connection);
        more = more || connection.parsed;
      }
    }
    times.lap(HOP_SEND, count);
    this.#awaited?.wait();
    this.sendReads();
    return more || this.#touched.length > 0;
  }

  /** The cleaner made room, or gave up: writes that were put off are tried again. */
  retryStalled(): void {
    this.hasStalled = false;
    const stalled = this.#where((connection) => connection.transmission?.stalled === true);
    for (let i = 0; i < stalled.length; i++) this.#parse(stalled[i]!);
  }

  /** Goes on where limits allow it again; how long until they do elsewhere (ms, Infinity: nobody waits). */
  retryThrottled(nowMs: number): number {
    if (this.#throttled.length === 0) return Number.POSITIVE_INFINITY;
    const waiting = this.#throttled;
    this.#throttled = [];
    let waitMs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < waiting.length; i++) {
      const connection = waiting[i]!;
      connection.throttled = false;
      if (connection.closed) continue;
      const transmission = connection.transmission!;
      const { share } = transmission.export;
      if (share.readyMs <= nowMs) {
        const before = transmission.requests;
        this.#parse(connection);
        // Whoever got something is last the next time.
        if (connection.throttled && transmission.requests > before) {
          this.#throttled.pop();
          this.#servedLast.push(connection);
        }
      } else {
        connection.throttled = true;
        this.#throttled.push(connection);
      }
      if (connection.throttled) waitMs = Math.min(waitMs, share.readyMs - nowMs);
    }
    for (let i = 0; i < this.#servedLast.length; i++) this.#throttled.push(this.#servedLast[i]!);
    this.#servedLast.length = 0;
    return waitMs;
  }

  /** Closes clients that neither finished their handshake nor left. */
  expire(nowMs: number): void {
    this.#closeWhere(
      (connection) => connection.transmission === undefined && nowMs - connection.sinceMs > NBD_HANDSHAKE_MS,
    );
  }

  wait(waiter: FlushWaiter, tag: number): void {
    this.#flushes.wait(waiter, tag);
  }

  /** Joins the next flush without being a client: `onSynced` gets 0 or an errno. */
  syncAside(onSynced: (result: number) => void): void {
    this.#flushes.syncAside(onSynced);
  }

  close(): void {
    this.#closeWhere(() => true);
    const listeners = [...this.#listeners.values()]; // cold
    for (let i = 0; i < listeners.length; i++) this.unlisten(listeners[i]!.name);
  }

  /** Sends what reads that waited for disks were answered. */
  sendReads(): void {
    if (this.#awaited?.hasEnded !== true) return;
    this.#awaited.hasEnded = false;
    this.#reading.tell(this.#sendAnswers);
  }

  #sendAll(answered: ReadonlySet<FlushWaiter>): void {
    const connections = this.#where(
      ({ transmission }) => transmission !== undefined && answered.has(transmission),
    );
    for (let i = 0; i < connections.length; i++) this.#sendAnswers(connections[i]!);
  }

  #where(predicate: (connection: Connection) => boolean): Connection[] {
    return [...this.#connections.values()].filter(predicate);
  }

  #closeWhere(predicate: (connection: Connection) => boolean): void {
    const chosen = this.#where(predicate);
    for (let i = 0; i < chosen.length; i++) this.#close(chosen[i]!);
  }

  #accept(listener: Listener): void {
    while (!this.#holding) {
      const fd = sysAccept(listener.fd);
      if (fd < 0) return;
      if (!this.#hasPlace(listener)) {
        this.refusedCount++;
        closeFile(fd);
        continue;
      }
      this.acceptedCount++;
      setSocketBuffers(fd, SOCKET_BUFFER_BYTES);
      if (listener.place.kind !== "unix") tuneTcp(fd);
      const connection = new Connection(fd, listener, this.#nowMs);
      this.#connections.set(fd, connection);
      listener.connections++;
      this.#epoll.add(fd, EPOLLIN);
      this.#handshake(connection);
    }
  }

  /** When all are taken whoever is at its handshake longest goes: clients that say nothing must not keep others out. */
  #hasPlace(listener: Listener): boolean {
    const isFull = listener.connections >= CONNECTIONS_PER_SOCKET_MAX;
    if (!isFull && this.#connections.size < CONNECTIONS_MAX) return true;
    const [oldest] = this.#where(
      (each) => each.transmission === undefined && (!isFull || each.listener === listener),
    );
    if (oldest === undefined) return false;
    this.refusedCount++;
    this.#close(oldest);
    return true;
  }

  #receive(connection: Connection): void {
    const { transmission, input } = connection;
    if (transmission === undefined) {
      const count = sysReceive(
        connection.fd,
        input.address + connection.inputEnd,
        INPUT_SIZE - connection.inputEnd,
      );
      if (this.#ended(connection, count)) return;
      connection.inputEnd += count;
      this.#handshake(connection);
      return;
    }
    if (transmission.largeLeft > 0) {
      const large = transmission.large!;
      const count = sysReceive(connection.fd, large.address + transmission.largeAt, transmission.largeLeft);
      if (this.#ended(connection, count)) return;
      transmission.largeAt += count;
      transmission.largeLeft -= count;
      if (transmission.largeLeft === 0) this.#parse(connection);
      return;
    }
    if (INPUT_SIZE - transmission.inputEnd < INPUT_SIZE / 2) transmission.compact();
    const room = INPUT_SIZE - transmission.inputEnd;
    if (room > 0) {
      const count = sysReceive(connection.fd, input.address + transmission.inputEnd, room);
      if (this.#ended(connection, count)) return;
      transmission.inputEnd += count;
    }
    this.#parse(connection);
  }

  /** True when nothing was received; the connection is closed unless it only has to wait. */
  #ended(connection: Connection, count: number): boolean {
    if (count > 0) return false;
    if (count === -EAGAIN || count === -EINTR) return true;
    if (count === 0 && connection.transmission !== undefined && !connection.peerGone) {
      connection.peerGone = true;
      this.#send(connection);
    } else this.#close(connection);
    return true;
  }

  #parse(connection: Connection): void {
    const transmission = connection.transmission!;
    if (connection.parked || (transmission.full && !transmission.disconnecting)) return;
    const pending = transmission.parse();
    this.hasStalled ||= transmission.stalled;
    const { turn } = transmission;
    if (turn.throttled && !connection.throttled) {
      connection.throttled = true;
      this.#throttled.push(connection);
    }
    if (transmission.broken) {
      this.#close(connection);
      return;
    }
    if ((pending || transmission.disconnecting || turn.later) && !connection.parsed) {
      connection.parsed = true;
      this.#touched.push(connection);
    }
    this.#updateInterest(connection);
  }

  #handshake(connection: Connection): void {
    const { session, input } = connection;
    const output = session.receive(input.bytes.subarray(0, connection.inputEnd)); // cold
    connection.greet(output.replies);
    if (output.state === "closed") connection.closing = true;
    input.bytes.copyWithin(0, output.consumed, connection.inputEnd);
    connection.inputEnd -= output.consumed;
    if (output.state === "transmission") this.#enterTransmission(connection);
    this.#send(connection);
  }

  #enterTransmission(connection: Connection): void {
    const { negotiated } = connection.session;
    const target = connection.listener.exports.open(negotiated.exportName);
    if (target === undefined) {
      connection.closing = true;
      return;
    }
    const transmission = new NbdTransmission(target, connection.input, negotiated, this);
    transmission.inputEnd = connection.inputEnd;
    connection.transmission = transmission;
    if (transmission.inputEnd > 0) this.#parse(connection);
  }

  #send(connection: Connection): void {
    while (connection.greetingStart < connection.greetingEnd) {
      const left = connection.greetingEnd - connection.greetingStart;
      const count = sysSend(connection.fd, connection.greeting!.address + connection.greetingStart, left);
      if (!this.#sent(connection, count)) return;
      connection.greetingStart += count;
    }
    const { transmission } = connection;
    if (transmission !== undefined) {
      const { replies } = transmission;
      while (replies.outputStart < replies.outputEnd) {
        const left = replies.outputEnd - replies.outputStart;
        const count = sysSend(connection.fd, replies.output.address + replies.outputStart, left);
        if (!this.#sent(connection, count)) return;
        replies.outputStart += count;
      }
      replies.reset();
      if (transmission.disconnecting && transmission.idle) connection.closing = true;
      // It may have been kept from asking for more, perhaps since long before the last bytes went.
      if (transmission.hungry) this.#parse(connection);
      // What waits for room or a limit is not done any more: the client may be dead, and another one writing.
      if (connection.peerGone && transmission.idle) connection.closing = true;
    }
    connection.waitsForWrite = false;
    if (connection.closing) this.#close(connection);
    else this.#updateInterest(connection);
  }

  /** False when nothing more can be sent now. */
  #sent(connection: Connection, count: number): boolean {
    if (count > 0) return true;
    if (count === -EAGAIN || count === -EINTR) {
      connection.waitsForWrite = true;
      this.#updateInterest(connection);
      return false;
    }
    this.#close(connection);
    return false;
  }

  /** Reading stops while the client does not read, and while a write waits for room. */
  #updateInterest(connection: Connection): void {
    if (connection.closed) return;
    const { transmission } = connection;
    const blocked =
      transmission === undefined
        ? connection.greetingEnd - connection.greetingStart > REPLY_QUEUE_BYTES_MAX
        : connection.parked || transmission.full || transmission.stalled || transmission.turn.throttled;
    const interest =
      (blocked || connection.peerGone ? 0 : EPOLLIN) | (connection.waitsForWrite ? EPOLLOUT : 0);
    if (interest === connection.interest) return;
    connection.interest = interest;
    this.#epoll.modify(connection.fd, interest);
  }

  #close(connection: Connection): void {
    if (connection.closed) return;
    connection.transmission?.end();
    connection.closed = true;
    connection.listener.connections--;
    this.#connections.delete(connection.fd);
    this.#epoll.remove(connection.fd);
    closeFile(connection.fd);
  }
}
