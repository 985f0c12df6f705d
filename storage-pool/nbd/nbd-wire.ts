// NBD on the wire: constants and the encoding of what a server sends. All numbers big endian.
// Source: the NBD protocol specification, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
// Pure. Thread: any. Hot: yes (write…Reply).
import { EINVAL, EIO, ENOSPC, ENOTSUP, EPERM, OK } from "../errors.js";

export const NBDMAGIC_HI = 0x4e42444d;
export const NBDMAGIC_LO = 0x41474943;
export const IHAVEOPT_HI = 0x49484156;
export const IHAVEOPT_LO = 0x454f5054;
export const OPTION_REPLY_MAGIC_HI = 0x0003e889;
export const OPTION_REPLY_MAGIC_LO = 0x045565a9;

export const NBD_FLAG_FIXED_NEWSTYLE = 1;
export const NBD_FLAG_NO_ZEROES = 2;

export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_LIST = 3;
export const NBD_OPT_STARTTLS = 5;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;
export const NBD_OPT_LIST_META_CONTEXT = 9;
export const NBD_OPT_SET_META_CONTEXT = 10;
export const NBD_OPT_EXTENDED_HEADERS = 11;

export const NBD_REP_ACK = 1;
export const NBD_REP_SERVER = 2;
export const NBD_REP_INFO = 3;
export const NBD_REP_META_CONTEXT = 4;
export const NBD_REP_ERR_UNSUP = 0x8000_0001;
export const NBD_REP_ERR_POLICY = 0x8000_0002;
export const NBD_REP_ERR_INVALID = 0x8000_0003;
export const NBD_REP_ERR_TLS_REQD = 0x8000_0005;
export const NBD_REP_ERR_UNKNOWN = 0x8000_0006;
export const NBD_REP_ERR_TOO_BIG = 0x8000_0009;
export const NBD_REP_ERR_EXT_HEADER_REQD = 0x8000_000a;

export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_NAME = 1;
export const NBD_INFO_DESCRIPTION = 2;
export const NBD_INFO_BLOCK_SIZE = 3;

export const NBD_FLAG_HAS_FLAGS = 1;
export const NBD_FLAG_READ_ONLY = 2;
export const NBD_FLAG_SEND_FLUSH = 4;
export const NBD_FLAG_SEND_FUA = 8;
export const NBD_FLAG_SEND_TRIM = 32;
export const NBD_FLAG_SEND_WRITE_ZEROES = 64;
export const NBD_FLAG_SEND_DF = 128;
export const NBD_FLAG_CAN_MULTI_CONN = 256;
export const NBD_FLAG_SEND_CACHE = 1024;
export const NBD_FLAG_SEND_FAST_ZERO = 2048;
export const NBD_FLAG_BLOCK_STATUS_PAYLOAD = 4096;

export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const NBD_EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const NBD_EXTENDED_REPLY_MAGIC = 0x6e8a278c;
export const REQUEST_SIZE = 28;
export const EXTENDED_REQUEST_SIZE = 32;
export const SIMPLE_REPLY_SIZE = 16;
export const CHUNK_SIZE = 20;
export const EXTENDED_CHUNK_SIZE = 32;

export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_CACHE = 5;
export const NBD_CMD_WRITE_ZEROES = 6;
export const NBD_CMD_BLOCK_STATUS = 7;

export const NBD_CMD_FLAG_FUA = 1;
export const NBD_CMD_FLAG_NO_HOLE = 2;
export const NBD_CMD_FLAG_DF = 4;
export const NBD_CMD_FLAG_REQ_ONE = 8;
export const NBD_CMD_FLAG_FAST_ZERO = 16;
export const NBD_CMD_FLAG_PAYLOAD_LEN = 32;

export const NBD_REPLY_FLAG_DONE = 1;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
export const NBD_REPLY_TYPE_BLOCK_STATUS = 5;
export const NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6;
export const NBD_REPLY_TYPE_ERROR = 0x8001;

export const NBD_STATE_HOLE = 1;
export const NBD_STATE_ZERO = 2;
/** Of `x-plinth:diff:SNAPSHOT`: the range may differ from what it was in the snapshot. */
export const PLINTH_STATE_CHANGED = 1;

/** One reply to an option, header and payload. */
export function encodeOptionReply(option: number, type: number, payload: Uint8Array): Uint8Array {
  const reply = new Uint8Array(20 + payload.byteLength);
  const view = new DataView(reply.buffer);
  view.setUint32(0, OPTION_REPLY_MAGIC_HI);
  view.setUint32(4, OPTION_REPLY_MAGIC_LO);
  view.setUint32(8, option);
  view.setUint32(12, type);
  view.setUint32(16, payload.byteLength);
  reply.set(payload, 20);
  return reply;
}

/** What the server says first. */
export function encodeGreeting(): Uint8Array {
  const greeting = new Uint8Array(18);
  const view = new DataView(greeting.buffer);
  view.setUint32(0, NBDMAGIC_HI);
  view.setUint32(4, NBDMAGIC_LO);
  view.setUint32(8, IHAVEOPT_HI);
  view.setUint32(12, IHAVEOPT_LO);
  view.setUint16(16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
  return greeting;
}

/** Words per request of what its replies repeat: cookie and offset, each high and low, as they came. */
export const ECHO_WORDS = 4;

/** `echo` holds the cookie from word `e` on. Returns the bytes written. */
export function writeSimpleReply(
  view: DataView,
  at: number,
  echo: Uint32Array,
  e: number,
  error: number,
): number {
  view.setUint32(at, NBD_SIMPLE_REPLY_MAGIC);
  view.setUint32(at + 4, error);
  view.setUint32(at + 8, echo[e] as number);
  view.setUint32(at + 12, echo[e + 1] as number);
  return SIMPLE_REPLY_SIZE;
}

/** The head of a structured reply's chunk, or an extended one; `length` bytes of payload follow. */
export function writeChunk(
  view: DataView,
  at: number,
  extended: boolean,
  echo: Uint32Array,
  e: number,
  flags: number,
  type: number,
  length: number,
): number {
  view.setUint32(at, extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC);
  view.setUint16(at + 4, flags);
  view.setUint16(at + 6, type);
  view.setUint32(at + 8, echo[e] as number);
  view.setUint32(at + 12, echo[e + 1] as number);
  if (!extended) {
    view.setUint32(at + 16, length);
    return CHUNK_SIZE;
  }
  view.setUint32(at + 16, echo[e + 2] as number);
  view.setUint32(at + 20, echo[e + 3] as number);
  view.setUint32(at + 24, 0);
  view.setUint32(at + 28, length);
  return EXTENDED_CHUNK_SIZE;
}

/** Which flags each command may carry, by its number; anything else is EINVAL. FUA is valid on all. */
export const NBD_FLAGS_OF: readonly number[] = [
  NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FUA,
  0xffff,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE,
];

/** NBD knows few errors; everything else is EIO. */
export function nbdError(error: number): number {
  switch (error) {
    case OK:
    case EPERM:
    case EIO:
    case EINVAL:
    case ENOSPC:
    case ENOTSUP:
      return error;
    default:
      return EIO;
  }
}
