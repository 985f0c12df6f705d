// The XDP program that hands a device's frames to AF_XDP sockets by receive queue, and lets the host have what comes by
// a queue that has none. It stays with the device for as long as its link is open.
//
//   r2 = ctx->rx_queue_index; r1 = map; r3 = XDP_PASS; return bpf_redirect_map(r1, r2, r3)
//
// Source: bpf(2), linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst. Needs CAP_NET_ADMIN and CAP_BPF.
// Thread: any.
import { EBUSY, EOPNOTSUPP, raw, systemError } from "./errno.js";
import { addressOf, define, keepAlive } from "./ffi.js";
import { closeFile } from "./file.js";
import { noteDescriptor } from "./thread-ledger.js";

const cBpf = define<(number: number, command: number, attributes: number, size: number) => number>(
  "int64_t syscall(int64_t number, int command, intptr_t attributes, unsigned int size)",
);

const SYS_BPF = process.arch === "arm64" ? 280 : 321;
const BPF_MAP_CREATE = 0;
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_PROG_LOAD = 5;
const BPF_LINK_CREATE = 28;
const BPF_MAP_TYPE_XSKMAP = 17;
const BPF_PROG_TYPE_XDP = 6;
const BPF_XDP = 37;
const BPF_FUNC_redirect_map = 51;
const XDP_PASS = 2;
const XDP_FLAGS_SKB_MODE = 2;
const XDP_FLAGS_DRV_MODE = 4;
const RX_QUEUE_INDEX = 16;
const PSEUDO_MAP_FD = 1;

/** Whether the device's driver runs the program, or the kernel behind it. */
export type XdpAttachment = "native" | "generic";

export class XdpProgram {
  readonly attachment: XdpAttachment;
  readonly #map: number;
  readonly #program: number;
  readonly #link: number;

  /** Attaches to the device. Throws with the errno's name: EBUSY when it has a program, EOPNOTSUPP, EPERM. */
  constructor(name: string, index: number, queues: number, wanted: readonly XdpAttachment[]) {
    this.#map = noteDescriptor(
      bpf(BPF_MAP_CREATE, Uint32Array.of(BPF_MAP_TYPE_XSKMAP, 4, 4, queues), "MAP_CREATE", name),
    );
    let program = -1;
    try {
      program = loadProgram(this.#map, name);
      const { link, attachment } = attach(program, name, index, wanted);
      this.#link = link;
      this.attachment = attachment;
    } catch (thrown) {
      if (program >= 0) closeFile(program);
      closeFile(this.#map);
      throw thrown;
    }
    this.#program = program;
  }

  /** From now on frames of the receive queue go to the socket. */
  direct(queue: number, socket: number): void {
    const key = Uint32Array.of(queue);
    const value = Uint32Array.of(socket);
    const attributes = new Uint32Array(8);
    attributes[0] = this.#map;
    setAddress(attributes, 2, addressOf(key));
    setAddress(attributes, 4, addressOf(value));
    bpf(BPF_MAP_UPDATE_ELEM, attributes, "MAP_UPDATE_ELEM", `queue ${queue}`);
    keepAlive([key, value]);
  }

  /** The device is as it was. */
  close(): void {
    closeFile(this.#link);
    closeFile(this.#program);
    closeFile(this.#map);
  }
}

function loadProgram(map: number, name: string): number {
  const code = Uint8Array.from([
    ...instruction(0x61, 2, 1, RX_QUEUE_INDEX, 0),
    ...instruction(0x18, 1, PSEUDO_MAP_FD, 0, map),
    ...instruction(0, 0, 0, 0, 0),
    ...instruction(0xb7, 3, 0, 0, XDP_PASS),
    ...instruction(0x85, 0, 0, 0, BPF_FUNC_redirect_map),
    ...instruction(0x95, 0, 0, 0, 0),
  ]);
  const license = new TextEncoder().encode("MIT\0");
  const attributes = new Uint32Array(18);
  attributes[0] = BPF_PROG_TYPE_XDP;
  attributes[1] = code.byteLength / 8;
  setAddress(attributes, 2, addressOf(code));
  setAddress(attributes, 4, addressOf(license));
  attributes[17] = BPF_XDP;
  const program = noteDescriptor(bpf(BPF_PROG_LOAD, attributes, "PROG_LOAD", name));
  keepAlive([code, license]);
  return program;
}

function attach(program: number, name: string, index: number, wanted: readonly XdpAttachment[]) {
  let result = -EOPNOTSUPP;
  for (const attachment of wanted) {
    const flags = attachment === "native" ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    result = call(BPF_LINK_CREATE, Uint32Array.of(program, index, BPF_XDP, flags));
    if (result >= 0) return { link: noteDescriptor(result), attachment };
    if (result === -EBUSY) break;
  }
  throw systemError("bpf(LINK_CREATE)", result, name);
}

/** opcode, destination and source registers, offset, immediate: 8 bytes, little-endian. */
function instruction(
  opcode: number,
  to: number,
  from: number,
  offset: number,
  immediate: number,
): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  bytes[0] = opcode;
  bytes[1] = to | (from << 4);
  view.setInt16(2, offset, true);
  view.setInt32(4, immediate, true);
  return bytes;
}

function setAddress(words: Uint32Array, at: number, address: number): void {
  words[at] = address >>> 0;
  words[at + 1] = (address / 0x1_0000_0000) >>> 0;
}

function bpf(command: number, attributes: Uint32Array, what: string, about: string): number {
  const result = call(command, attributes);
  if (result < 0) throw systemError(`bpf(${what})`, result, about);
  return result;
}

function call(command: number, attributes: Uint32Array): number {
  return raw(cBpf(SYS_BPF, command, addressOf(attributes), attributes.byteLength));
}
