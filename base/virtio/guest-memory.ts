// One guest's memory: up to 32 regions of files mapped into the window, and the checked way in.
// Invariant: translate answers an offset only when the whole range lies inside one region of this guest; the
// window also shows other guests, so this check is the isolation between them.
// Thread: the owner of the window. Hot: yes (translate).
import { fstatSync } from "node:fs";
import { closeFile, duplicateFile, PAGE_SIZE_BYTES } from "../linux/index.js";
import type { GuestWindow } from "./guest-window.js";
import { mapShared, memoryInvalid } from "./shared-mapping.js";
import { NEAR_HIGH, NEAR_LOW, NEAR_SIZE, NEAR_START } from "./split-ring.js";
import type { VhostUserRegion } from "./vhost-user-wire.js";

/** Regions of one guest, hot-added memory included. */
export const GUEST_REGIONS_MAX = 32;
const BELOW_4_GIB = 0x1_0000_0000;

export interface GuestMemoryOptions {
  /** Takes files that can be truncated under us (hugetlbfs files, `dpdk-testpmd`). Only for peers that are trusted. */
  readonly allowUnsealed?: boolean;
}

export class GuestMemory {
  readonly window: GuestWindow;
  regionCount = 0;
  readonly #allowUnsealed: boolean;
  readonly #guestBase = new Float64Array(GUEST_REGIONS_MAX);
  readonly #userBase = new Float64Array(GUEST_REGIONS_MAX);
  readonly #size = new Float64Array(GUEST_REGIONS_MAX);
  readonly #start = new Float64Array(GUEST_REGIONS_MAX);
  /** The region found last; none after any change. */
  #hint = GUEST_REGIONS_MAX - 1;
  /** The same region for whoever translates many addresses, when its own all have one upper word: see NEAR_LOW. */
  readonly near = new Uint32Array(4);
  readonly #windowOffset = new Float64Array(GUEST_REGIONS_MAX);
  /** How often each region was added. */
  readonly #uses = new Float64Array(GUEST_REGIONS_MAX);
  /** Which bytes of which file each region is. */
  readonly #file: string[] = [];
  readonly #fileOffset = new Float64Array(GUEST_REGIONS_MAX);
  /** Descriptors of our own, for whoever takes the guest over. */
  readonly #fds = new Int32Array(GUEST_REGIONS_MAX);

  constructor(window: GuestWindow, options: GuestMemoryOptions = {}) {
    this.window = window;
    this.#allowUnsealed = options.allowUnsealed ?? false;
  }

  /**
   * Replaces all regions. Throws GUEST_MEMORY_INVALID or GUEST_MEMORY_TOO_LARGE, and then has none. The
   * descriptors stay the caller's.
   */
  map(regions: readonly VhostUserRegion[], fds: readonly number[]): void {
    this.unmap();
    assertDisjoint(regions);
    try {
      for (let i = 0; i < regions.length; i++) this.#add(regions[i]!, fds[i]!);
    } catch (thrown) {
      this.unmap();
      throw thrown;
    }
  }

