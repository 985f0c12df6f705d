// Numbers by which cookies name the rules of a policy. They come from what the rules say, not from their places, so that
// rules keep theirs when others are put before them or taken away, and a restart gives the same ones. A rule that is
// edited keeps its number, too, as a rule: it goes by one of its peers and ports alone, of those that fewest other rules
// have the one with the lowest hash (as in MinHash), and only where two rules go by the same one by all that they say. Pure.
import { hash32 } from "../network/hash.js";
import type { RuleModel } from "./policy-model.js";
import { isSameData } from "./same-data.js";

/** Numbers fit the 16 bits that a cookie has for them; 0 is no rule's. */
const IDS = 2 ** 16;
/** Of a policy with more rules than this the others have numbers beyond, of which a cookie holds a part. */
const RULES_NUMBERED_MAX = IDS / 2;

/** Rules with what they are known by, in their order. */
export interface NumberedRules {
  readonly rules: readonly RuleModel[];
  /** No two are the same, and the order of the rules does not matter. */
  readonly ids: readonly number[];
  readonly features: readonly (readonly number[])[];
}

export const NO_RULES: NumberedRules = { rules: [], ids: [], features: [] };

/** `before`: the rules as they were; of those that stay, nothing is hashed again. The numbers do not depend on it. */
export function numberRules(rules: readonly RuleModel[], before: NumberedRules = NO_RULES): NumberedRules {
  if (rules === before.rules) return before;
  const features = featuresOfAll(rules, before);
  const wanted = marksOf(rules, features).map((mark, at) => ({ at, mark }));
  wanted.sort((a, b) => a.mark - b.mark);
  const ids = new Array<number>(rules.length).fill(0);
  const taken = new Set<number>();
  wanted.forEach(({ at, mark }, place) => {
    let id = place < RULES_NUMBERED_MAX ? mark % IDS : IDS + place;
    while (id === 0 || taken.has(id)) id = (id + 1) % IDS;
    taken.add(id);
    ids[at] = id;
  });
  return { rules, ids, features };
}

/** An edit leaves most rules where they stood, counted from the first or from the last. */
function featuresOfAll(rules: readonly RuleModel[], before: NumberedRules): (readonly number[])[] {
  const shift = before.rules.length - rules.length;
  const stays = (at: number, place: number): boolean => {
    const [now, was] = [rules[at], before.rules[place]];
    return now !== undefined && was !== undefined && saysTheSame(now, was);
  };
  let start = 0;
  while (stays(start, start)) start++;
  let end = rules.length;
  while (end > start && end + shift > start && stays(end - 1, end + shift - 1)) end--;
  return [
    ...before.features.slice(0, start),
    ...rules.slice(start, end).map(featuresOf),
    ...before.features.slice(end + shift),
  ];
}

/** Wherever in the policy they stand. */
export function saysTheSame(a: RuleModel, b: RuleModel): boolean {
  return (
    a.direction === b.direction &&
    a.action === b.action &&
    a.name === b.name &&
    isSameData(a.peers, b.peers) &&
    isSameData(a.ports, b.ports)
  );
}

/** Numbers of 32 bits that tell each rule from all others, or from all but very few. */
function marksOf(rules: readonly RuleModel[], features: readonly (readonly number[])[]): number[] {
  const rarity = new Map<number, number>();
  for (const own of features) for (const feature of own) count(rarity, feature);
  const marks = features.map((own) => rarest(own, rarity));
  const shared = new Map<number, number>();
  for (const mark of marks) count(shared, mark);
  const repeats = new Map<string, number>();
  return marks.map((mark, i) => {
    if (shared.get(mark) === 1) return mark;
    const text = JSON.stringify({ ...rules[i], index: undefined });
    return hash32(`${text} ${count(repeats, text)}`);
  });
}

/** Hashes of its name, if it has one, else of each of its peers and ports. */
function featuresOf({ direction, action, name, peers = [], ports = [] }: RuleModel): number[] {
  const common = `${direction} ${action} `;
  if (name !== undefined || peers.length + ports.length === 0) return [hash32(common + (name ?? ""))];
  const features: number[] = [];
  for (const peer of peers) features.push(hash32(common + JSON.stringify(peer)));
  for (const port of ports) features.push(hash32(common + JSON.stringify(port)));
  return features;
}

function rarest(features: readonly number[], rarity: ReadonlyMap<number, number>): number {
  let best = 0;
  let fewest = Number.POSITIVE_INFINITY;
  for (const feature of features) {
    const own = rarity.get(feature) ?? 0;
    if (own > fewest || (own === fewest && feature >= best)) continue;
    [best, fewest] = [feature, own];
  }
  return best;
}

/** How often `one` has come now. */
function count<T>(counts: Map<T, number>, one: T): number {
  const now = (counts.get(one) ?? 0) + 1;
  counts.set(one, now);
  return now;
}
