// The bench's generator: cards in pairs, each of which sends to the other through whatever switch dials their sockets.
// Its work is JSON on the command line, its results are lines of JSON on standard output, one for each phase:
//   node dist/bench/support/generator.js '{"sockets":[…], …}'
import { waitFor } from "../../base/time/index.js";
import { GeneratorCard } from "./generator-card.js";
import { frameOrder, type TrafficSpec } from "./traffic.js";

export interface GeneratorWork extends TrafficSpec {
  /** Card n listens at sockets[n]; 2k and 2k + 1 talk to each other. */
  readonly sockets: readonly string[];
  readonly warmUpSeconds: number;
  readonly seconds: number;
  /** Frames of every conversation from the even cards, before any comes from the odd ones. */
  readonly leads: boolean;
  /** How often it is measured, one after the other. */
  readonly phases: number;
  /** Frames a second of all cards together, each with the time that it takes; 0: as many as go. */
  readonly rate: number;
}

export interface GeneratorResult {
  /** Frames a second that arrived, all cards together. */
  readonly framesPerSecond: number;
  /** Of the frames that the switch took, the share that never arrived. */
  readonly lost: number;
  /** Conversations a second of which the first frame arrived, when all were new; absent without `leads`. */
  readonly newPerSecond?: number;
  /** From card to card, by share of frames; absent when `rate` is 0. */
  readonly latencyUs?: { readonly p50: number; readonly p99: number; readonly p999: number };
}

/** A hundred cards take their time on a busy machine. */
const LINK_DEADLINE_MS = 120_000;
/** Turns of all cards together between two looks at the clock. */
const LOOPS_PER_LOOK = 512;
/** What is due goes in bursts of at most so many, so that a high rate is kept. */
const PACED_BURST = 32;
/** What a pause of the generator has left undone is not made up for when it was longer. */
const PAUSE_MS = 0.2;
/** How often the even cards lead through all conversations. */
const LEADS = 2;
/** A time stamp counts tenths of a microsecond; latencies up to so many are told apart. */
const STAMPS_PER_MS = 10_000;
const STAMPS_MAX = 1_000_000;
/** What was sent last may still be under way. */
const SETTLE_MS = 200;

const work = JSON.parse(process.argv[2] ?? "{}") as GeneratorWork;
const order = frameOrder(work.flows, work.distribution);
const cards = await Promise.all(
  work.sockets.map((path, card) => GeneratorCard.accept(path, card, work, order)),
);
try {
  await untilLinked();
  const news = work.leads ? { newPerSecond: lead() } : {};
  for (const card of cards) card.follow(order);
  saturate(work.warmUpSeconds);
  for (let phase = 0; phase < work.phases; phase++) {
    const result = work.rate > 0 ? pace() : saturate(work.seconds);
    process.stdout.write(`${JSON.stringify({ ...result, ...news })}\n`);
  }
} finally {
  for (const card of cards) card.close();
}

/** Sends single frames until they arrive everywhere. */
async function untilLinked(): Promise<void> {
  const senders = cards.filter((_, i) => i % 2 === 0 || !work.leads);
  const receivers = cards.filter((_, i) => i % 2 === 1 || !work.leads);
  await waitFor(
    () => {
      for (const card of senders) card.offer(1);
      for (const card of cards) card.reap();
      return receivers.every((card) => card.received > 0);
    },
    "frames to pass from every card to its partner",
    LINK_DEADLINE_MS,
    5,
  );
}

/** Every conversation in turn, by the cards that open them. Returns how many began a second, in the first round. */
function lead(): number {
  const inTurn = Uint32Array.from({ length: work.flows }, (_, n) => n);
  const leaders = cards.filter((_, i) => i % 2 === 0);
  for (const card of leaders) card.follow(inTurn);
  const before = totals();
  const startMs = performance.now();
  round(leaders);
  const began = since(before, performance.now() - startMs);
  for (let n = 1; n < LEADS; n++) round(leaders);
  return began.framesPerSecond;
}