  /**
   * Adds one region. Throws as map() does, and then has what it had. The descriptor stays the caller's. One that is there
   * already, of the same file, counts once more and goes with as many remove(): QEMU 7.2 asks for every queue pair.
   */
  add(region: VhostUserRegion, fd: number): void {
    const known = this.#find(region);
    if (known >= 0 && this.#file[known] === fileKey(region, fd)) {
      this.#uses[known]!++;
      return;
    }
    const present = Array.from({ length: this.regionCount }, (_, i) => this.#region(i));
    assertDisjoint([...present, region]);
    this.#add(region, fd);
  }

  /**
   * Drops the region with these addresses and this size; offsets into it are void once it was dropped as often as it was
   * added. Throws GUEST_MEMORY_INVALID when
   * there is none.
   */
  remove(region: VhostUserRegion): void {
    const { guestAddress, sizeBytes } = region;
    const i = this.#find(region);
    if (i < 0) throw memoryInvalid(`there is no region of ${sizeBytes} bytes at ${guestAddress}`);
    if (--this.#uses[i]! > 0) return;
    this.#forget();
    this.window.giveBack(this.#windowOffset[i]!);
    closeFile(this.#fds[i]!);
    const last = --this.regionCount;
    this.#guestBase[i] = this.#guestBase[last]!;
    this.#userBase[i] = this.#userBase[last]!;
    this.#size[i] = this.#size[last]!;
    this.#start[i] = this.#start[last]!;
    this.#windowOffset[i] = this.#windowOffset[last]!;
    this.#uses[i] = this.#uses[last]!;
    this.#file[i] = this.#file[last]!;
    this.#fileOffset[i] = this.#fileOffset[last]!;
    this.#fds[i] = this.#fds[last]!;
  }

  /** Drops all regions; every offset given out before is void. */
  unmap(): void {
    for (let i = 0; i < this.regionCount; i++) {
      this.window.giveBack(this.#windowOffset[i]!);
      closeFile(this.#fds[i]!);
    }
    this.regionCount = 0;
    this.#forget();
  }

  /** The window offset of `length` bytes at a guest address, or −1 when they are not all in one region. */
  translate(low: number, high: number, length: number): number {
    const address = high * 0x1_0000_0000 + low;
    // Buffers lie beside each other: most often it is the region of the last one.
    const hint = this.#hint;
    const near = address - this.#guestBase[hint]!;
    if (hint < this.regionCount && near >= 0 && near + length <= this.#size[hint]!)
      return this.#start[hint]! + near;
    for (let i = 0; i < this.regionCount; i++) {
      const relative = address - this.#guestBase[i]!;
      if (relative < 0 || relative + length > this.#size[i]!) continue;
      this.#remember(i);
      return this.#start[i]! + relative;
    }
    return -1;
  }

  #remember(i: number): void {
    this.#hint = i;
    const first = this.#guestBase[i]!;
    const low = first % BELOW_4_GIB;
    this.near[NEAR_LOW] = low;
    this.near[NEAR_HIGH] = (first - low) / BELOW_4_GIB;
    this.near[NEAR_SIZE] = low + this.#size[i]! < BELOW_4_GIB ? this.#size[i]! : 0;
    this.near[NEAR_START] = this.#start[i]!;
  }

  /** Regions have come or gone. */
  #forget(): void {
    this.#hint = GUEST_REGIONS_MAX - 1;
    this.near[NEAR_SIZE] = 0;
  }

  /** As translate, for an address in the front-end's process (ring addresses). */
  translateUser(address: number, length: number): number {
    for (let i = 0; i < this.regionCount; i++) {
      const relative = address - this.#userBase[i]!;
      if (relative >= 0 && relative + length <= this.#size[i]!) return this.#start[i]! + relative;
    }
    return -1;
  }

  /** The guest address of a window offset that translate() gave out, or −1. */
  guestAddress(offset: number): number {
    for (let i = 0; i < this.regionCount; i++) {
      const relative = offset - this.#start[i]!;
      if (relative >= 0 && relative < this.#size[i]!) return this.#guestBase[i]! + relative;
    }
    return -1;
  }

  /** Every region as often as it was added, with a descriptor that stays ours. */
  list(): { readonly region: VhostUserRegion; readonly fd: number }[] {
    const all: { readonly region: VhostUserRegion; readonly fd: number }[] = [];
    for (let i = 0; i < this.regionCount; i++)
      for (let times = this.#uses[i]!; times > 0; times--)
        all.push({ region: this.#region(i), fd: this.#fds[i]! });
    return all;
  }

  /** The region with these addresses and this size, or −1. */
  #find({ guestAddress, userAddress, sizeBytes }: VhostUserRegion): number {
    for (let i = 0; i < this.regionCount; i++) {
      const sameAddress = this.#guestBase[i] === guestAddress && this.#userBase[i] === userAddress;
      if (sameAddress && this.#size[i] === sizeBytes) return i;
    }
    return -1;
  }

  #region(i: number): VhostUserRegion {
    return {
      guestAddress: this.#guestBase[i]!,
      userAddress: this.#userBase[i]!,
      sizeBytes: this.#size[i]!,
      fileOffset: this.#fileOffset[i]!,
    };
  }

  #add(region: VhostUserRegion, fd: number): void {
    const { fileOffset, sizeBytes } = region;
    const mapping = mapShared(this.window, { fd, fileOffset, sizeBytes }, this.#allowUnsealed);
    const i = this.regionCount++;
    this.#fds[i] = duplicateFile(fd);
    this.#guestBase[i] = region.guestAddress;
    this.#userBase[i] = region.userAddress;
    this.#size[i] = region.sizeBytes;
    this.#start[i] = mapping.start;
    this.#windowOffset[i] = mapping.windowOffset;
    this.#uses[i] = 1;
    this.#file[i] = fileKey(region, fd);
    this.#fileOffset[i] = fileOffset;
  }
}

function fileKey({ fileOffset }: VhostUserRegion, fd: number): string {
  const { dev, ino } = fstatSync(fd);
  return `${dev} ${ino} ${fileOffset}`;
}

function assertDisjoint(regions: readonly VhostUserRegion[]): void {
  if (regions.length > GUEST_REGIONS_MAX) throw memoryInvalid(`${regions.length} regions`);
  const sorted = [...regions].sort((a, b) => a.guestAddress - b.guestAddress);
  let end = 0;
  for (let i = 0; i < sorted.length; i++) {
    const { sizeBytes, guestAddress, fileOffset, userAddress } = sorted[i]!;
    if (sizeBytes === 0 || sizeBytes % PAGE_SIZE_BYTES !== 0)
      throw memoryInvalid(`a region of ${sizeBytes} bytes`);
    if (fileOffset % PAGE_SIZE_BYTES !== 0 || guestAddress % 16 !== 0 || userAddress % 16 !== 0) {
      throw memoryInvalid("a region is not aligned");
    }
    if (guestAddress < end) throw memoryInvalid("regions overlap");
    end = guestAddress + sizeBytes;
    const last = Math.max(end, userAddress + sizeBytes, fileOffset + sizeBytes);
    if (!Number.isSafeInteger(last)) throw memoryInvalid("a region ends beyond 2^53");
  }
}
