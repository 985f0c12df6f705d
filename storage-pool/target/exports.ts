// What clients of the worker can ask for by name: volumes and their snapshots. Thread: the pool's worker. Hot: no.

import type { ExportSource } from "../nbd/nbd-connection.js";
import { NbdExport } from "../nbd/nbd-export.js";
import type { Turns } from "../qos/turns.js";
import { VolumeShare } from "../qos/volume-share.js";
import type { BlockDevice } from "../volume/block-device.js";
import { SnapshotDevice } from "../volume/snapshot-device.js";
import type { Volume } from "../volume/volume.js";

interface Served {
  readonly volume: Volume;
  readonly target: NbdExport;
}

const DEFAULT_NAMESPACE = "default/";

export class Exports {
  readonly #served = new Map<string, Served>();
  readonly #snapshots = new Map<string, NbdExport>();
  /** By the volume's number: what one may take, whatever it is called. */
  readonly #shares = new Map<number, VolumeShare>();
  /** Volumes that there are and that are not served; of which pool, and why. */
  readonly #refused = new Map<string, { readonly pool: string; readonly why: string }>();
  readonly #turns: Turns;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  shareOf({ id }: Pick<Volume, "id">): VolumeShare {
    const known = this.#shares.get(id);
    if (known !== undefined) return known;
    const made = new VolumeShare(this.#turns);
    this.#shares.set(id, made);
    return made;
  }

  /** The volume is gone for good. */
  forget(id: number): void {
    this.#shares.delete(id);
  }

  serve(volume: Volume): void {
    if (volume.locked) {
      this.#refused.set(volume.name, { pool: "", why: "it is encrypted, and its key is not known" });
      return;
    }
    const target = new NbdExport(
      shownName(volume.name),
      "Plinth volume",
      volume,
      false,
      this.shareOf(volume),
    );
    this.#refused.delete(volume.name);
    this.#served.set(volume.name, { volume, target });
  }

  /** Who asks for one of these volumes of a pool is told why it is not served; `reasons` by its number. */
  refuse(
    pool: string,
    volumes: readonly Pick<Volume, "id" | "name">[],
    reasons: ReadonlyMap<number, string>,
  ): void {
    for (const [name, refused] of this.#refused) if (refused.pool === pool) this.#refused.delete(name);
    for (const { id, name } of volumes) {
      const why = reasons.get(id);
      if (why !== undefined) this.#refused.set(name, { pool, why });
    }
  }

  /** A volume that is offered, and those of its snapshots that somebody asked for. */
  devicesOf({ name }: Pick<Volume, "name">): BlockDevice[] {
    const devices: BlockDevice[] = [];
    const served = this.#served.get(name);
    if (served !== undefined) devices.push(served.volume);
    for (const [key, { device }] of this.#snapshots) if (key.startsWith(`${name}@`)) devices.push(device);
    return devices;
  }

  /** A volume with its snapshots is not offered any more; returns the devices that clients may still use. */
  unserve(name: string): BlockDevice[] {
    const devices = this.devicesOf({ name });
    this.#refused.delete(name);
    for (const key of this.#snapshots.keys()) if (key.startsWith(`${name}@`)) this.#snapshots.delete(key);
    this.#served.delete(name);
    return devices;
  }

  /** The device of a snapshot that is not offered any more, if somebody asked for it. */
  dropSnapshot(volume: string, name: string): BlockDevice | undefined {
    const key = `${volume}@${name}`;
    const target = this.#snapshots.get(key);
    this.#snapshots.delete(key);
    return target?.device;
  }

  /** Everything, as it comes and goes. */
  everything(readOnly: boolean): ExportSource {
    const views = new ReadOnlyViews();
    const open = (name: string): NbdExport | undefined => {
      const target = this.#find(name);
      return readOnly && target !== undefined ? views.of(target) : target;
    };
    return {
      open,
      find: open,
      whyNot: (name) => this.#whyNot(name),
      list: () => [...this.#served.values()].map(({ target }) => (readOnly ? views.of(target) : target)),
    };
  }

  /** Just these, under their names; the first as the default export, too. */
  chosen(names: readonly string[], readOnly: boolean): ExportSource {
    const views = new ReadOnlyViews();
    const view = (name: string): NbdExport | undefined => {
      const target = this.#find(name);
      return readOnly && target !== undefined ? views.of(target) : target;
    };
    const chosen = (asked: string): string | undefined =>
      asked === "" ? names[0] : names.find((each) => shownName(each) === shownName(asked));
    const open = (asked: string): NbdExport | undefined => {
      const name = chosen(asked);
      return name === undefined ? undefined : view(name);
    };
    return {
      open,
      find: open,
      whyNot: (asked) => this.#whyNot(chosen(asked) ?? ""),
      list: () => names.map(view).filter((target) => target !== undefined),
    };
  }

  #whyNot(name: string): string | undefined {
    const [volume = ""] = name.split("@");
    return (this.#refused.get(volume) ?? this.#refused.get(DEFAULT_NAMESPACE + volume))?.why;
  }

  /** `namespace/volume`, `volume` of the default namespace, and `…@snapshot` read-only. */
  #find(name: string): NbdExport | undefined {
    const at = name.lastIndexOf("@");
    const volume = at < 0 ? name : name.slice(0, at);
    const served = this.#served.get(volume) ?? this.#served.get(DEFAULT_NAMESPACE + volume);
    if (served === undefined || at < 0) return served?.target;
    return this.#snapshot(served, name.slice(at + 1));
  }

  #snapshot({ volume }: Served, snapshot: string): NbdExport | undefined {
    const root = volume.snapshots.get(snapshot);
    if (root === undefined) return undefined;
    const key = `${volume.name}@${snapshot}`;
    const known = this.#snapshots.get(key);
    if (known !== undefined) return known;
    const device = new SnapshotDevice(volume, root);
    const made = new NbdExport(shownName(key), "Plinth snapshot", device, true, this.shareOf(volume));
    this.#snapshots.set(key, made);
    return made;
  }
}

/** The same devices for a socket that offers them read-only; each is made once, so that it can be disconnected. */
class ReadOnlyViews {
  readonly #made = new WeakMap<NbdExport, NbdExport>();

  of(target: NbdExport): NbdExport {
    const known = this.#made.get(target);
    if (known !== undefined) return known;
    const made = new NbdExport(target.name, target.description, target.device, true, target.share);
    this.#made.set(target, made);
    return made;
  }
}

/** The default namespace is left out, as users type it. */
function shownName(name: string): string {
  return name.startsWith(DEFAULT_NAMESPACE) ? name.slice(DEFAULT_NAMESPACE.length) : name;
}
