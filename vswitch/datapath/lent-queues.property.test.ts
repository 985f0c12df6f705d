// Queues of one guest served by another port worker than its connection: all in this thread, so that every interleaving
// of workers can be had.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { closeFile, createMemfd } from "../../base/linux/index.js";
import { arenaSizeOf, MemoryPort, PacketPool, SLOT_SIZE, sharedPoolSize } from "../../base/packet/index.js";
import { GuestWindow, VIRTIO_RING_F_EVENT_IDX } from "../../base/virtio/index.js";
import { acceptGuest, EVENT_INDEX, type FakeGuest, IN_ORDER, MERGEABLE, PACKED } from "../port/fake-guest.js";
import {
  createHomeward,
  createLoanMemory,
  createPortLane,
  createWorkerLane,
  type LentPort,
  type PortLane,
  RemotePort,
  SlotBank,
  serveLoan,
  VhostUserPort,
  WORKER_GONE,
} from "../port/index.js";
import { numberedFrame } from "../testing/frames.js";
import { apply, field, flowMod, output } from "../testing/rig.js";
import { Datapath } from "./index.js";
import { PortHost } from "./port-host.js";
import { addInlet, removeInlet } from "./served-elsewhere.js";

const SHARE = 256;
const SLOTS = 3 * SHARE;
const PAIRS = 3;
const WINDOW_SIZE = 64 << 20;
/** Of the number in a frame, the pair that it was sent by. */
const PAIR_SHIFT = 20;

/** A worker that forwards, the owner of a guest's connection (0), and another port worker (1), which has the other port. */
class Rig {
  readonly dir = mkdtempSync("/tmp/pl-lq-");
  readonly windows = [0, 1, 2].map(() => new GuestWindow(WINDOW_SIZE));
  readonly arenaFd = createMemfd("packets", SLOTS * SLOT_SIZE);
  readonly pools: PacketPool[];
  readonly workerLanes = [createWorkerLane(1024), createWorkerLane(1024)];
  readonly banks: SlotBank[];
  readonly hosts: PortHost[];
  readonly datapath: Datapath;
  readonly port: VhostUserPort;
  readonly sink: MemoryPort;
  readonly lanes = [createPortLane(2), createPortLane(2)];
  guest!: FakeGuest;
  nowMs = 1000;
  loan: { lane: PortLane; queues: LentPort } | undefined;
  /** By pair, how many frames were sent. */
  readonly sent = new Array<number>(PAIRS).fill(0);
  readonly received: number[][] = Array.from({ length: PAIRS }, () => []);
  loans = 0;

  constructor() {
    const shared = new SharedArrayBuffer(sharedPoolSize(SLOTS, 0));
    const sizeBytes = arenaSizeOf(SLOTS, 0);
    this.pools = this.windows.map((window, i) => {
      const arenaOffset = window.reserveShared(this.arenaFd, sizeBytes);
      return new PacketPool({ slots: SLOTS, arena: window.bytes, arenaOffset, shared, isFull: i === 0 });
    });
    const [pool] = this.pools as [PacketPool];
    const homeward = createHomeward(2, 1024);
    const share = { share: SHARE, largeShare: 0 };
    this.banks = this.workerLanes.map((lane, place) => new SlotBank({ pool, lane, place, ...share }));
    this.hosts = this.workerLanes.map(
      (lane, place) => new PortHost({ pool: this.pools[place + 1]!, lane, place, homeward, ...share }),
    );
    const [owner, other] = this.hosts as [PortHost, PortHost];
    // What a thread of its own would do while the owner waits.
    owner.returnRecalled = () => other.returnRecalled();
    this.datapath = new Datapath({ pool, connectionsMax: 1024, onEvents: () => undefined });
    const bridge = this.datapath.addBridge("br0");
    owner.balance();
    other.balance();
    const path = join(this.dir, "q");
    this.port = new VhostUserPort({
      ...{ name: "vm", pool: this.pools[1]!, window: this.windows[1]!, path, role: "dial" },
    });
    this.sink = new MemoryPort({ name: "sink", pool: this.pools[2]! });
    for (const [place, port] of [this.port, this.sink].entries()) {
      const lane = this.lanes[place]!;
      this.hosts[place]!.add(port, lane);
      this.hosts[1 - place]!.meet(place, this.workerLanes[place]!, lane);
      const remote = new RemotePort({ name: port.name, lane, bank: this.banks[place]! });
      const mac = Uint8Array.of(2, 0, 0, 0, 0, place);
      bridge.addPort({ port: remote, ofport: place + 1, mac, mtu: 1500, nowMs: 0 });
    }
    bridge.change(flowMod({ match: [field("in_port", 1)], instructions: [apply(output(2))] }), 0);
  }

