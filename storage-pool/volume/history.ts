// How far back a volume can be rewound: keyframes, which are whole maps, and the records of the log after each.
//
//   keyframe 0 ──records──► (revert) keyframe 1 ──records──► now          marks in the log say when
//
// A revert makes the content jump, which no record says: from then on the next keyframe holds. The first keyframe follows
// at a distance of the window, by taking up the records of one segment after the other. Segments with records after the
// first keyframe that the catalogue knows are pinned. Invariants: times never fall, neither in the log nor from keyframe
// to keyframe; what the catalogue's first keyframe needs stays until it names a later one.
// Thread: the pool's worker. Hot: no.
import type { KeyframeSpec } from "../pool/open-pool.js";
import type { Root } from "./volume.js";

export class Keyframe {
  readonly root: Root;
  /** Everything written up to then is in it, and nothing later; ms since 1970. */
  timeMs: number;

  constructor(root: Root, timeMs: number) {
    this.root = root;
    this.timeMs = timeMs;
  }
}

export type KeyframeRecord = Omit<KeyframeSpec, "mapFile">;

export class History {
  /** How far back one can go, ms; 0: nothing is kept. */
  windowMs: number;
  /** The latest time that the log says. */
  clockMs: number;
  /** Oldest first. */
  keyframes: Keyframe[] = [];
  /** Keyframes that are not needed any more, but that the catalogue may still name. */
  dropped: Root[] = [];
  /** Nothing can be taken up before. */
  nextLookMs = 0;
  /** Room was short: the window is not what was asked for. */
  shortened = false;
  /** Sequence of the first keyframe that the catalogue names. */
  #recorded: number | undefined;

  constructor(windowMs: number, clockMs: number) {
    this.windowMs = windowMs;
    this.clockMs = clockMs;
  }

  /** From here on one can choose a moment; undefined when nothing is kept. */
  get earliestMs(): number | undefined {
    return this.keyframes[0]?.timeMs;
  }

  /** Records above this sequence are needed; undefined when none are. */
  get pinnedFrom(): number | undefined {
    const first = this.keyframes[0]?.root.sequence;
    if (first === undefined || this.#recorded === undefined) return first ?? this.#recorded;
    return Math.min(first, this.#recorded);
  }

  /** What a checkpoint has to say of it. */
  records(): KeyframeRecord[] {
    return this.keyframes.map(({ root: { name, sequence, sizeBytes }, timeMs }) => ({
      name,
      sequence,
      sizeBytes,
      timeMs,
    }));
  }

  /** The catalogue names these now. */
  recorded(keyframes: readonly KeyframeRecord[]): void {
    this.#recorded = keyframes[0]?.sequence;
  }

  /** The first keyframe goes; true when there was another after it. */
  dropFirst(): boolean {
    if (this.keyframes.length < 2) return false;
    this.dropped.push((this.keyframes.shift() as Keyframe).root);
    this.nextLookMs = 0;
    return true;
  }

  /** Nothing is kept any more of what was; the roots are the caller's. */
  clear(): Root[] {
    const roots = [...this.keyframes.map((keyframe) => keyframe.root), ...this.dropped];
    this.keyframes = [];
    this.dropped = [];
    this.#recorded = undefined;
    this.nextLookMs = 0;
    return roots;
  }
}
