// Which bits of a packet's key the search through one table depends on, as Open vSwitch works it out for megaflows: only
// as much of each group of flows with one mask is looked at as is needed to find that none of them matches.
// Source: classifier.h of Open vSwitch, "Staged Lookup" and "Prefix Tracking"; Pfaff et al., "The Design and
// Implementation of Open vSwitch", NSDI 2015, section 5. For traces only: linear in the flows of the table.
// Thread: datapath worker.
import type { Flow } from "./flow.js";
import * as K from "./key.js";

/** Flows with the same mask. */
interface Group {
  readonly mask: Int32Array;
  readonly priorityMax: number;
  readonly flows: readonly Flow[];
  /** Words of the mask by stage, those without any left out. */
  readonly stages: readonly (readonly number[])[];
  /** Prefix lengths on K_DST and K_SRC of IPv4; 0 = none. */
  readonly prefixes: readonly [number, number];
}

/** Words with IPv4 addresses whose prefixes are tracked, in the order in which they are looked at. */
const TRACKED = [K.K_DST, K.K_SRC] as const;

export class TableSearch {
  readonly #groups: readonly Group[];
  /** Of each tracked word, every prefix that a flow matches. */
  readonly #prefixes: readonly (readonly Prefix[])[];

  constructor(flows: readonly Flow[]) {
    this.#groups = groupsOf(flows);
    this.#prefixes = TRACKED.map((word, i) =>
      this.#groups.flatMap(({ prefixes, flows: ofGroup }) => {
        const length = prefixes[i] as number;
        return length === 0 ? [] : ofGroup.map(({ key }) => ({ value: key.value[word] as number, length }));
      }),
    );
  }

  /** ORs the bits into `consulted` that finding `found` for `key` depends on. */
  consult(key: Int32Array, found: Flow | null, consulted: Int32Array): void {
    const isConjunction = found !== null && found.key.mask[K.K_CONJ_ID] !== 0;
    this.#search(key, consulted);
    if (!isConjunction) return;
    const before = key[K.K_CONJ_ID] as number;
    key[K.K_CONJ_ID] = found.key.value[K.K_CONJ_ID] as number;
    this.#search(key, consulted);
    key[K.K_CONJ_ID] = before;
  }

  #search(key: Int32Array, consulted: Int32Array): void {
    const tries = TRACKED.map((word, i) =>
      lookUp(this.#prefixes[i] as readonly Prefix[], key[word] as number),
    );
    let priority = -1;
    for (const group of this.#groups) {
      if (group.priorityMax <= priority) break;
      const flow = match(group, key, tries, consulted);
      // Clauses of conjunctions do not end the search.
      if (flow !== undefined && flow.program.clauses === null) priority = Math.max(priority, flow.priority);
    }
  }
}

function groupsOf(flows: readonly Flow[]): Group[] {
  const byMask = new Map<string, Flow[]>();
  for (const flow of flows) {
    const name = `${isIpv6(flow)} ${flow.key.mask.join(" ")}`;
    const others = byMask.get(name);
    if (others === undefined) byMask.set(name, [flow]);
    else others.push(flow);
  }
  return [...byMask.values()]
    .map((ofGroup) => {
      const first = ofGroup[0] as Flow;
      const { mask } = first.key;
      const prefixes = TRACKED.map((word) => (isIpv6(first) ? 0 : prefixLength(mask[word] as number)));
      return {
        mask,
        flows: ofGroup,
        priorityMax: ofGroup.reduce((max, { priority }) => Math.max(max, priority), -1),
        stages: stagesOf(mask),
        prefixes: prefixes as [number, number],
      };
    })
    .sort((a, b) => b.priorityMax - a.priorityMax);
}

/** The first words of its addresses are no IPv4 addresses. */
function isIpv6({ key }: Flow): boolean {
  return (key.value[K.K_TYPE_TCI] as number) >>> 16 === 0x86dd;
}

/** The highest matching flow; adds what it took to find it, or to find that there is none. */
function match(
  { mask, flows, stages, prefixes }: Group,
  key: Int32Array,
  tries: readonly Found[],
  consulted: Int32Array,
): Flow | undefined {
  const looked: number[] = [];
  const agrees = (flow: Flow, words: readonly number[]): boolean =>
    words.every((word) => ((key[word] as number) & (mask[word] as number)) === flow.key.value[word]);
  for (const [i, stage] of stages.entries()) {
    if (isExcluded(stage, prefixes, tries, consulted)) break;
    const words = [...looked, ...stage];
    const candidates = flows.filter((flow) => agrees(flow, words));
    if (candidates.length === 0) {
      const isLast = i === stages.length - 1;
      const asPorts = isLast && consultPorts(mask, flows, key, consulted);
      looked.push(...(asPorts ? stage.filter((word) => word !== K.K_TP) : stage));
      break;
    }
    looked.push(...stage);
    if (i < stages.length - 1) continue;
    for (const word of looked) consulted[word] = (consulted[word] as number) | (mask[word] as number);
    return candidates.reduce((best, one) => (one.priority > best.priority ? one : best));
  }
  // A group without a mask matches everything.
  if (stages.length === 0) return flows.reduce((best, one) => (one.priority > best.priority ? one : best));
  for (const word of looked) consulted[word] = (consulted[word] as number) | (mask[word] as number);
  return undefined;
}

