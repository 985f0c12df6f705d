// Serves ports for the thread that forwards (remote-port.ts): takes frames in, finishes those that it can (fast-path.ts)
// and puts the others into the port's ring, and sends what that one and other port workers have for it (outlet.ts). When
// a ring is full, frames stay with their peer.
// Invariant: after breathe() every packet that came in has left or is in a ring; frames of a flow keep their order.
// Thread: port worker (or a test). Hot: yes (breathe).
import { assert } from "../../base/assert/index.js";
import { drainEventfd, ringEventfd } from "../../base/linux/index.js";
import {
  Batch,
  type HandedPort,
  type PacketPool,
  PORT_STATS_LENGTH,
  type Port,
  SlotRing,
} from "../../base/packet/index.js";
import { VerdictReader } from "../flow/index.js";
import {
  type AnyLoan,
  ASLEEP,
  AWAKE,
  FarPort,
  type Homeward,
  LANE_GENERATION,
  LANE_JUDGED,
  LANE_LEAVES,
  LANE_LINK_UP,
  LANE_OFFLOADS,
  LANE_QUEUES,
  LANE_SLEEP,
  LANE_STATS_AT,
  Neighbour,
  Outlet,
  type PortLane,
  QueueLoan,
  RUNG,
  tellLaneError,
  WORKER_BREATHS,
  WORKER_SLEEP,
  type WorkerLane,
} from "../port/index.js";
import { type Exit, FastPath, type FastPort } from "./fast-path.js";
import { giveUp, type PortThatMoves } from "./give-up.js";
import { BURST_SIZE, LEND_MAX_MS, STOP_MAX_MS, TICK_INTERVAL_MS } from "./limits.js";
import { UsageWindow } from "./port-usage.js";

interface Served extends FastPort {
  readonly port: ServedPort;
  readonly lane: PortLane;
  readonly inward: SlotRing;
  readonly outlet: Outlet;
  readonly stats: Float64Array;
  /** As it was last told. */
  error: string | undefined;
  readonly window: UsageWindow;
  /** Queues of the port that other workers have. */
  loans: readonly Loan[];
  /** What has to be judged before anything is taken in: it came by the same queues, to another worker. */
  behind: readonly Behind[];
}

interface Loan {
  readonly loan: QueueLoan;
  /** Of the lane by which their frames go. */
  readonly state: Int32Array;
}

interface Behind {
  readonly state: Int32Array;
  /** Packets that were put into the lane. */
  readonly handed: number;
}

/** What a port may have beside its contract. */
interface ServedPort extends PortThatMoves {
  readonly lastError?: string;
  discard?(): void;
  /** See VhostUserPort, TapPort and AfxdpPort. */
  readonly lendableQueues?: number;
  readonly generation?: number;
  lendQueues?(pairs: readonly number[], loan: QueueLoan): AnyLoan | undefined;
  recallQueues?(): void;
  /** See LentPort. */
  readonly isRecalled?: boolean;
  giveBack?(handed: number): void;
}

/** See VhostUserPort. */
export interface LendableQueues {
  readonly generation: number;
  /** Bits by queue. */
  readonly queues: number;
}

/** Queues that a worker gives another one to serve. */
export interface LentToWorker {
  readonly loan: AnyLoan;
  /** Packets of the port that have been put into its own lane so far. */
  readonly handed: number;
}

export interface PortHostOptions {
  readonly pool: PacketPool;
  readonly lane: WorkerLane;
  /** Of this worker among the port workers, and what they give back to each other; absent: it is the only one. */
  readonly place?: number;
  readonly homeward?: Homeward;
  /** As SlotBankOptions: what is more than half as much again is returned. */
  readonly share: number;
  readonly largeShare: number;
}

export class PortHost {
  readonly served: Served[] = [];
  /** Those of them that are queues of ports which other workers have. */
  #borrowed: readonly Served[] = [];
  breaths = 0;
  received = 0;
  sent = 0;
  batches = 0;
  readonly fast: FastPath;
  /** Ports by their lanes, those of other workers too. */
  readonly #exits = new Map<number, Exit | FarPort>();
  readonly #place: number;
  readonly #neighbours: readonly Neighbour[];
  readonly #pool: PacketPool;
  readonly #freeMax: number;
  readonly #freeLargeMax: number;
  readonly #empties: SlotRing;
  readonly #returns: SlotRing;
  readonly #state: Int32Array;
  readonly #doorbell: number;
  readonly #batch = new Batch(BURST_SIZE);
  /** What is to leave. */
  readonly #out = new Batch(BURST_SIZE);
  #nowMs = 0;
  #tickMs = Number.NEGATIVE_INFINITY;

