// The keys of one pool as the daemon has them: its ring, and the pool key once that is known.
//
//   none ─ set ─► open ─► (restart) ─► locked ─ key file there, or unlock ─► open
//
// Invariants: the ring on the medium is changed before anything relies on the change; a key that no volume needs is
// destroyed on the medium before destroyExcept returns. Thread: main. Hot: no.
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { storageError } from "../errors.js";
import {
  derivePoolKey,
  encodeKeyRing,
  type KeyRing,
  type KeySource,
  newKeyRing,
  newSalt,
  newVolumeKey,
  parseKeyRing,
  rewrap,
  unwrapKey,
  wrapKey,
} from "./key-ring.js";
import {
  makeKeyFile,
  readKeyFile,
  readPassphraseFile,
  readRingFile,
  removeRingFile,
  replaceRingFile,
} from "./key-ring-file.js";

/** What a new pool key is made of: a key file, which is made when it is not there, or a passphrase. */
export type NewSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "passphrase"; readonly path: string; readonly passphrase?: string };

export class PoolKeys {
  /** Why encrypted volumes cannot be used; "" when they can, or there are none. */
  locked = "";
  readonly #path: string;
  readonly poolId: string;
  #ring: KeyRing | undefined;
  #poolKey: Uint8Array | undefined;

  /** `path` of the ring, which need not be there. */
  constructor(path: string, poolId: string) {
    this.#path = path;
    this.poolId = poolId;
  }

  /** Reads the ring, and the pool key where that is in a file. What is wrong is said by `locked`. */
  async load(): Promise<void> {
    try {
      const bytes = readRingFile(this.#path);
      if (bytes === undefined) return;
      const ring = parseKeyRing(bytes, this.#path);
      if (ring.poolId !== this.poolId) {
        throw storageError("KEY_RING_DAMAGED", `${this.#path} is the key ring of another pool`);
      }
      this.#ring = ring;
      await this.unlock(undefined);
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) && !(thrown instanceof Error && "code" in thrown)) throw thrown;
      this.locked = describeError(thrown);
    }
  }

  /** Where the pool key comes from; undefined when the pool has none. */
  get source(): KeySource | undefined {
    const ring = this.#ring;
    return ring === undefined ? undefined : { kind: ring.kind as KeySource["kind"], path: ring.path };
  }

  get isOpen(): boolean {
    return this.#poolKey !== undefined;
  }

  /**
   * Takes the pool key from its file, or from a passphrase. Throws KEY_MISSING, KEY_WRONG, KEY_EXPOSED, KEY_INVALID, and
   * KEY_NOT_SET for a pool without one.
   */
  async unlock(passphrase: string | undefined): Promise<void> {
    const ring = this.#mustHaveRing();
    if (this.#poolKey !== undefined) return;
    try {
      const poolKey = await readPoolKey(ring, passphrase);
      if (unwrapKey(poolKey, ring.check) === undefined) throw wrongKey(ring);
      this.#poolKey = poolKey;
      this.locked = "";
    } catch (thrown) {
      this.locked = describeError(thrown);
      throw thrown;
    }
  }

  /** Key name → key of every volume; empty while locked. A damaged key is left out. */
  volumeKeys(): Record<string, Uint8Array> {
    const poolKey = this.#poolKey;
    const keys: Record<string, Uint8Array> = {};
    for (const { id, wrapped } of poolKey === undefined ? [] : (this.#ring?.keys ?? [])) {
      const key = unwrapKey(poolKey as Uint8Array, wrapped);
      if (key !== undefined) keys[id] = key;
    }
    return keys;
  }

  /** A new volume key, on the medium. Throws KEY_NOT_SET and the reason why the pool is locked. */
  create(): { readonly id: string; readonly key: Uint8Array } {
    const ring = this.#mustHaveRing();
    const poolKey = this.#mustBeOpen();
    const id = randomUUID();
    const key = newVolumeKey();
    this.#write({ ...ring, keys: [...ring.keys, { id, wrapped: wrapKey(poolKey, key) }] });
    return { id, key };
  }

  /** Destroys all keys but these; returns how many. It needs no pool key. */
  destroyExcept(wanted: ReadonlySet<string>): number {
    const ring = this.#ring;
    const keys = ring?.keys.filter(({ id }) => wanted.has(id)) ?? [];
    if (ring === undefined || keys.length === ring.keys.length) return 0;
    this.#write({ ...ring, keys });
    return ring.keys.length - keys.length;
  }

  /** Destroys all keys with the ring; none is no error. The pool key is its owner's. */
  destroy(): void {
    removeRingFile(this.#path);
    this.#ring = undefined;
    this.#poolKey = undefined;
  }

  /**
   * Gives the pool its key, or another one: every volume key is wrapped anew, the data stays as it is. Afterwards the old
   * pool key opens nothing.
   */
  async rekey(source: NewSource): Promise<void> {
    const before = this.#ring;
    // Whatever stands there may be all that is left of the keys.
    if (before === undefined && this.locked !== "") this.#mustHaveRing();
    const from = before === undefined ? undefined : this.#mustBeOpen();
    const { salt, poolKey } = await newKeyOf(source);
    const fresh = newKeyRing(this.poolId, { kind: source.kind, path: source.path }, salt, poolKey);
    this.#write(before === undefined ? fresh : rewrap(before, from as Uint8Array, fresh, poolKey));
    this.#poolKey = poolKey;
    this.locked = "";
  }

  #write(ring: KeyRing): void {
    replaceRingFile(this.#path, encodeKeyRing(ring));
    this.#ring = ring;
  }

  #mustHaveRing(): KeyRing {
    if (this.#ring !== undefined) return this.#ring;
    if (this.locked !== "") throw storageError("KEY_RING_DAMAGED", this.locked);
    throw storageError("KEY_NOT_SET", "the pool has no key for encrypted volumes", {
      remedy: "plinth pool rekey POOL --key-file PATH gives it one",
    });
  }

  #mustBeOpen(): Uint8Array {
    if (this.#poolKey !== undefined) return this.#poolKey;
    throw storageError("VOLUME_LOCKED", `the key of the pool is not known: ${this.locked}`, {
      remedy: "plinth pool unlock POOL",
    });
  }
}

async function readPoolKey(ring: KeyRing, passphrase: string | undefined): Promise<Uint8Array> {
  if (ring.kind === "file") return readKeyFile(ring.path);
  if (passphrase !== undefined) return derivePoolKey(passphrase, ring.salt);
  if (ring.path !== "") return derivePoolKey(readPassphraseFile(ring.path), ring.salt);
  throw storageError("KEY_MISSING", "its passphrase was not given since storaged started", {
    field: "passphrase",
    remedy: "plinth pool unlock POOL",
  });
}

async function newKeyOf(source: NewSource): Promise<{ salt: Uint8Array; poolKey: Uint8Array }> {
  if (source.kind === "file") {
    const poolKey = existsSync(source.path) ? readKeyFile(source.path) : makeKeyFile(source.path);
    return { salt: new Uint8Array(0), poolKey };
  }
  const salt = newSalt();
  const passphrase = source.passphrase ?? readPassphraseFile(source.path);
  return { salt, poolKey: await derivePoolKey(passphrase, salt) };
}

function wrongKey({ kind, path }: KeyRing): PlinthError {
  if (kind === "file" || path !== "") {
    return storageError("KEY_WRONG", `${path} holds another key than the pool's`, {
      field: kind === "file" ? "keyFile" : "passphraseFile",
    });
  }
  return storageError("KEY_WRONG", "that is not the pool's passphrase", { field: "passphrase" });
}
