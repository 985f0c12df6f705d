// Sends UDP frames out of a device at given rates until it is ended, in turns of a few milliseconds, and sleeps between
// them: it must not take the processor from what is measured. Run in the namespace of the device:
//   node paced-load.js DEVICE '[{"mac":"02:00:00:00:00:02","address":"10.9.0.2","sizeBytes":1442,"rateBps":20000000}]'
import { addressOf, PacketSocket, withNetDevices } from "../../base/linux/index.js";
import { parseMac } from "../../base/wire/index.js";
import { udpFrame } from "../../vswitch/testing/frames.js";

export interface PacedStream {
  readonly mac: string;
  readonly address: string;
  /** Of a frame without its checksum. */
  readonly sizeBytes: number;
  readonly rateBps: number;
}

const BURST = 64;
const HEADER = 10;
const OVERHEAD = 42;
const INTERVAL_MS = 2;
/** What a pause of ours has left undone is not made up for when it was longer. */
const PAUSE_MS = 10;

const [name = "", streams = "[]"] = process.argv.slice(2);
const device = withNetDevices((devices) => devices.read(name));
if (device === undefined) throw new Error(`there is no device ${name}`);
const { mac, index } = device;

/** Frames of one stream, which are all the same. */
class Sender {
  readonly #socket = new PacketSocket({ name, index, slots: 32, burst: BURST });
  readonly #message: Uint8Array;
  readonly #framesPerMs: number;
  #dueMs = performance.now();

  constructor({ mac: to, address, sizeBytes, rateBps }: PacedStream) {
    const frame = udpFrame(
      { source: "10.9.0.1", destination: address, destinationPort: 9 },
      new Uint8Array(sizeBytes - OVERHEAD),
    );
    frame.set([...parseMac(to), ...mac], 0);
    this.#message = new Uint8Array(HEADER + sizeBytes);
    this.#message.set(frame, HEADER);
    for (let i = 0; i < BURST; i++)
      this.#socket.setMessage(i, addressOf(this.#message), this.#message.byteLength);
    this.#framesPerMs = rateBps / (8 * sizeBytes) / 1000;
  }

  send(): void {
    const nowMs = performance.now();
    this.#dueMs = Math.max(this.#dueMs, nowMs - PAUSE_MS);
    const frames = Math.floor((nowMs - this.#dueMs) * this.#framesPerMs);
    this.#dueMs += frames / this.#framesPerMs;
    for (let left = frames; left > 0; left -= BURST) this.#socket.send(0, Math.min(BURST, left));
  }
}

const senders = (JSON.parse(streams) as readonly PacedStream[]).map((stream) => new Sender(stream));
setInterval(() => {
  for (const sender of senders) sender.send();
}, INTERVAL_MS);