/** The last stage did not match: of its ports, only as many bits count as tell them from all that flows have. */
function consultPorts(
  mask: Int32Array,
  flows: readonly Flow[],
  key: Int32Array,
  consulted: Int32Array,
): boolean {
  const ports = mask[K.K_TP] as number;
  if (ports === 0 || !hasPorts(mask)) return false;
  const length = 32 - trailingZeros(ports);
  const prefixes = flows.map(({ key: { value } }) => ({ value: value[K.K_TP] as number, length }));
  const { bits } = lookUp(prefixes, (key[K.K_TP] as number) & ports);
  consulted[K.K_TP] = (consulted[K.K_TP] as number) | (ports & prefixMask(bits));
  return true;
}

/** Whether no flow of the group can match by the prefixes of this stage alone; the bits that show it are added. */
function isExcluded(
  stage: readonly number[],
  prefixes: readonly [number, number],
  tries: readonly Found[],
  consulted: Int32Array,
): boolean {
  return TRACKED.some((word, i) => {
    const length = prefixes[i] as number;
    const { bits, lengths } = tries[i] as Found;
    if (length === 0 || !stage.includes(word) || lengths.has(length)) return false;
    const needed = prefixMask(bits);
    if (bits > length) return ((consulted[word] as number) & needed) === needed;
    consulted[word] = (consulted[word] as number) | needed;
    return true;
  });
}

// --- Stages

const METADATA = 0;
const ETHERNET = 1;
const NETWORK = 2;
const TRANSPORT = 3;

/** Words of the mask in the order in which they are looked at. */
function stagesOf(mask: Int32Array): number[][] {
  const stages: number[][] = [[], [], [], []];
  for (let word = 0; word < mask.length; word++)
    if (mask[word] !== 0) (stages[stageOf(word, mask)] as number[]).push(word);
  return stages.filter((words) => words.length > 0);
}

function stageOf(word: number, mask: Int32Array): number {
  if (word === K.K_TP) return hasPorts(mask) ? TRANSPORT : NETWORK;
  if (word === K.K_TCP_FLAGS || (word >= K.K_HARDWARE && word < K.K_PIPELINE) || word === K.K_CT_TP)
    return TRANSPORT;
  if (word === K.K_IP || (word >= K.K_SRC && word <= K.K_DST + 3) || word === K.K_V6) return NETWORK;
  if (word >= K.K_CT_SRC && word < K.K_CT_TP) return NETWORK;
  if (word === K.K_IN_PORT || word >= K.K_PIPELINE) return METADATA;
  return ETHERNET;
}

/** Without a protocol the word can only hold the operation of ARP, which lies with the addresses. */
function hasPorts(mask: Int32Array): boolean {
  return (mask[K.K_IP] as number) >>> 24 !== 0;
}

// --- Prefixes

interface Prefix {
  readonly value: number;
  readonly length: number;
}

interface Found {
  /** Lengths of the prefixes that the value has. */
  readonly lengths: ReadonlySet<number>;
  /** How many bits of the value show that it has no others. */
  readonly bits: number;
}

function lookUp(prefixes: readonly Prefix[], value: number): Found {
  const lengths = new Set<number>();
  let common = 0;
  let goesOn = false;
  for (const prefix of prefixes) {
    const bits = Math.min(prefix.length, Math.clz32(prefix.value ^ value));
    if (bits === prefix.length) lengths.add(bits);
    if (bits > common) [common, goesOn] = [bits, false];
    if (bits === common && prefix.length > common) goesOn = true;
  }
  return { lengths, bits: Math.min(32, goesOn ? common + 1 : common) };
}

function prefixMask(bits: number): number {
  return bits === 0 ? 0 : -1 << (32 - bits);
}

/** 0 for a mask that is no prefix. */
function prefixLength(mask: number): number {
  const length = Math.clz32(~mask);
  return mask === prefixMask(length) ? length : 0;
}

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}