  async connect(features: bigint): Promise<void> {
    const tick = (): void => this.breathe();
    this.guest = await acceptGuest(join(this.dir, "q"), tick, { pairs: PAIRS, ringSize: 32, features });
    await this.guest.start();
    while (!this.port.linkUp) this.breathe();
  }

  /** Who breathes: 0 and 1 the port workers, 2 the one that forwards. */
  breathe(who: readonly number[] = [0, 1, 2]): void {
    this.nowMs += 1;
    for (const one of who) [...this.hosts, this.datapath][one]!.breathe(this.nowMs);
    for (const frame of this.sink.takeSent()) {
      const number = new DataView(frame.buffer, frame.byteOffset).getUint32(60);
      this.received[number >>> PAIR_SHIFT]!.push(number & ((1 << PAIR_SHIFT) - 1));
    }
  }

  async send(pair: number, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const frame = numberedFrame((pair << PAIR_SHIFT) | this.sent[pair]!++);
      await this.guest.send(frame, () => this.breathe(), pair);
    }
  }

  get #modules() {
    const { datapath, banks } = this;
    return { datapath, banks, watch: () => undefined, unwatch: () => undefined, factory: undefined as never };
  }

  get #slot() {
    return this.datapath.bridge("br0").slots[0]!;
  }

  /** As queue-spread.ts. */
  async lend(pairs: readonly number[]): Promise<void> {
    await this.gather();
    const lane = createPortLane(2, this.lanes[0]!.wakeFd);
    const memory = createLoanMemory();
    addInlet(this.#modules, this.#slot, { worker: 1, lane });
    const lent = this.hosts[0]!.lendQueues("vm", pairs, memory, this.workerLanes[1]!, lane.state);
    if (lent === undefined) {
      removeInlet(this.#modules, this.#slot, lane.id, () => this.nowMs);
      return;
    }
    const [pool, window] = [this.pools[2]!, this.windows[2]!];
    const queues = serveLoan({ name: "vm", pool, window, memory, loan: lent.loan });
    const behind = { state: new Int32Array(this.lanes[0]!.state), handed: lent.handed };
    this.hosts[1]!.add(queues, lane, [behind]);
    this.loan = { lane, queues };
    this.loans++;
  }

  /** `between`: what happens while the threads are told one after the other. */
  async gather(between?: () => Promise<void>): Promise<void> {
    this.hosts[0]!.recallQueues("vm");
    await between?.();
    if (this.loan === undefined) return;
    this.hosts[1]!.forget("vm");
    removeInlet(this.#modules, this.#slot, this.loan.lane.id, () => this.nowMs);
    this.loan = undefined;
  }

  /** Has the pair served by the other worker, if it is not, else by the owner, in the middle of what the guest sends. */
  async swap(pair: number, count: number): Promise<void> {
    const isLent = this.loan?.queues.queuesInUse.has(pair) === true;
    await this.send(pair, count);
    this.breathe([isLent ? 1 : 0]);
    if (isLent) {
      await this.gather(async () => {
        await this.send(pair, count);
        this.breathe([0]);
      });
    } else {
      await this.lend([pair]);
      await this.send(pair, count);
      this.breathe([1]);
    }
    this.breathe([2, 1]);
  }

  get packets(): number {
    return this.pools.reduce((sum, { available }) => sum + available, 0);
  }

  settle(): void {
    for (let i = 0; i < 30; i++) this.breathe();
  }

  close(): void {
    this.guest?.close();
    this.datapath.close();
    for (const host of this.hosts) host.close();
    for (const { wakeFd } of this.lanes) closeFile(wakeFd);
    for (const { doorbell } of this.workerLanes) closeFile(doorbell);
    closeFile(this.arenaFd);
    for (const window of this.windows) window.close();
    rmSync(this.dir, { recursive: true });
  }
}

const LAYOUTS = {
  split: MERGEABLE,
  "split, event index": EVENT_INDEX,
  packed: PACKED,
  "packed, event index, in order": PACKED | (1n << BigInt(VIRTIO_RING_F_EVENT_IDX)) | IN_ORDER,
};

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ send: fc.nat(PAIRS - 1), count: fc.integer({ min: 1, max: 40 }) }) },
  { weight: 6, arbitrary: fc.record({ who: fc.array(fc.nat(2), { minLength: 1, maxLength: 4 }) }) },
  { weight: 3, arbitrary: fc.record({ lend: fc.constantFrom([1], [2], [1, 2], [0]) }) },
  { weight: 1, arbitrary: fc.constant({ gather: true as const }) },
  // The guest changes something: the owner gets its queues back by itself.
  {
    weight: 2,
    arbitrary: fc.record({ guest: fc.constantFrom("memory" as const, "ring" as const, "stop" as const) }),
  },
  { weight: 1, arbitrary: fc.constant({ change: true as const }) },
  // Frames before and behind a change of hands, which wait to be judged.
  {
    weight: 4,
    arbitrary: fc.record({ swap: fc.constantFrom(1, 2), count: fc.integer({ min: 1, max: 12 }) }),
  },
);

