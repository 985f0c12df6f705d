// What a client says before TLS, where TLS may be used but need not: passed on to the server as it comes, until STARTTLS.
//
//   flags ─► option head ⟲ option data ─┬─ STARTTLS without data ─► starttls
//                                       └─ no option's magic ─────► passing (transmission has begun)
//
// Source: NBD protocol, "SELECTIVETLS mode". Pure. Thread: main.
import { IHAVEOPT_HI, IHAVEOPT_LO, NBD_FLAG_FIXED_NEWSTYLE, NBD_OPT_STARTTLS } from "./nbd-wire.js";

const FLAGS_SIZE = 4;
const OPTION_SIZE = 16;

export interface GateOutput {
  /** For the server. */
  readonly forward: Uint8Array;
  /** Not looked at yet: give it again with what comes next; after "starttls" it is TLS. */
  readonly rest: Uint8Array;
}

export class TlsGateSession {
  state: "flags" | "options" | "passing" | "starttls" = "flags";
  /** As the client sent them. */
  clientFlags = 0;
  /** Bytes of the data of an option that go by unseen. */
  #data = 0;

  receive(bytes: Uint8Array): GateOutput {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (this.state === "flags" || this.state === "options") {
      const took = this.state === "flags" ? this.#takeFlags(view) : this.#takeOption(view, at);
      if (took === 0) break;
      at += took;
    }
    if (this.state === "passing") return { forward: bytes, rest: bytes.subarray(bytes.byteLength) };
    const kept = this.state === "starttls" ? at + OPTION_SIZE : at;
    return { forward: bytes.subarray(0, at), rest: bytes.subarray(kept) };
  }

  #takeFlags(view: DataView): number {
    if (view.byteLength < FLAGS_SIZE) return 0;
    this.clientFlags = view.getUint32(0);
    this.state = "options";
    return FLAGS_SIZE;
  }

  #takeOption(view: DataView, at: number): number {
    const left = view.byteLength - at;
    if (this.#data > 0) {
      const count = Math.min(this.#data, left);
      this.#data -= count;
      return count;
    }
    if (left < OPTION_SIZE) return 0;
    if (view.getUint32(at) !== IHAVEOPT_HI || view.getUint32(at + 4) !== IHAVEOPT_LO) {
      this.state = "passing";
      return 0;
    }
    const length = view.getUint32(at + 12);
    const fixed = (this.clientFlags & NBD_FLAG_FIXED_NEWSTYLE) !== 0;
    if (view.getUint32(at + 8) === NBD_OPT_STARTTLS && length === 0 && fixed) {
      this.state = "starttls";
      return 0;
    }
    this.#data = length;
    return OPTION_SIZE;
  }
}
