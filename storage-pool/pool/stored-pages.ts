// Goes through what map files hold of a pool's maps, and reads it from the medium whatever is in memory: the head and the
// table of each root's file, and every page against the checksum that the maps know. Looks at each page once, however
// many snapshots share it. Between two steps anything may happen to the maps: it goes on with what they are then.
// Thread: the pool's worker. Hot: no.
import { PlinthError } from "../../base/errors/index.js";
import { PAGE_SIZE } from "../log/format.js";
import type { MapFiles } from "../log/map-files.js";
import { MapLoader } from "../log/map-loader.js";
import type { MapPage } from "../volume/map-page.js";
import type { PageCache } from "../volume/page-cache.js";
import type { Root, Volume } from "../volume/volume.js";
import { fileOf } from "./root-files.js";

/** A page that does not stand in its file as it should. */
export interface BadPage {
  readonly volume: Volume;
  /** "" for the head, else the snapshot's name. */
  readonly root: string;
  readonly index: number;
  readonly page: MapPage;
}

export interface StoredPagesVisitor {
  onBadPage(bad: BadPage): void;
  /** The root's file cannot be opened after a restart; why. */
  onBadFile(volume: Volume, root: Root, why: string): void;
}

/** Places without a page that are passed at no cost, and pages read, in one step. */
const VISITS_PER_STEP = 16 * 1024;
const PAGES_PER_STEP = 128;

export class StoredPages {
  readonly #files: MapFiles;
  readonly #pages: PageCache;
  readonly #visitor: StoredPagesVisitor;
  /** Volumes and names of their roots that are still to be looked at; the last one next. */
  readonly #roots: { readonly volume: Volume; readonly name: string }[];
  readonly #seen = new WeakSet<MapPage>();
  #begun = false;
  #next = 0;

  constructor(volumes: Iterable<Volume>, files: MapFiles, pages: PageCache, visitor: StoredPagesVisitor) {
    this.#files = files;
    this.#pages = pages;
    this.#visitor = visitor;
    this.#roots = [...volumes].flatMap((volume) => volume.roots().map(({ name }) => ({ volume, name })));
    this.#roots.reverse();
  }

  /** Bytes of pages read in this step; undefined when all was looked at. */
  step(): number | undefined {
    const current = this.#roots.at(-1);
    if (current === undefined) return undefined;
    const { volume, name } = current;
    const root = volume.roots().find((each) => each.name === name);
    // What was deleted meanwhile needs nothing.
    if (root?.durable === undefined || root.files.length === 0) return this.#endRoot();
    if (!this.#begun) {
      this.#begun = true;
      this.#checkFile(volume, root);
      return 0;
    }
    const { durable } = root;
    let read = 0;
    for (let visits = 0; visits < VISITS_PER_STEP && read < PAGES_PER_STEP; visits++) {
      if (this.#next >= durable.pageCount) return this.#endRoot() + read * PAGE_SIZE;
      const index = this.#next++;
      const page = durable.page(index);
      if (page === null || page.file === undefined || this.#seen.has(page)) continue;
      this.#seen.add(page);
      read++;
      if (!this.#pages.standsWell(page)) this.#visitor.onBadPage({ volume, root: name, index, page });
    }
    return read * PAGE_SIZE;
  }

  #endRoot(): number {
    this.#roots.pop();
    this.#begun = false;
    this.#next = 0;
    return 0;
  }

  #checkFile(volume: Volume, root: Root): void {
    const loader = new MapLoader(this.#files);
    try {
      loader.load(fileOf(root));
    } catch (thrown) {
      if (!(thrown instanceof PlinthError) || thrown.code !== "VOLUME_DAMAGED") throw thrown;
      this.#visitor.onBadFile(volume, root, thrown.message);
    } finally {
      loader.close();
    }
  }
}

/** For people: which part of what. */
export function describePage({ root, index }: BadPage): string {
  return `the map of the 2 MiB from block ${index * 512}${root === "" ? "" : ` of snapshot ${root}`} on`;
}
