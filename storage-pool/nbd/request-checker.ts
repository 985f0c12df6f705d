// Whether a request may be carried out, by its head alone.
// Source: NBD protocol, "Command flags", "Request types", "Error values". Pure. Thread: the pool's worker. Hot: yes.
import { EINVAL, ENOSPC, EPERM, OK } from "../errors.js";
import { REQUEST_SIZE_BYTES_MAX } from "../limits.js";
import type { NbdExport } from "./nbd-export.js";
import type { ReplyMode } from "./nbd-session.js";
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_FLAGS_OF,
} from "./nbd-wire.js";

export class RequestChecker {
  target: NbdExport;
  readonly #extended: boolean;
  readonly #chunked: boolean;
  readonly #hasContexts: boolean;

  constructor(target: NbdExport, mode: ReplyMode, hasContexts: boolean) {
    this.target = target;
    this.#extended = mode === "extended";
    this.#chunked = mode !== "simple";
    this.#hasContexts = hasContexts;
  }

  /** 0, or what the request is to be answered with. `length` is that of the payload where the flags say so. */
  check(type: number, flags: number, offset: number, length: number): number {
    const allowed = NBD_FLAGS_OF[type];
    if (allowed === undefined) return EINVAL;
    const payload = this.#extended && (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0;
    if (payload && type !== NBD_CMD_WRITE && type !== NBD_CMD_BLOCK_STATUS) return EINVAL;
    // An extended WRITE has to say that its length is that of its payload.
    if (this.#extended && !payload && type === NBD_CMD_WRITE) return EINVAL;
    if ((flags & ~(payload ? allowed | NBD_CMD_FLAG_PAYLOAD_LEN : allowed)) !== 0) return EINVAL;
    if (type === NBD_CMD_READ && (flags & NBD_CMD_FLAG_DF) !== 0 && !this.#chunked) return EINVAL;
    if (type === NBD_CMD_FLUSH) return OK;
    const writing = type === NBD_CMD_WRITE || type === NBD_CMD_TRIM || type === NBD_CMD_WRITE_ZEROES;
    if (writing && this.target.readOnly) return EPERM;
    if (type === NBD_CMD_BLOCK_STATUS) return this.#checkStatus(payload, offset, length);
    if (offset + length > this.target.sizeBytes) {
      return type === NBD_CMD_WRITE || type === NBD_CMD_WRITE_ZEROES ? ENOSPC : EINVAL;
    }
    const bounded = type === NBD_CMD_READ || type === NBD_CMD_WRITE;
    return bounded && length > REQUEST_SIZE_BYTES_MAX ? EINVAL : OK;
  }

  #checkStatus(payload: boolean, offset: number, length: number): number {
    if (!this.#hasContexts) return EINVAL;
    if (payload) return OK;
    return length === 0 || offset + length > this.target.sizeBytes ? EINVAL : OK;
  }
}

/** Ids of contexts, counted from 1, as bits; 0 when one is unknown or there twice. */
export function chosenContexts(view: DataView, at: number, count: number, contextCount: number): number {
  let chosen = 0;
  for (let i = 0; i < count; i++) {
    const id = view.getUint32(at + i * 4);
    if (id === 0 || id > contextCount || (chosen & (1 << (id - 1))) !== 0) return 0;
    chosen |= 1 << (id - 1);
  }
  return chosen;
}
