// Mirrors: copies of selected frames for a port (SPAN) or a VLAN (RSPAN), whatever flows say.
// Source: ovs-vswitchd.conf.db(5), Mirror table. Thread: datapath worker. Hot: yes (ingress, egress).
//
// A frame is offered when it comes in, as it came, and at each port that it leaves by, as it leaves. What a mirror
// sends leaves by a port, too, and is offered again.
// Invariants: a frame that comes in gives each mirror, and each place that mirrors send to, one copy at most; the
// packet that is offered is never changed.
import type { PacketPool } from "../../base/packet/index.js";
import { DROP_NESTING, DROP_NO_BUFFER } from "../flow/index.js";
import { DOT1Q, FrameVlans, TaggedCopies, VID_BITS } from "./frame-vlans.js";
import { isReservedAddress } from "./reserved-addresses.js";
import type { VlanPort } from "./vlan-port.js";

/** Mirrors of one bridge: bits of a mask. */
export const MIRRORS_MAX = 31;
/** Copies of one frame that mirrors of mirrors may queue. */
const WAITING_MAX = 256;

export interface MirrorConfig {
  readonly name: string;
  readonly selectAll: boolean;
  /** Names of ports by which frames come in, and by which they leave. */
  readonly selectSourcePorts: readonly string[];
  readonly selectDestinationPorts: readonly string[];
  /** Empty: frames of every VLAN. */
  readonly selectVlans: readonly number[];
  /** One of the two is given. */
  readonly outputPort: string | undefined;
  readonly outputVlan: number | undefined;
  /** Bytes that are kept of a frame; absent: all. */
  readonly snapLength: number | undefined;
}

export interface MirrorStats {
  readonly name: string;
  readonly packets: number;
  readonly bytes: number;
}

/** A port as mirrors see it; the masks are theirs to write. */
export interface MirrorPort {
  readonly ofport: number;
  readonly port: { readonly name: string };
  readonly vlan: VlanPort;
  readonly forwards: boolean;
  /** Bit n: mirror n selects what comes in here, or leaves here. */
  mirrorsIn: number;
  mirrorsOut: number;
  isMirrorOutput: boolean;
}

export interface MirrorModules {
  readonly pool: PacketPool;
  /** All ports of the bridge; the array may change between packets. */
  readonly ports: readonly MirrorPort[];
  /** Takes one more reference if it keeps the packet. */
  readonly send: (packet: number, port: MirrorPort) => void;
  /** A copy is lost, for this reason. */
  readonly drop: (reason: number) => void;
  /** For traces: instead of send(), for what is to be cut to a length. */
  readonly sendCut?: (packet: number, port: MirrorPort, length: number) => void;
  /** How many tags of a frame are looked at: 1 or 2. */
  readonly tagsRead: number;
}

interface Mirror {
  readonly config: MirrorConfig;
  /** Index VLAN: 1 = selected. */
  readonly vlans: Uint8Array;
  /** Itself and those that send to the same place. */
  readonly same: number;
  output: MirrorPort | null;
  packets: number;
  bytes: number;
}

export class Mirrors {
  readonly #modules: MirrorModules;
  readonly #mirrors: Mirror[] = [];
  readonly #frame = new FrameVlans();
  readonly #copies: TaggedCopies;
  /** Mirrors that have had the frame in hand. */
  #done = 0;
  /** Copies that left by a port that a mirror selects, and wait to be offered. */
  readonly #waitingPackets = new Int32Array(WAITING_MAX);
  readonly #waitingPorts: (MirrorPort | null)[] = new Array<MirrorPort | null>(WAITING_MAX).fill(null);
  #waiting = 0;
  #busy = false;

