// The keys of a pool's encrypted volumes, as far as they are known: one cipher for a volume and all its clones. A volume
// whose key is not known is kept, cleaned and checked like every other; only its clients are refused.
// Thread: the pool's worker. Hot: no.
import { type BlockCipher, createBlockCipher } from "../volume/block-cipher.js";
import type { Volume } from "../volume/volume.js";

export class VolumeKeys {
  readonly #volumes: ReadonlyMap<number, Volume>;
  readonly #ciphers = new Map<string, BlockCipher>();

  constructor(volumes: ReadonlyMap<number, Volume>) {
    this.#volumes = volumes;
  }

  /** The key called `keyId` is known from now on. */
  unlock(keyId: string, key: Uint8Array): void {
    if (this.#ciphers.has(keyId)) return;
    this.#ciphers.set(keyId, createBlockCipher(key));
    for (const volume of this.#volumes.values()) this.attach(volume);
  }

  attach(volume: Volume): void {
    volume.cipher = this.#ciphers.get(volume.keyId);
  }

  /** A volume is gone, and with the last one that has its key the key. */
  detach({ keyId }: Volume): void {
    for (const other of this.#volumes.values()) if (other.keyId === keyId) return;
    this.#ciphers.get(keyId)?.close();
    this.#ciphers.delete(keyId);
  }

  close(): void {
    for (const volume of this.#volumes.values()) volume.cipher = undefined;
    for (const cipher of this.#ciphers.values()) cipher.close();
    this.#ciphers.clear();
  }
}
