// AES-256-XTS by the OpenSSL that Node carries, on memory at addresses: a key's context is made once, nothing is
// allocated afterwards. node:crypto makes an object per data unit instead, at four times the cost.
// Source: IEEE 1619, OpenSSL EVP_EncryptInit(3). Thread: its creator. Hot: yes.
import { assert } from "../assert/index.js";
import { addressOf, define } from "./ffi.js";

export const XTS_KEY_SIZE = 64;

interface Evp {
  readonly newContext: () => number;
  readonly freeContext: (context: number) => void;
  readonly cipher: () => number;
  readonly init: (
    ctx: number,
    cipher: number,
    engine: number,
    key: number,
    iv: number,
    enc: number,
  ) => number;
  readonly update: (ctx: number, out: number, outLength: number, from: number, length: number) => number;
}

let evp: Evp | undefined | "untried" = "untried";

/** Undefined where the process shows no such functions: a Node that was linked otherwise, another system. */
function loadEvp(): Evp | undefined {
  if (evp !== "untried") return evp;
  try {
    const init = "int EVP_CipherInit_ex(intptr_t, intptr_t, intptr_t, intptr_t, intptr_t, int)";
    evp = {
      newContext: define("intptr_t EVP_CIPHER_CTX_new()"),
      freeContext: define("void EVP_CIPHER_CTX_free(intptr_t)"),
      cipher: define("intptr_t EVP_aes_256_xts()"),
      init: define(init),
      update: define("int EVP_CipherUpdate(intptr_t, intptr_t, intptr_t, intptr_t, int)"),
    };
    evp.cipher();
  } catch {
    evp = undefined;
  }
  return evp;
}

export function hasAesXts(): boolean {
  return loadEvp() !== undefined;
}

/** One key of 64 bytes. Only where hasAesXts(). */
export class AesXts {
  readonly #evp: Evp;
  readonly #iv = new Uint32Array(new ArrayBuffer(16));
  readonly #ivAddress = addressOf(this.#iv);
  readonly #length = new Int32Array(new ArrayBuffer(16));
  readonly #lengthAddress = addressOf(this.#length);
  #encrypting: number;
  #decrypting: number;

  constructor(key: Uint8Array) {
    const loaded = loadEvp();
    assert(loaded !== undefined, "OpenSSL's functions are there");
    assert(key.byteLength === XTS_KEY_SIZE, "a key of 512 bits");
    this.#evp = loaded;
    const copy = Uint8Array.from(key);
    this.#encrypting = this.#newContext(copy, 1);
    this.#decrypting = this.#newContext(copy, 0);
    copy.fill(0);
  }

  /** Encrypts `length` bytes at the address `from` to `to`, which may be the same, as data unit `unit` (below 2³²). */
  encrypt(unit: number, from: number, to: number, length: number): void {
    this.#transform(this.#encrypting, unit, from, to, length);
  }

  decrypt(unit: number, from: number, to: number, length: number): void {
    this.#transform(this.#decrypting, unit, from, to, length);
  }

  /** The key is wiped from memory. */
  close(): void {
    this.#evp.freeContext(this.#encrypting);
    this.#evp.freeContext(this.#decrypting);
    this.#encrypting = 0;
    this.#decrypting = 0;
  }

  #newContext(key: Uint8Array, encrypt: number): number {
    const context = this.#evp.newContext();
    const made = this.#evp.init(context, this.#evp.cipher(), 0, addressOf(key), this.#ivAddress, encrypt);
    assert(made === 1, "OpenSSL takes the key");
    return context;
  }

  #transform(context: number, unit: number, from: number, to: number, length: number): void {
    assert(context !== 0, "the cipher is open");
    // The tweak: little endian, zeros above.
    this.#iv[0] = unit;
    const began = this.#evp.init(context, 0, 0, 0, this.#ivAddress, -1);
    const done = this.#evp.update(context, to, this.#lengthAddress, from, length);
    assert(began === 1 && done === 1 && this.#length[0] === length, "OpenSSL encrypts whole blocks");
  }
}