describe("queues that another worker serves", () => {
  it.each(Object.entries(LAYOUTS))(
    "%s: no frame of the guest is lost, doubled or overtaken in its queue, whoever serves it when",
    async (_, features) => {
      let [loans, back] = [0, 0];
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 40 }), async (steps) => {
          const rig = new Rig();
          try {
            await rig.connect(features);
            for (const one of steps) {
              if ("send" in one) await rig.send(one.send, one.count);
              else if ("who" in one) rig.breathe(one.who);
              else if ("lend" in one) await rig.lend(one.lend);
              else if ("gather" in one) await rig.gather();
              else if ("swap" in one) await rig.swap(one.swap, one.count);
              else if ("change" in one) {
                // What is published is taken back from both workers.
                const flow = flowMod({
                  priority: 7,
                  match: [field("in_port", 1)],
                  instructions: [apply(output(2))],
                });
                rig.datapath.bridge("br0").change(flow, rig.nowMs);
              } else {
                const wasLent = rig.loan !== undefined;
                const { frontEnd } = rig.guest;
                if (one.guest === "memory") frontEnd.shareMemory();
                else if (one.guest === "ring") frontEnd.enableRing(3, true);
                else {
                  const base = await frontEnd.stopRing(3);
                  frontEnd.restartRing(3, base);
                  frontEnd.enableRing(3, true);
                }
                for (let i = 0; i < 8; i++) rig.breathe();
                if (wasLent) {
                  expect(rig.loan!.queues.queuesInUse.size).toBe(0);
                  back++;
                }
              }
            }
            rig.settle();
            expect(rig.received).toEqual(rig.sent.map((count) => Array.from({ length: count }, (_, n) => n)));
            const [flow] = rig.datapath.bridge("br0").slots;
            expect(flow!.port.stats[0]).toBe(rig.sent.reduce((sum, count) => sum + count, 0));
            await rig.gather();
            rig.settle();
            expect(rig.packets).toBe(SLOTS);
            expect([...rig.port.queuesInUse]).toEqual([
              [0, true],
              [1, true],
              [2, true],
            ]);
            loans += rig.loans;
          } finally {
            rig.close();
          }
        }),
        { numRuns: 25 },
      );
      expect(loans).toBeGreaterThan(10);
      expect(back).toBeGreaterThan(5);
    },
  );

  it("are not lent while what is written is to be noted, and the first one never", async () => {
    const rig = new Rig();
    try {
      await rig.connect(MERGEABLE);
      expect(rig.port.lendableQueues).toBe(0b110);
      await rig.lend([0, 1]);
      expect(rig.loan).toBeUndefined();
      await rig.lend([1]);
      expect(rig.loan).toBeDefined();
      const log = createMemfd("log", 1 << 20);
      const asked = rig.guest.frontEnd.logWrites(log, 1 << 20, true);
      await asked;
      rig.settle();
      expect([rig.loan!.queues.queuesInUse.size, rig.port.lendableQueues]).toEqual([0, 0]);
      await rig.lend([1]);
      expect(rig.loan).toBeUndefined();
      closeFile(log);
    } finally {
      rig.close();
    }
  });

  it("end the guest's connection when the worker that serves them ends in the middle of it", async () => {
    const rig = new Rig();
    try {
      await rig.connect(MERGEABLE);
      await rig.lend([1, 2]);
      Atomics.store(new Int32Array(rig.workerLanes[1]!.state), WORKER_GONE, 1);
      for (let i = 0; i < 8; i++) rig.breathe([0, 2]);
      expect(rig.port.linkUp).toBe(false);
      expect(rig.port.lastError).toBe("the thread that served its queues has ended");
      expect(rig.guest.frontEnd.isClosed()).toBe(true);
    } finally {
      rig.close();
    }
  });
});
