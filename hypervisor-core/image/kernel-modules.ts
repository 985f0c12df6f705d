// Which kernel modules the guest loads and in which order, read from the modules themselves: each carries
// "depends=a,b" in its .modinfo section (kernel: scripts/mod/modpost.c), so no modules.dep and no depmod is needed.
// Pure: no I/O.
import { hypervisorError } from "../errors.js";

/** Loaded before anything else: without them the guest has no disk, no network and no command agent. */
export const EARLY_MODULES = ["virtio_pci", "virtio_console", "virtio_net", "virtio_blk"] as const;
/** Loaded while the guest is already at work; a kernel without them still boots. */
export const LATE_MODULES = ["button", "evdev", "virtio_rng", "8021q", "virtio_balloon", "nbd"] as const;

export interface KernelModule {
  /** With underscores, as the kernel reports it. */
  readonly name: string;
  /** Path below the modules directory, as found. */
  readonly path: string;
  readonly depends: readonly string[];
}

/** "virtio-rng.ko.xz" and "virtio_rng.ko" are the same module to the kernel. */
export function moduleName(path: string): string | undefined {
  const match = /([^/]+)\.ko(?:\.(?:xz|zst|gz))?$/.exec(path);
  return match?.[1]?.replaceAll("-", "_");
}

/** The dependencies named in an uncompressed module; any bytes are accepted, without an entry there are none. */
export function parseModuleDepends(bytes: Uint8Array): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const key = Buffer.from("\0depends=");
  const at = buffer.indexOf(key);
  if (at < 0) return [];
  const end = buffer.indexOf(0, at + key.length);
  const list = buffer.toString("latin1", at + key.length, end < 0 ? at + key.length : end);
  return list
    .split(",")
    .filter((name) => name.length > 0)
    .map((name) => name.replaceAll("-", "_"));
}

/** Finds a module by name; undefined when the kernel has it built in or not at all. */
export type ModuleLookup = (name: string) => KernelModule | undefined;

/**
 * `wanted` and everything they need, each after what it depends on, without those in `loaded`.
 * Names that `lookup` does not know count as built in. Throws IMAGE_BUILD_FAILED on a dependency cycle.
 */
export function orderModules(
  wanted: readonly string[],
  lookup: ModuleLookup,
  loaded: ReadonlySet<string> = new Set(),
): KernelModule[] {
  const order: KernelModule[] = [];
  const done = new Set(loaded);
  const visit = (name: string, path: readonly string[]): void => {
    if (done.has(name)) return;
    if (path.includes(name)) {
      throw hypervisorError(
        "IMAGE_BUILD_FAILED",
        `kernel modules depend in a circle: ${[...path, name].join(" → ")}`,
      );
    }
    const module = lookup(name);
    if (module !== undefined) {
      for (const dependency of module.depends) visit(dependency, [...path, name]);
      order.push(module);
    }
    done.add(name);
  };
  for (const name of wanted) visit(name, []);
  return order;
}