  constructor({ pool, lane, place = 0, homeward = [], share, largeShare }: PortHostOptions) {
    this.#pool = pool;
    // What other ports left undone comes from the thread that forwards.
    pool.holdsOffloads = true;
    this.#freeMax = share + (share >> 1);
    this.#freeLargeMax = largeShare + (largeShare >> 1);
    this.#empties = new SlotRing(lane.empties);
    this.#returns = new SlotRing(lane.returns);
    this.#state = new Int32Array(lane.state);
    this.#doorbell = lane.doorbell;
    this.#place = place;
    this.#neighbours = homeward
      .map((_, at) => at)
      .filter((at) => at !== place)
      .map((at) => new Neighbour({ pool, own: place, place: at, homeward, state: this.#state }));
    this.fast = new FastPath({ pool, state: this.#state, find: (id) => this.#exits.get(id) });
  }

  /** To be slept on. */
  get doorbell(): number {
    return this.#doorbell;
  }

  /** Serves the port from now on; what is taken in is to be judged behind `behind`. */
  add(port: Port, lane: PortLane, behind: readonly Behind[] = []): void {
    const { inward, state, verdicts } = lane;
    const one: Served = {
      port,
      lane,
      inward: new SlotRing(inward),
      outlet: new Outlet(lane, this.#neighbours),
      state: new Int32Array(state),
      stats: new Float64Array(state, LANE_STATS_AT, PORT_STATS_LENGTH),
      error: undefined,
      window: new UsageWindow(),
      reader: new VerdictReader(verdicts),
      ...{ handed: 0, waits: false, rests: 0, left: 0 },
      ...{ loans: [], behind },
    };
    this.served.push(one);
    this.#borrowed = this.served.filter((each) => each.port.giveBack !== undefined);
    this.#exits.set(lane.id, this.#exitOf(one));
    this.#tell(one);
  }

  #exitOf(one: Served): Exit {
    const { port } = one;
    return {
      get linkUp() {
        return port.linkUp;
      },
      get offloads() {
        return port.offloads ?? 0;
      },
      send: (batch) => this.#send(one, batch),
    };
  }

  /** The port worker at `place`, with `workerLane`, serves the port of `lane` from now on. */
  meet(place: number, workerLane: WorkerLane, lane: PortLane): void {
    const neighbour = this.#neighbourAt(place);
    neighbour.meet(workerLane);
    if (this.#exits.has(lane.id)) return;
    this.#exits.set(lane.id, new FarPort({ pool: this.#pool, lane, own: this.#place, neighbour }));
  }

  /** No other worker serves a port by this lane any more. */
  dismiss(laneId: number): void {
    if (this.#exits.get(laneId) instanceof FarPort) this.#exits.delete(laneId);
  }

  /** The port worker at `place` has ended. What it had put into rings for this one leaves; the converse is dropped. */
  part(place: number): void {
    const neighbour = this.#neighbourAt(place);
    for (let i = 0; i < this.served.length; i++) this.#sendAll(this.served[i]!);
    const exits = [...this.#exits];
    for (let i = 0; i < exits.length; i++) {
      const [id, exit] = exits[i]!;
      if (!(exit instanceof FarPort) || exit.neighbour !== neighbour) continue;
      exit.takeBack();
      this.#exits.delete(id);
    }
    neighbour.part();
  }

  #neighbourAt(place: number): Neighbour {
    const neighbour = this.#neighbours.find((one) => one.place === place);
    assert(neighbour !== undefined, "a neighbour has a place among the port workers");
    return neighbour;
  }

  /**
   * Has the worker with `workerLane` serve these queues of the port, by a lane with this state; undefined when that
   * cannot be, as things are now.
   */
  lendQueues(
    name: string,
    pairs: readonly number[],
    memory: SharedArrayBuffer,
    workerLane: WorkerLane,
    state: SharedArrayBuffer,
  ): LentToWorker | undefined {
    const one = this.served.find(({ port }) => port.name === name);
    const loan = new QueueLoan({ memory, workerLane, meanwhile: () => this.returnRecalled() });
    if (one === undefined) return undefined;
    this.#drain(one, LEND_MAX_MS, pairs);
    const lent = one.port.lendQueues?.(pairs, loan);
    if (lent === undefined) return undefined;
    one.loans = [...one.loans, { loan, state: new Int32Array(state) }];
    return { loan: lent, handed: one.handed };
  }

  /** No other worker serves queues of the port any more; undefined when it has none that others could serve. */
  recallQueues(name: string): LendableQueues | undefined {
    const one = this.served.find(({ port }) => port.name === name);
    const port = one?.port;
    if (one === undefined || port?.recallQueues === undefined) return undefined;
    port.recallQueues();
    this.#tell(one);
    return { generation: port.generation ?? 0, queues: port.lendableQueues ?? 0 };
  }

  /** Gives back the queues that their owners want; what a port still has at hand comes first, and maybe at the next call. */
  returnRecalled(): void {
    const all = this.#borrowed;
    for (let i = 0; i < all.length; i++) {
      const one = all[i]!;
      if (one.port.isRecalled !== true) continue;
      if (one.port.stop?.() === false) this.#serve(one);
      else one.port.giveBack?.(one.handed);
    }
  }

  /** Queues of a port of another worker are not served any more. What has come in by them stays in the ring. */
  forget(name: string): void {
    const one = this.#take(name);
    one?.port.giveBack?.(one.handed);
    one?.port.close();
  }

  /** Closes the port; what was on its way is dropped. */
  remove(name: string): void {
    const one = this.#take(name);
    if (one === undefined) return;
    one.port.giveBack?.(one.handed);
    one.port.discard?.();
    one.port.close();
    // The ends of its rings are nobody else's any more.
    const inward = new SlotRing(one.lane.inward);
    for (let packet = inward.take(); packet >= 0; packet = inward.take()) this.#pool.free(packet);
    inward.release();
    one.outlet.freeAll(this.#pool);
  }

  /**
   * Stops serving the port; undefined when it had to be closed, or there is none. What has come in is in the ring, what
   * has not left yet in the other one; what other port workers had for it has left.
   */
  giveUp(name: string): HandedPort | undefined {
    const one = this.served.find(({ port }) => port.name === name);
    if (one === undefined) return undefined;
    this.#drain(one, STOP_MAX_MS);
    Atomics.store(one.state, LANE_LEAVES, 1);
    for (let i = 0; i < this.#neighbours.length; i++) this.#neighbours[i]!.awaitPass();
    this.#sendAll(one);
    one.stats.set(one.port.stats);
    this.#take(name);
    return giveUp(one.port);
  }

  /** Has the port take no more by these queues, or by any, than it has at hand, and takes that, as long as it may. */
  #drain(one: Served, maxMs: number, queues?: readonly number[]): void {
    const untilMs = performance.now() + maxMs; // cold
    while (one.port.stop?.(queues) === false && performance.now() < untilMs) this.#serve(one); // cold
  }

  #take(name: string): Served | undefined {
    const at = this.served.findIndex(({ port }) => port.name === name);
    if (at < 0) return undefined;
    this.#exits.delete(this.served[at]!.lane.id);
    const [one] = this.served.splice(at, 1);
    this.#borrowed = this.served.filter(({ port }) => port.giveBack !== undefined);
    return one;
  }

  /** One round over all ports; returns how many packets came in or went out. */
  breathe(nowMs: number): number {
    this.#nowMs = nowMs;
    this.breaths++;
    this.#state[WORKER_BREATHS] = this.breaths | 0;
    if (nowMs - this.#tickMs >= TICK_INTERVAL_MS) this.tick(nowMs);
    this.balance();
    this.returnRecalled();
    let moved = 0;
    for (let i = 0; i < this.served.length; i++) moved += this.#serve(this.served[i]!);
    return moved;
  }

  #serve(one: Served): number {
    let moved = this.#sendSome(one);
    if (one.loans.length > 0) lookAtLoans(one);
    if (one.behind.length > 0) lookBehind(one);
    if (one.behind.length === 0 && (!one.waits || this.fast.isAlone(one))) {
      one.waits = false;
      moved += this.#receive(one);
    }
    if (moved > 0) one.stats.set(one.port.stats);
    return moved;
  }

  #receive(one: Served): number {
    const batch = this.#batch;
    const { port, inward } = one;
    if (inward.room(BURST_SIZE) < BURST_SIZE) return 0;
    const received = port.rx(batch);
    if (received === 0) return 0;
    this.received += received;
    this.fast.forward(one, batch, this.#nowMs);
    for (let i = 0; i < this.#neighbours.length; i++) this.#neighbours[i]!.wake();
    const count = batch.length;
    if (count === 0) return received;
    for (let i = 0; i < count; i++) inward.put(batch.packets[i]!);
    batch.length = 0;
    inward.publish();
    one.handed = (one.handed + count) | 0;
    wake(one);
    return received;
  }

  /** A burst of what the thread that judges has put into the ring for the port leaves by it, and all that others have. */
  #sendSome(one: Served): number {
    return one.outlet.look(BURST_SIZE) ? this.#sendDue(one) : 0;
  }

  #sendAll(one: Served): void {
    if (one.outlet.look()) this.#sendDue(one);
  }

  /** Returns how much. */
  #sendDue({ port, outlet }: Served): number {
    const out = this.#out;
    let sent = 0;
    while (outlet.take(out)) {
      sent += out.length;
      this.batches++;
      port.tx(out);
    }
    this.sent += sent;
    return sent;
  }

  /** Sends the batch behind all that is to leave by the port now. */
  #send(target: Served, batch: Batch): void {
    this.#sendAll(target);
    this.sent += batch.length;
    this.batches++;
    target.port.tx(batch);
    target.stats.set(target.port.stats);
  }

  /** Takes in the packets that it is lent, and returns what it has too many of. Before a port is made: it may want some. */
  balance(): void {
    const pool = this.#pool;
    for (let i = 0; i < this.#neighbours.length; i++) this.#neighbours[i]!.settle();
    if (!this.#empties.isEmpty) {
      for (let packet = this.#empties.take(); packet >= 0; packet = this.#empties.take()) pool.adopt(packet);
      this.#empties.release();
    }
    const excess = pool.available - this.#freeMax;
    const excessLarge = pool.availableLarge - this.#freeLargeMax;
    if (excess <= 0 && excessLarge <= 0) return;
    for (let i = 0; i < excess; i++) this.#returns.put(pool.cede(false));
    for (let i = 0; i < excessLarge; i++) this.#returns.put(pool.cede(true));
    this.#returns.publish();
  }

  tick(nowMs: number): void {
    this.#tickMs = nowMs;
    for (let i = 0; i < this.served.length; i++) {
      const one = this.served[i]!;
      one.port.tick(nowMs);
      this.#tell(one);
    }
  }

  /** Says how the port is. */
  #tell(one: Served): void {
    const { port, state } = one;
    one.stats.set(port.stats);
    state[LANE_OFFLOADS] = port.offloads ?? 0;
    state[LANE_QUEUES] = port.lendableQueues ?? 0;
    Atomics.store(state, LANE_GENERATION, port.generation ?? 0);
    const { lastError = "" } = port;
    if (lastError !== one.error) {
      one.error = lastError;
      tellLaneError(one.lane, lastError);
    }
    const linkUp = port.linkUp ? 1 : 0;
    if (Atomics.exchange(state, LANE_LINK_UP, linkUp) !== linkUp) wake(one);
  }

  /** As Datapath.beginSleep(). */
  beginSleep(): boolean {
    Atomics.store(this.#state, WORKER_SLEEP, ASLEEP);
    let ready = this.#empties.isEmpty;
    for (let i = 0; i < this.served.length; i++) {
      const { port, outlet, waits, behind } = this.served[i]!;
      // One that waits may have more, of which it will not tell.
      if (!port.beginSleep() || !outlet.isEmpty || waits || behind.length > 0) ready = false;
    }
    return ready;
  }

  endSleep(): void {
    Atomics.store(this.#state, WORKER_SLEEP, AWAKE);
    drainEventfd(this.#doorbell);
    for (let i = 0; i < this.served.length; i++) this.served[i]!.port.endSleep();
  }

  /** Closes every port. */
  close(): void {
    for (const { port } of [...this.served]) this.remove(port.name); // cold
  }
}

/** Wakes the thread that forwards, if it sleeps. */
function wake({ state, lane }: Served): void {
  if (Atomics.compareExchange(state, LANE_SLEEP, ASLEEP, RUNG) === ASLEEP) ringEventfd(lane.wakeFd);
}

/** Queues that are back are served behind what has come in by them. */
function lookAtLoans(one: Served): void {
  if (one.loans.every(({ loan }) => !loan.isOver)) return;
  const over = one.loans.filter(({ loan }) => loan.isOver); // cold
  one.behind = [...one.behind, ...over.map(({ loan, state }) => ({ state, handed: loan.handed }))];
  one.loans = one.loans.filter((each) => !over.includes(each));
}

/** Forgets what has been judged, or will not be any more. */
function lookBehind(one: Served): void {
  one.behind = one.behind.filter(
    ({ state, handed }) =>
      ((Atomics.load(state, LANE_JUDGED) - handed) | 0) < 0 && Atomics.load(state, LANE_LEAVES) === 0,
  ); // cold
}