  /** `before`: the mirrors until now, whose counters go on. */
  constructor(modules: MirrorModules, configs: readonly MirrorConfig[], before?: Mirrors) {
    this.#modules = modules;
    this.#copies = new TaggedCopies(modules.pool);
    const usable = configs.slice(0, MIRRORS_MAX);
    for (let i = 0; i < usable.length; i++) {
      const config = usable[i]!;
      const old = before?.find(config.name);
      const vlans = new Uint8Array(4096).fill(config.selectVlans.length === 0 ? 1 : 0);
      for (let v = 0; v < config.selectVlans.length; v++) vlans[config.selectVlans[v]! & VID_BITS] = 1;
      let same = 0;
      for (let other = 0; other < usable.length; other++)
        if (sameOutput(config, usable[other]!)) same |= 1 << other;
      this.#mirrors.push({
        config,
        vlans,
        same,
        output: null,
        packets: old?.packets ?? 0,
        bytes: old?.bytes ?? 0,
      });
    }
    this.resolve();
  }

  get isEmpty(): boolean {
    return this.#mirrors.length === 0;
  }

  /** Finds the ports by their names anew; to be called when ports come and go. */
  resolve(): void {
    const { ports } = this.#modules;
    for (let p = 0; p < ports.length; p++) {
      const port = ports[p]!;
      port.mirrorsIn = 0;
      port.mirrorsOut = 0;
      port.isMirrorOutput = false;
    }
    for (let m = 0; m < this.#mirrors.length; m++) {
      const mirror = this.#mirrors[m]!;
      const { config } = mirror;
      mirror.output = null;
      for (let p = 0; p < ports.length; p++) {
        const port = ports[p]!;
        const { name } = port.port;
        if (config.selectAll || config.selectSourcePorts.includes(name)) port.mirrorsIn |= 1 << m;
        if (config.selectAll || config.selectDestinationPorts.includes(name)) port.mirrorsOut |= 1 << m;
        if (config.outputPort !== name) continue;
        mirror.output = port;
        port.isMirrorOutput = true;
      }
    }
  }

  /** Whether one of these mirrors selects by VLAN. */
  looksAtVlans(mask: number): boolean {
    for (let m = 0; m < this.#mirrors.length; m++)
      if ((mask & (1 << m)) !== 0 && this.#mirrors[m]!.config.selectVlans.length > 0) return true;
    return false;
  }

  stats(): MirrorStats[] {
    return this.#mirrors.map(({ config, packets, bytes }) => ({ name: config.name, packets, bytes }));
  }

  /** The counters of the mirror of this name. */
  find(name: string): MirrorStats | undefined {
    return this.stats().find((one) => one.name === name);
  }

  /** A new frame is in hand: no mirror has had it. */
  begin(): void {
    this.#done = 0;
  }

  /** Offers a frame that came in by `port`. */
  ingress(packet: number, port: MirrorPort): void {
    this.#offer(packet, port, port.mirrorsIn);
  }

  /** Offers a frame that leaves by `port`. */
  egress(packet: number, port: MirrorPort): void {
    const selecting = port.mirrorsOut & ~this.#done;
    if (selecting === 0) return;
    if (!this.#busy) {
      this.#offer(packet, port, selecting);
      return;
    }
    if (this.#waiting === WAITING_MAX) {
      this.#modules.drop(DROP_NESTING);
      return;
    }
    this.#modules.pool.retain(packet);
    this.#waitingPackets[this.#waiting] = packet;
    this.#waitingPorts[this.#waiting++] = port;
  }

  #offer(packet: number, port: MirrorPort, selecting: number): void {
    this.#busy = true;
    this.#mirror(packet, port, selecting);
    while (this.#waiting > 0) {
      const next = this.#waitingPackets[--this.#waiting]!;
      const at = this.#waitingPorts[this.#waiting]!;
      this.#mirror(next, at, at.mirrorsOut);
      this.#modules.pool.free(next);
    }
    this.#busy = false;
  }

  #mirror(packet: number, port: MirrorPort, selecting: number): void {
    const { pool, tagsRead } = this.#modules;
    const frame = this.#frame;
    if ((selecting & ~this.#done) === 0 || !frame.read(pool, packet, tagsRead)) return;
    // What may not come in by the port is in no VLAN.
    if (!port.vlan.ingress(frame)) return;
    this.#copies.begin(packet, frame);
    const { vlan, outer } = frame;
    for (let m = 0; m < this.#mirrors.length; m++) {
      const mirror = this.#mirrors[m]!;
      if ((selecting & ~this.#done & (1 << m)) === 0 || mirror.vlans[vlan]! === 0) continue;
      this.#done |= mirror.same;
      mirror.packets++;
      mirror.bytes += pool.length[packet]!;
      if (mirror.output !== null) this.#send(mirror.output, mirror.config.snapLength);
      else if (mirror.config.outputVlan !== undefined)
        this.#sendToVlan(packet, mirror.config.outputVlan, mirror);
      frame.vlan = vlan;
      frame.outer = outer;
    }
    this.#copies.end();
  }

  /** Not from the VLAN itself, and no frames of control protocols: either would make a loop. */
  #sendToVlan(packet: number, vlan: number, mirror: Mirror): void {
    const { pool, ports } = this.#modules;
    const frame = this.#frame;
    const start = pool.offset[packet]!;
    if (frame.vlan === vlan) return;
    if (isReservedAddress(pool.view.getInt32(start), pool.view.getUint16(start + 4))) return;
    frame.vlan = vlan;
    frame.outer = (frame.outer === 0 ? DOT1Q << 16 : frame.outer & ~VID_BITS) | vlan;
    for (let p = 0; p < ports.length; p++) {
      const port = ports[p]!;
      if (!port.isMirrorOutput && port.vlan.carries(frame)) this.#send(port, mirror.config.snapLength);
    }
  }

  #send(port: MirrorPort, snapLength: number | undefined): void {
    if (!port.forwards) return;
    const frame = this.#frame;
    const { pool, send, sendCut } = this.#modules;
    const copy = this.#copies.with(port.vlan.outer(frame), port.vlan.inner(frame));
    if (copy < 0) {
      this.#modules.drop(DROP_NO_BUFFER);
      return;
    }
    if (snapLength !== undefined && sendCut !== undefined) {
      sendCut(copy, port, snapLength);
      return;
    }
    if (snapLength === undefined || pool.length[copy]! <= snapLength) {
      send(copy, port);
      return;
    }
    const short = pool.copy(copy);
    if (short < 0) {
      this.#modules.drop(DROP_NO_BUFFER);
      return;
    }
    pool.length[short] = snapLength;
    send(short, port);
    pool.free(short);
  }
}

function sameOutput(a: MirrorConfig, b: MirrorConfig): boolean {
  return a.outputPort !== undefined
    ? a.outputPort === b.outputPort
    : b.outputPort === undefined && a.outputVlan === b.outputVlan;
}
