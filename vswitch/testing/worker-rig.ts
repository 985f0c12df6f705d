// A datapath with one bridge whose ports other workers serve, all in this thread, for tests of what workers do together.
import { closeFile } from "../../base/linux/index.js";
import { MemoryPort, PacketPool, sharedPoolSize } from "../../base/packet/index.js";
import { type BridgeEvent, Datapath } from "../datapath/index.js";
import { PortHost } from "../datapath/port-host.js";
import {
  createHomeward,
  createPortLane,
  createWorkerLane,
  type Homeward,
  type PortLane,
  RemotePort,
  SlotBank,
  type WorkerLane,
} from "../port/index.js";

/** Packets for each worker. */
export const SHARE = 256;

/** A bridge whose ports are served by `hosts` port workers in turn, or by itself; all in this thread. */
export class Workers {
  readonly pool: PacketPool;
  readonly pools: PacketPool[];
  readonly hosts: PortHost[] = [];
  readonly ports: MemoryPort[] = [];
  readonly lanes: PortLane[] = [];
  readonly banks: SlotBank[] = [];
  readonly datapath: Datapath;
  nowMs = 1000;
  readonly events: BridgeEvent[] = [];
  readonly workerLanes: WorkerLane[] = [];
  readonly homeward: Homeward;
  readonly #shared: SharedArrayBuffer;

  constructor(hosts: number, ports: number) {
    const slots = SHARE * (hosts + 1);
    const shared = new SharedArrayBuffer(sharedPoolSize(slots, 0));
    this.#shared = shared;
    this.pool = new PacketPool({ slots, shared, isFull: true });
    this.pools = [this.pool];
    const homeward = createHomeward(hosts, 1024);
    this.homeward = homeward;
    for (let i = 0; i < hosts; i++) {
      const lane = createWorkerLane(1024);
      this.workerLanes.push(lane);
      const pool = new PacketPool({ slots, shared, arena: this.pool.bytes });
      this.pools.push(pool);
      this.banks.push(new SlotBank({ pool: this.pool, lane, place: i, share: SHARE, largeShare: 0 }));
      this.hosts.push(new PortHost({ pool, lane, place: i, homeward, share: SHARE, largeShare: 0 }));
    }
    this.datapath = new Datapath({
      pool: this.pool,
      connectionsMax: 1024,
      pathCacheEntries: 512,
      onEvents: (_, events) => this.events.push(...events),
    });
    const bridge = this.datapath.addBridge("br0");
    for (let n = 0; n < ports; n++) {
      const at = hosts === 0 ? 0 : n % hosts;
      const port = new MemoryPort({ name: `p${n + 1}`, pool: this.pools[hosts === 0 ? 0 : at + 1]! });
      this.ports.push(port);
      const lane = createPortLane(hosts);
      this.lanes.push(lane);
      this.hosts[at]?.add(port, lane);
      for (const [i, host] of this.hosts.entries()) if (i !== at) host.meet(at, this.workerLanes[at]!, lane);
      bridge.addPort({
        port: hosts === 0 ? port : new RemotePort({ name: port.name, lane, bank: this.banks[at]! }),
        ofport: n + 1,
        mac: Uint8Array.of(2, 0, 0, 0, 0, n + 1),
        mtu: 1500,
        nowMs: 0,
      });
    }
    this.breathe(true);
  }

  /** Until nothing moves any more; `order` says who comes first. */
  breathe(order: boolean): void {
    const all = [...this.hosts, this.datapath];
    if (!order) all.reverse();
    // A port that waits goes on only when it has been told, which may take a turn in which nothing moves.
    for (let quiet = 0; quiet < 2; quiet++)
      for (const one of all) if (one.breathe(this.nowMs) > 0) quiet = -1;
  }

  /** An empty pool for the port worker that is to follow the one at `place`. */
  renew(place: number): PacketPool {
    const { slots, bytes } = this.pool;
    const pool = new PacketPool({ slots, shared: this.#shared, arena: bytes });
    this.pools[place + 1] = pool;
    return pool;
  }

  /** Packets in the pools, and lent to ports that hold them until they are taken. */
  get packets(): number {
    return this.pools.reduce((sum, { available }) => sum + available, 0);
  }

  close(): void {
    this.datapath.close();
    for (const host of this.hosts) host.close();
    for (const { wakeFd } of this.lanes) closeFile(wakeFd);
    for (const { doorbell } of this.workerLanes) closeFile(doorbell);
  }
}
