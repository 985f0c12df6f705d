// A pool's key ring: the keys of its encrypted volumes, each wrapped by the pool key, and where that comes from.
//
//   file: "PLkr" · protobuf KeyRing
//   pool key (32 bytes) = content of the key file, or scrypt(passphrase, salt)
//   volume key (64 bytes: AES-256-XTS takes two of 32) ─ AES key wrap with the pool key ─► 72 bytes
//
// A wrapped key carries its own integrity check, so a wrong pool key is told from a right one. Invariant: no key stands
// here in the clear. Source: RFC 3394 (AES key wrap), RFC 7914 (scrypt). Pure but for randomness. Thread: main. Hot: no.
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from "node:crypto";
import { promisify } from "node:util";
import { defineRecord, type RecordType } from "../../base/schema/index.js";
import { storageError } from "../errors.js";

export const KEY_RING_FORMAT = 1;
const POOL_KEY_SIZE = 32;
const VOLUME_KEY_SIZE = 64;
const SALT_SIZE = 16;
const MAGIC = "PLkr";
const WRAP_IV = Buffer.alloc(8, 0xa6);
/** 32 MiB of memory and about a tenth of a second. */
const SCRYPT = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 };
const derive = promisify<string, Uint8Array, number, object, Buffer>(scrypt as never);

/** Where the pool key comes from. */
export type KeySource =
  | { readonly kind: "file"; readonly path: string }
  /** `path`: a file that holds it; "" when somebody has to type it after each start. */
  | { readonly kind: "passphrase"; readonly path: string };

export interface WrappedKey {
  id: string;
  wrapped: Uint8Array;
}

export interface KeyRing {
  formatVersion: number;
  poolId: string;
  /** "file" or "passphrase". */
  kind: string;
  path: string;
  /** Of a passphrase; empty for a file. */
  salt: Uint8Array;
  /** Something wrapped, for telling whether a pool key is the right one. */
  check: Uint8Array;
  keys: WrappedKey[];
}

const wrappedKeyRecord: RecordType<WrappedKey> = defineRecord<WrappedKey>("WrappedKey", {
  id: { number: 1, type: "string" },
  wrapped: { number: 2, type: "bytes" },
});

const keyRingRecord: RecordType<KeyRing> = defineRecord<KeyRing>("KeyRing", {
  formatVersion: { number: 1, type: "uint32" },
  poolId: { number: 2, type: "string" },
  kind: { number: 3, type: "string" },
  path: { number: 4, type: "string" },
  salt: { number: 5, type: "bytes" },
  check: { number: 6, type: "bytes" },
  keys: { number: 7, type: wrappedKeyRecord, repeated: true },
});

export function encodeKeyRing(ring: KeyRing): Uint8Array {
  return Buffer.concat([Buffer.from(MAGIC), keyRingRecord.encode(ring)]);
}

/** Throws KEY_RING_DAMAGED, and DISK_FORMAT for what a newer program wrote. */
export function parseKeyRing(bytes: Uint8Array, path: string): KeyRing {
  const damaged = (cause?: unknown) =>
    storageError("KEY_RING_DAMAGED", `${path} is not the key ring of a pool`, {
      remedy: "put it back from a backup: without it encrypted volumes cannot be read",
      cause,
    });
  if (Buffer.from(bytes.subarray(0, MAGIC.length)).toString("latin1") !== MAGIC) throw damaged();
  let ring: KeyRing;
  try {
    ring = keyRingRecord.parse(bytes.subarray(MAGIC.length));
  } catch (thrown) {
    throw damaged(thrown);
  }
  if (ring.formatVersion > KEY_RING_FORMAT) {
    throw storageError(
      "DISK_FORMAT",
      `${path} has format ${ring.formatVersion}, known is ${KEY_RING_FORMAT}`,
      {
        remedy: "use the Plinth that wrote it",
      },
    );
  }
  if (ring.kind !== "file" && ring.kind !== "passphrase") throw damaged();
  return ring;
}

/** A ring without keys, for a pool key. */
export function newKeyRing(
  poolId: string,
  source: KeySource,
  salt: Uint8Array,
  poolKey: Uint8Array,
): KeyRing {
  const check = wrapKey(poolKey, randomBytes(POOL_KEY_SIZE));
  return { formatVersion: KEY_RING_FORMAT, poolId, ...source, salt, check, keys: [] };
}

export function newSalt(): Uint8Array {
  return randomBytes(SALT_SIZE);
}

export function newPoolKey(): Uint8Array {
  return randomBytes(POOL_KEY_SIZE);
}

export function newVolumeKey(): Uint8Array {
  return randomBytes(VOLUME_KEY_SIZE);
}

export function derivePoolKey(passphrase: string, salt: Uint8Array): Promise<Uint8Array> {
  return derive(passphrase.normalize("NFKC"), salt, POOL_KEY_SIZE, SCRYPT);
}

/** What a key file holds: 32 bytes, or 64 hexadecimal digits. Undefined when it is neither. */
export function parsePoolKey(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.byteLength === POOL_KEY_SIZE) return Uint8Array.from(bytes);
  const text = Buffer.from(bytes.subarray(0, 128)).toString("latin1").trim();
  return /^[0-9a-fA-F]{64}$/.test(text) ? Buffer.from(text, "hex") : undefined;
}

export function wrapKey(poolKey: Uint8Array, key: Uint8Array): Uint8Array {
  const cipher = createCipheriv("id-aes256-wrap", poolKey, WRAP_IV);
  return Buffer.concat([cipher.update(key), cipher.final()]);
}

/** Undefined when the pool key is another, or the bytes are damaged. */
export function unwrapKey(poolKey: Uint8Array, wrapped: Uint8Array): Uint8Array | undefined {
  try {
    const decipher = createDecipheriv("id-aes256-wrap", poolKey, WRAP_IV);
    return Buffer.concat([decipher.update(wrapped), decipher.final()]);
  } catch {
    return undefined;
  }
}

/** The same keys under another pool key. Throws KEY_RING_DAMAGED for one that does not open. */
export function rewrap(ring: KeyRing, from: Uint8Array, into: KeyRing, to: Uint8Array): KeyRing {
  const keys = ring.keys.map(({ id, wrapped }) => {
    const key = unwrapKey(from, wrapped);
    if (key === undefined) throw storageError("KEY_RING_DAMAGED", `the key ${id} of the ring is damaged`);
    return { id, wrapped: wrapKey(to, key) };
  });
  return { ...into, keys };
}
