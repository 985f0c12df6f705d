// Whose turn it is when several ports have more than the thread can do: whoever's frames cost more than others' gets
// fewer turns, so that each port has about the same time. A guest whose frames all need the tables, a new connection or
// a controller takes from the others what one with ordinary traffic would.
//
//   now and then: time per frame of each port that gives many ─► turns it sits out for each that it has
//   frames that begin something new (connection, station, cached way, packet-in) count for more: they also make others slower
//   sits out only while others gave many in the last breath: no time is wasted
//
// What a frame costs behind a patch is its port's, too: whose it is is known there (PatchPort.origin), and what one
// measured turn has brought about counts with the next. Frames wait in the port meanwhile.
// Invariant: no port waits more than TURNS_OUT_MAX breaths. Thread: datapath worker. Hot: yes.
import { FAIR_COST_MIN, FAIR_FRAMES_MIN, NEWS_CHARGE, TURNS_OUT_MAX } from "./limits.js";

/** How much an older measurement counts. */
const MEMORY = 0.5;
/** About a millisecond: dearer frames are all the same. */
const COST_MAX_PS = 2 ** 30;
/** So that sums stay small integers. */
const BEHIND_MAX = 2 ** 30 - 1;

/** What is known of one port. */
export class FairTurn {
  /** Picoseconds per frame, of late; 0: it did not have enough to do to tell. A small integer, as all times here are. */
  costPs = 0;
  /** Breaths to sit out after each turn, and still. */
  turnsOut = 0;
  left = 0;
  /** Frames that it gave in the last breath. */
  frames = 0;
  /** Of the last turn that was measured: its frames, and what they took and began behind patches. */
  measured = 0;
  behindNs = 0;
  behindNews = 0;
}

export class FairTurns {
  /** Frames of the last breath, and of this one so far. */
  #last = 0;
  #now = 0;

  /** Whether the port has its turn in this breath; done() is to follow. */
  begins(turn: FairTurn): boolean {
    const others = this.#last - turn.frames;
    turn.frames = 0;
    if (turn.left === 0) return true;
    if (others < FAIR_FRAMES_MIN) turn.left = 0;
    else turn.left--;
    return turn.left === 0;
  }

  /** The port gave so many frames. */
  done(turn: FairTurn, frames: number): void {
    turn.frames = frames;
    turn.left = frames === 0 ? 0 : turn.turnsOut;
    this.#now += frames;
  }

  endBreath(): void {
    this.#last = this.#now;
    this.#now = 0;
  }

  /** Frames of its last measured turn took so long behind a patch. */
  chargeBehind(turn: FairTurn, elapsedNs: number, news: number): void {
    turn.behindNs = Math.min(BEHIND_MAX, turn.behindNs + elapsedNs);
    turn.behindNews = Math.min(BEHIND_MAX, turn.behindNews + news);
  }

  /** The port's last frames took so long together, and began so many new things. */
  measure(turn: FairTurn, frames: number, elapsedNs: number, news: number): void {
    const { measured, behindNs, behindNews } = turn;
    turn.measured = frames;
    turn.behindNs = 0;
    turn.behindNews = 0;
    if (frames < FAIR_FRAMES_MIN) {
      turn.costPs = 0;
      turn.turnsOut = 0;
      return;
    }
    // A division of small integers is compiled for whole results as long as there were no others, and anew after the
    // first that is not; this one never is whole, and makes all that is counted with it fractions from the beginning.
    const share = 1 / frames;
    const shareBehind = 1 / (measured + 0.5);
    // Math.min() would make small integers of whole results, and the same of what is counted with them.
    const newsShare = news * share + behindNews * shareBehind;
    const charge = 1 + NEWS_CHARGE * (newsShare < 1 ? newsShare : 1);
    const costPs = Math.min(COST_MAX_PS, 1000 * (elapsedNs * share + behindNs * shareBehind) * charge);
    turn.costPs = (turn.costPs === 0 ? costPs : MEMORY * turn.costPs + (1 - MEMORY) * costPs) | 0;
  }

  /** After all were measured: `least` is the smallest cost of any that is not 0. */
  judge(turn: FairTurn, least: number): void {
    // With the halves all are fractions from the beginning, as in measure(), and a port without a cost is a cheap one.
    const ratio = (turn.costPs + 0.5) / (least + 0.5);
    const turnsOut = Math.min(TURNS_OUT_MAX, ratio + 0.5) | 0;
    turn.turnsOut = ratio < FAIR_COST_MIN ? 0 : turnsOut;
  }
}
