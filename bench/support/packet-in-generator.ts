// Many fake switches that send packet-ins as fast as they are answered with flow-mods. Messages are made beforehand and
// answers are only counted, so that one processor keeps up with any controller. Source: OpenFlow 1.3.5, 7.
import { connect, type Socket } from "node:net";
import {
  encodeMessage,
  OFP_NO_BUFFER,
  OFP13_VERSION,
  OFPT,
  type OpenFlowMessage,
  parseMessage,
} from "../../base/openflow/index.js";
import { waitFor } from "../../base/time/index.js";
import { encodeEthernet } from "../../base/wire/index.js";

export type ControllerAddress = { readonly path: string } | { readonly port: number };

export interface GeneratorOptions {
  readonly address: ControllerAddress;
  readonly switches: number;
  /** Packet-ins of one switch that wait for their flow-mod at a time. */
  readonly window: number;
}

const STATIONS = 64;
const PORTS = 16;
const HEADER_SIZE = 8;
const DEADLINE_MS = 30_000;
/** A controller may lose messages when its queue is full; after this silence as many are sent anew. */
const LOST_AFTER_MS = 500;

export class PacketInGenerator {
  readonly #switches: FakeStation[] = [];

  private constructor() {}

  /** Resolves when every switch has been asked who it is and the controller has learnt every station. */
  static async open(options: GeneratorOptions): Promise<PacketInGenerator> {
    const generator = new PacketInGenerator();
    for (let number = 1; number <= options.switches; number++)
      generator.#switches.push(await FakeStation.open(number, options));
    for (const each of generator.#switches) await each.teach();
    return generator;
  }

  /** Flow-mods a second over `seconds`. */
  async rate(seconds: number): Promise<number> {
    const started = performance.now();
    const before = this.#count();
    for (const each of this.#switches) each.begin();
    const timer = setInterval(() => {
      for (const each of this.#switches) each.resend();
    }, LOST_AFTER_MS);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const rate = (this.#count() - before) / ((performance.now() - started) / 1000);
    clearInterval(timer);
    for (const each of this.#switches) each.pause();
    return rate;
  }

  close(): void {
    for (const each of this.#switches) each.close();
  }

  #count(): number {
    return this.#switches.reduce((sum, { flowMods }) => sum + flowMods, 0);
  }
}

class FakeStation {
  flowMods = 0;
  readonly #socket: Socket;
  readonly #number: number;
  readonly #window: number;
  readonly #packetIns: Buffer[] = [];
  #next = 0;
  #running = false;
  #isKnown = false;
  #outstanding = 0;
  #lastCount = 0;
  #packetOuts = 0;
  #pending: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket, number: number, window: number) {
    this.#socket = socket;
    this.#number = number;
    this.#window = window;
    for (let i = 0; i < STATIONS; i++) this.#packetIns.push(this.#packetIn(i, (i + 1) % STATIONS));
    socket.on("data", (bytes) => this.#receive(bytes));
    socket.on("error", () => {});
  }

  static async open(number: number, { address, window }: GeneratorOptions): Promise<FakeStation> {
    const socket = connect(address as { path: string });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", () => resolve());
      socket.once("error", reject);
    });
    const station = new FakeStation(socket, number, window);
    station.#send({ type: "hello", xid: 0, version: OFP13_VERSION, versions: [OFP13_VERSION] });
    await waitFor(() => station.#isKnown, "the controller to ask who the switch is", DEADLINE_MS, 5);
    return station;
  }

  /** Every station speaks once, so that the controller knows where all of them are. */
  async teach(): Promise<void> {
    for (let i = 0; i < STATIONS; i++) {
      const heard = this.#packetOuts;
      this.#socket.write(this.#packetIns[(STATIONS - i) % STATIONS] as Buffer);
      await waitFor(() => this.#packetOuts > heard, "a packet-out for a station that speaks", DEADLINE_MS, 1);
    }
    const answered = this.flowMods;
    this.#socket.write(this.#packetIns[0] as Buffer);
    await waitFor(
      () => this.flowMods > answered,
      "a flow-mod between stations that are known",
      DEADLINE_MS,
      1,
    );
  }

  begin(): void {
    this.#running = true;
    this.#outstanding = 0;
    this.#refill();
  }

  pause(): void {
    this.#running = false;
  }

  /** What nothing has been heard of is counted as lost. */
  resend(): void {
    if (this.flowMods === this.#lastCount) {
      this.#outstanding = 0;
      this.#refill();
    }
    this.#lastCount = this.flowMods;
  }

  close(): void {
    this.#socket.destroy();
  }

  #refill(): void {
    if (!this.#running || this.#outstanding >= this.#window) return;
    this.#socket.cork();
    for (; this.#outstanding < this.#window; this.#outstanding++) {
      this.#next = (this.#next + 1) % STATIONS;
      this.#socket.write(this.#packetIns[this.#next] as Buffer);
    }
    this.#socket.uncork();
  }

  #receive(bytes: Buffer): void {
    let buffer = this.#pending.byteLength === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    while (buffer.byteLength >= HEADER_SIZE) {
      const length = buffer.readUInt16BE(2);
      if (length < HEADER_SIZE) throw new Error("the controller sent a message without length");
      if (buffer.byteLength < length) break;
      this.#message(buffer, length);
      buffer = buffer.subarray(length);
    }
    this.#pending = buffer;
    this.#refill();
  }

  #message(buffer: Buffer, length: number): void {
    const type = buffer[1];
    if (type === OFPT.flow_mod) {
      this.flowMods++;
      if (this.#outstanding > 0) this.#outstanding--;
    } else if (type === OFPT.packet_out) this.#packetOuts++;
    else this.#answer(parseMessage(buffer.subarray(0, length)));
  }

  #answer(message: OpenFlowMessage): void {
    const { xid } = message;
    switch (message.type) {
      case "features_request":
        this.#send({
          type: "features_reply",
          xid,
          datapathId: BigInt(this.#number),
          bufferCount: 0,
          tableCount: 254,
          auxiliaryId: 0,
          capabilities: 0,
        });
        this.#isKnown = true;
        break;
      case "echo_request":
        this.#send({ ...message, type: "echo_reply" });
        break;
      case "barrier_request":
        this.#send({ type: "barrier_reply", xid });
        break;
      case "get_config_request":
        this.#send({ type: "get_config_reply", xid, flags: 0, missSendLength: 0xffff });
        break;
      case "multipart_request":
        if (message.body.kind === "port_desc")
          this.#send({ type: "multipart_reply", xid, flags: 0, body: { kind: "port_desc", ports: [] } });
        break;
      default:
    }
  }

  #send(message: OpenFlowMessage): void {
    this.#socket.write(encodeMessage(message));
  }

  #packetIn(from: number, to: number): Buffer {
    const mac = (station: number): Uint8Array =>
      Uint8Array.of(2, 0, this.#number >> 8, this.#number & 255, 0, station);
    const frame = encodeEthernet({
      destination: mac(to),
      source: mac(from),
      etherType: 0x88b5,
      payload: new Uint8Array(46),
    });
    const message = encodeMessage({
      type: "packet_in",
      xid: 0,
      bufferId: OFP_NO_BUFFER,
      totalLength: frame.byteLength,
      reason: "no_match",
      tableId: 0,
      cookie: 0xffffffffffffffffn,
      match: [{ field: "in_port", value: Uint8Array.of(0, 0, 0, 1 + (from % PORTS)) }],
      data: frame,
    });
    return Buffer.from(message);
  }
}
