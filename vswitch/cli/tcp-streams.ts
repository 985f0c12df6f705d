// Puts the bytes of TCP connections together from recorded frames, each direction for itself. Pure.
// Segments that come again are dropped; after a gap a direction begins anew.
import { frameView } from "../flow/index.js";

export interface TcpSegment {
  /** "10.0.0.1.5555 > 10.0.0.2.6653" */
  readonly name: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** What this direction has said and nobody has taken yet. */
  readonly stream: TcpStream;
}

const SYN = 2;
const IP_PROTO_TCP = 6;
const STREAM_SIZE_MAX = 1 << 20;

export class TcpStream {
  bytes = new Uint8Array(0);
  #next: number | undefined;

  /** Sequence numbers wrap at 2³². */
  append(sequence: number, isSyn: boolean, payload: Uint8Array): void {
    const first = isSyn ? (sequence + 1) >>> 0 : sequence;
    if (isSyn || this.#next === undefined || this.bytes.byteLength > STREAM_SIZE_MAX) {
      this.bytes = new Uint8Array(0);
      this.#next = first;
    }
    const offset = (first - this.#next) | 0;
    if (offset < 0) return;
    if (offset > 0) this.bytes = new Uint8Array(0);
    this.bytes = Uint8Array.from([...this.bytes, ...payload]);
    this.#next = (first + payload.byteLength) >>> 0;
  }

  take(size: number): Uint8Array {
    const taken = this.bytes.slice(0, size);
    this.bytes = this.bytes.slice(size);
    return taken;
  }
}

export class TcpStreams {
  readonly #streams = new Map<string, TcpStream>();

  /** Undefined for a frame that is no TCP over IPv4. */
  add(frame: Uint8Array): TcpSegment | undefined {
    const view = frame.byteLength < 14 ? undefined : frameView(frame, 0);
    if (view?.transport?.protocol !== IP_PROTO_TCP) return undefined;
    const at = view.transport.offset;
    const address = (field: "ipv4_src" | "ipv4_dst"): string | undefined =>
      view.match.find((entry) => entry.field === field)?.value.join(".");
    const [source, destination] = [address("ipv4_src"), address("ipv4_dst")];
    if (source === undefined || destination === undefined || at + 20 > frame.byteLength) return undefined;
    const bytes = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const [sourcePort, destinationPort] = [bytes.getUint16(at), bytes.getUint16(at + 2)];
    const name = `${source}.${sourcePort} > ${destination}.${destinationPort}`;
    const stream = this.#streams.get(name) ?? new TcpStream();
    this.#streams.set(name, stream);
    const payload = frame.subarray(Math.min(at + (bytes.getUint8(at + 12) >> 4) * 4, frame.byteLength));
    stream.append(bytes.getUint32(at + 4), (bytes.getUint8(at + 13) & SYN) !== 0, payload);
    return { name, sourcePort, destinationPort, stream };
  }
}
