// What routers and bridges do to most frames, as masks over their first bytes: other Ethernet addresses, a TTL that is
// lower by one, and one port to go to. Such a verdict needs no key, no packet and no interpreter.
//
//   code of a verdict ─► shortRewriteOf(): masks and values, or null when it does more ─► applied where the frame lies
//
// Invariant: the same bytes as by the operations of the verdict, one after the other (verdict-replay.ts).
// A closure, one for each pool, and not a class: see base/virtio/window-copy.ts.
// Source: RFC 1624 (checksum). Thread: datapath worker. Hot: yes (the closure).
import { OFPP_MAX } from "../../base/openflow/index.js";
import type { PacketPool } from "../../base/packet/index.js";
import { updateChecksum16 } from "../../base/wire/index.js";
import { K_ETH_DST } from "./key.js";
import {
  OP_DEC_NW_TTL,
  OP_OUTPUT,
  OP_POP_VLAN,
  OP_PUSH_VLAN,
  OP_SET,
  W_ETH_DST,
  W_ETH_SRC,
  W_VLAN,
} from "./program.js";
import { type TagChange, TagEditor } from "./tag-change.js";
import { V_AT } from "./verdict.js";

const ETHERNET_SIZE = 14;
const TAG_SIZE = 4;
/** In the fourth little-endian word of an untagged frame. */
const TYPE_IPV4 = 0x0008;
const TYPE_IPV6 = 0xdd86;
const TTL_AT = 8;
const CHECKSUM_AT = 10;
const HOP_LIMIT_AT = 7;
/** Words that both addresses take. */
const ADDRESS_WORDS = 3;

export interface ShortRewrite {
  /** Where the frame goes; never one that is reserved. */
  readonly port: number;
  /** Where that is decided: the table, and the place of its flow in the verdict's flows, −1 for none. */
  readonly tableId: number;
  readonly flowIndex: number;
  /** Of the frame's first three little-endian words. */
  readonly mask: Int32Array;
  readonly value: Int32Array;
  readonly lowersTtl: boolean;
  /** What becomes of its tag, the four bytes behind its addresses; null: nothing. */
  readonly tag: TagChange | null;
}

/** What the first `length` words of a verdict's code come to, or null when they do anything else. */
export function shortRewriteOf(code: Int32Array, length: number): ShortRewrite | null {
  return rewriteOf(code, length, null);
}

/** The same, also when they change the tag of frames that have one, or none. */
export function retaggingOf(code: Int32Array, areTagged: boolean): ShortRewrite | null {
  return rewriteOf(code, code.length, new TagEditor(areTagged));
}

function rewriteOf(code: Int32Array, length: number, tags: TagEditor | null): ShortRewrite | null {
  const mask = new Int32Array(ADDRESS_WORDS);
  const value = new Int32Array(ADDRESS_WORDS);
  let [tableId, flowIndex, lowersTtl] = [-1, -1, false];
  for (let at = 0; at < length; ) {
    switch (code[at]) {
      case V_AT:
        tableId = code[at + 1]!;
        flowIndex = code[at + 2]!;
        at += 3;
        break;
      case OP_DEC_NW_TTL:
        // Twice is so seldom that it may go the usual way.
        if (lowersTtl) return null;
        lowersTtl = true;
        at++;
        break;
      case OP_SET: {
        const writer = code[at + 1]!;
        if (writer === W_VLAN && tags !== null) {
          if (!tags.set(code, at + 3, code[at + 2]!)) return null;
          at += 3 + 3 * code[at + 2]!;
          break;
        }
        if (writer !== W_ETH_DST && writer !== W_ETH_SRC) return null;
        const count = code[at + 2]!;
        for (let piece = at + 3; piece < at + 3 + 3 * count; piece += 3) {
          const word = code[piece]! - K_ETH_DST;
          const bits = swapBytes(code[piece + 1]!);
          mask[word] = mask[word]! | bits;
          value[word] = (value[word]! & ~bits) | (swapBytes(code[piece + 2]!) & bits);
        }
        at += 3 + 3 * count;
        break;
      }
      case OP_PUSH_VLAN:
        if (tags === null || !tags.push(code[at + 1]!)) return null;
        at += 2;
        break;
      case OP_POP_VLAN:
        if (tags === null) return null;
        tags.pop();
        at++;
        break;
      case OP_OUTPUT: {
        const port = code[at + 1]! >>> 0;
        const isAll = at + 3 === length && port > 0 && port <= OFPP_MAX;
        const tag = tags === null ? null : tags.change;
        return isAll ? { port, tableId, flowIndex, mask, value, lowersTtl, tag } : null;
      }
      default:
        return null;
    }
  }
  return null;
}

/** False, and nothing is changed, when the frame's TTL does not allow it. */
export type ShortRewriter = (start: number, rewrite: ShortRewrite) => boolean;

const known = new WeakMap<PacketPool, ShortRewriter>();

/** For frames that start at a multiple of four in the pool's arena and are plain IPv4 or IPv6 with at most one tag. */
export function shortRewriterOf(pool: PacketPool): ShortRewriter {
  let rewriter = known.get(pool);
  if (rewriter === undefined) {
    rewriter = createShortRewriter(pool);
    known.set(pool, rewriter);
  }
  return rewriter;
}

function createShortRewriter({ bytes }: PacketPool): ShortRewriter {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);

  const lowerTtl = (ip: number): boolean => {
    const ttl = bytes[(ip + TTL_AT) | 0]!;
    if (ttl <= 1) return false;
    const before = (ttl << 8) | bytes[(ip + TTL_AT + 1) | 0]!;
    const checksum = (bytes[(ip + CHECKSUM_AT) | 0]! << 8) | bytes[(ip + CHECKSUM_AT + 1) | 0]!;
    const updated = updateChecksum16(checksum, before, before - 0x100);
    bytes[(ip + TTL_AT) | 0] = ttl - 1;
    bytes[(ip + CHECKSUM_AT) | 0] = updated >>> 8;
    bytes[(ip + CHECKSUM_AT + 1) | 0] = updated & 0xff;
    return true;
  };

  const lowerHopLimit = (ip: number): boolean => {
    const limit = bytes[(ip + HOP_LIMIT_AT) | 0]!;
    if (limit <= 1) return false;
    bytes[(ip + HOP_LIMIT_AT) | 0] = limit - 1;
    return true;
  };

  return (start, { mask, value, lowersTtl }) => {
    const at = start >>> 2;
    if (lowersTtl) {
      const type = words[(at + 3) | 0]! & 0xffff;
      const isUntagged = type === TYPE_IPV4 || type === TYPE_IPV6;
      const ip = (start + (isUntagged ? ETHERNET_SIZE : ETHERNET_SIZE + TAG_SIZE)) | 0;
      if (!(bytes[ip]! >>> 4 === 6 ? lowerHopLimit(ip) : lowerTtl(ip))) return false;
    }
    words[at] = (words[at]! & ~mask[0]!) | value[0]!;
    words[(at + 1) | 0] = (words[(at + 1) | 0]! & ~mask[1]!) | value[1]!;
    words[(at + 2) | 0] = (words[(at + 2) | 0]! & ~mask[2]!) | value[2]!;
    return true;
  };
}

function swapBytes(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