/** As many frames of each leader as there are conversations. */
function round(leaders: readonly GeneratorCard[]): void {
  const ends = leaders.map((card) => card.taken + work.flows);
  const endMs = performance.now() + LINK_DEADLINE_MS;
  let isBehind = true;
  while (isBehind && performance.now() < endMs) {
    isBehind = false;
    for (let i = 0; i < leaders.length; i++) {
      const card = leaders[i]!;
      const left = ends[i]! - card.taken;
      isBehind ||= left > 0;
      card.offer(Math.min(32, Math.max(0, left)));
    }
    for (const card of cards) card.reap();
  }
}

/** Keeps all rings full for so long. */
function saturate(seconds: number): GeneratorResult {
  const before = totals();
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  let nowMs = startMs;
  const loops = Math.ceil(LOOPS_PER_LOOK / cards.length);
  for (; nowMs < endMs; nowMs = performance.now()) {
    for (let n = 0; n < loops; n++) {
      for (let i = 0; i < cards.length; i++) {
        cards[i]!.reap();
        cards[i]!.offer(512);
      }
    }
  }
  return since(before, nowMs - startMs);
}

/** Sends at the given rate, whatever is due at a time, and looks how long each frame takes. */
function pace(): GeneratorResult {
  const counts = new Uint32Array(STAMPS_MAX + 1);
  const originMs = performance.now();
  const stampNow = (): number => 1 + Math.floor((performance.now() - originMs) * STAMPS_PER_MS);
  let isCounting = false;
  let now = 0;
  const count = (stamp: number): void => {
    if (!isCounting || stamp === 0) return;
    const taken = Math.min(STAMPS_MAX, Math.max(0, now - stamp));
    counts[taken] = counts[taken]! + 1;
  };
  // Frames of the time when all rings were full have no stamp.
  for (const end = performance.now() + SETTLE_MS; performance.now() < end; )
    for (const card of cards) card.reap();
  isCounting = true;
  const before = totals();
  const startMs = performance.now();
  const endMs = startMs + work.seconds * 1000;
  const gapMs = 1000 / work.rate;
  const pauseMs = Math.max(100 * gapMs, PAUSE_MS);
  let dueMs = startMs;
  let turn = 0;
  let nowMs = startMs;
  for (; nowMs < endMs; nowMs = performance.now()) {
    // A pause of the generator must not become a burst.
    if (nowMs - dueMs > pauseMs) dueMs = nowMs;
    if (nowMs >= dueMs) {
      const due = Math.min(PACED_BURST, 1 + Math.floor((nowMs - dueMs) / gapMs));
      cards[turn]!.offer(due, stampNow());
      turn = (turn + 1) % cards.length;
      dueMs += due * gapMs;
    }
    now = stampNow();
    for (let i = 0; i < cards.length; i++) cards[i]!.reapStamps(count);
  }
  for (const end = performance.now() + SETTLE_MS; performance.now() < end; ) {
    now = stampNow();
    for (const card of cards) card.reapStamps(count);
  }
  for (const card of cards) card.offer(0);
  return {
    ...since(before, nowMs - startMs),
    latencyUs: { p50: quantile(counts, 0.5), p99: quantile(counts, 0.99), p999: quantile(counts, 0.999) },
  };
}

function quantile(counts: Uint32Array, share: number): number {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all === 0) throw new Error("no frame arrived with its time");
  let seen = 0;
  for (let stamp = 0; stamp < counts.length; stamp++) {
    seen += counts[stamp]!;
    if (seen >= share * all) return (1000 * stamp) / STAMPS_PER_MS;
  }
  return (1000 * STAMPS_MAX) / STAMPS_PER_MS;
}

function totals(): { readonly received: number; readonly taken: number } {
  return {
    received: cards.reduce((sum, card) => sum + card.received, 0),
    taken: cards.reduce((sum, card) => sum + card.taken, 0),
  };
}

function since(before: ReturnType<typeof totals>, elapsedMs: number): GeneratorResult {
  const now = totals();
  const received = now.received - before.received;
  const taken = now.taken - before.taken;
  if (received === 0) throw new Error("nothing was forwarded");
  return {
    framesPerSecond: (1000 * received) / elapsedMs,
    lost: Math.max(0, 1 - received / Math.max(1, taken)),
  };
}
