// Why each pair may connect or not, all pairs at once: for each the policies and rules that decide about the same
// protocols and ports, then those of which no policy says anything. In the form of np-guard's `list --explain`. Pure.
import { type PolicyModel, type RuleModel, selectsEndpoint } from "../policy-model.js";
import { parseCidr, rangeContains } from "./address-range.js";
import type { Cluster } from "./cluster.js";
import {
  ALL_CONNECTIONS,
  type ConnectionSet,
  intersect,
  isAll,
  isEmpty,
  PORT_MAX,
  PORT_MIN,
  subtract,
  union,
} from "./connection-set.js";
import { type ConnectivityLine, endText } from "./connectivity.js";
import { type DirectionAnswer, type End, Evaluator, type Step } from "./evaluator.js";
import { policyText, ruleText } from "./explain-pair.js";
import { INGRESS_CONTROLLER } from "./ingress-controller.js";

const RULER = "-".repeat(160);
const DEFAULT = "due to the system default (Allow all)";
const IN_ORDER = ["TCP", "UDP", "SCTP"] as const;

/** `asked`: only these connections; all when absent. The empty text when there are no pairs. */
export function explainReport(
  cluster: Cluster,
  lines: readonly ConnectivityLine[],
  asked?: ConnectionSet,
): string {
  const evaluator = new Evaluator(cluster.policies);
  const specific: string[] = [];
  const open: string[] = [];
  for (const { sourceEnd, destinationEnd, connections } of lines) {
    const pair = { source: sourceEnd, destination: destinationEnd };
    // What leads through the ingress controller is about the ports of services and nothing else.
    const entrance = "workload" in sourceEnd && sourceEnd.workload === INGRESS_CONTROLLER;
    const wanted = entrance ? connections : (asked ?? ALL_CONNECTIONS);
    const { egress, ingress } = evaluator.answer(sourceEnd, destinationEnd);
    const groups = groupsOf(egress, ingress, wanted);
    const [only, ...others] = groups;
    const title = `${endText(sourceEnd)} => ${endText(destinationEnd)}`;
    if (only !== undefined && others.length === 0 && isDefault(only) && isAll(wanted)) open.push(title);
    else specific.push(`${RULER}\nConnections between ${title}:\n\n${sections(pair, groups)}`);
  }
  const parts = [
    ...(specific.length === 0
      ? []
      : [`${heading("Specific connections and their reasons")}${specific.join("")}`]),
    ...(open.length === 0
      ? []
      : [`${heading(`All Connections ${DEFAULT}`)}${open.map((line) => `${line}\n`).join("")}`]),
  ];
  return parts.join("\n");
}

function heading(title: string): string {
  const border = "#".repeat(title.length + 4);
  return `${border}\n# ${title} #\n${border}\n`;
}

interface Pair {
  readonly source: End;
  readonly destination: End;
}

/** Connections that the same steps decide about. */
interface Group {
  readonly connections: ConnectionSet;
  readonly allowed: boolean;
  readonly egress: Side;
  readonly ingress: Side;
}

interface Side {
  readonly answer: DirectionAnswer;
  readonly steps: readonly Step[];
  readonly allowed: boolean;
}

function groupsOf(egress: DirectionAnswer, ingress: DirectionAnswer, asked: ConnectionSet): Group[] {
  let atoms: ConnectionSet[] = isEmpty(asked) ? [] : [asked];
  for (const { connections } of [...egress.steps, ...ingress.steps])
    atoms = atoms
      .flatMap((atom) => [intersect(atom, connections), subtract(atom, connections)])
      .filter((atom) => !isEmpty(atom));
  const side = (answer: DirectionAnswer, atom: ConnectionSet): Side => ({
    answer,
    steps: answer.steps.filter(({ connections }) => !isEmpty(intersect(connections, atom))),
    allowed: !isEmpty(intersect(answer.allowed, atom)),
  });
  const groups = new Map<string, Group>();
  for (const atom of atoms) {
    const sides = { egress: side(egress, atom), ingress: side(ingress, atom) };
    const numbers = ({ answer, steps }: Side): number[] => steps.map((step) => answer.steps.indexOf(step));
    const key = JSON.stringify([numbers(sides.egress), numbers(sides.ingress)]);
    const before = groups.get(key);
    const connections = before === undefined ? atom : union(before.connections, atom);
    groups.set(key, { connections, allowed: sides.egress.allowed && sides.ingress.allowed, ...sides });
  }
  return [...groups.values()].sort((a, b) => (wordOf(a) < wordOf(b) ? -1 : 1));
}

function wordOf({ connections }: Group): string {
  return connectionsText(connections);
}

function isDefault({ egress, ingress }: Group): boolean {
  return saysNothing(egress) && saysNothing(ingress);
}

function saysNothing({ steps }: Side): boolean {
  return steps.every(({ policy }) => policy === undefined);
}

function sections(pair: Pair, groups: readonly Group[]): string {
  return [true, false]
    .map((allowed) => {
      const own = groups.filter((group) => group.allowed === allowed);
      const word = allowed ? "Allowed" : "Denied";
      return own.length === 0
        ? ""
        : `${word} connections:\n${own.map((group) => groupText(pair, group, word)).join("")}\n`;
    })
    .join("");
}

function groupText(pair: Pair, group: Group, word: string): string {
  const what = `\t${word} ${connectionsText(group.connections)}`;
  if (isDefault(group)) return `${what} ${DEFAULT}\n`;
  return `${what} due to the following policies and rules:\n${sideText(pair, group.egress)}${sideText(pair, group.ingress)}`;
}

function sideText(pair: Pair, side: Side): string {
  const { direction } = side.answer;
  const title = `\t\t${direction} (${side.allowed ? "Allowed" : "Denied"})`;
  if (saysNothing(side)) return `${title} ${DEFAULT}\n`;
  const [own, other] =
    direction === "Egress" ? [pair.source, pair.destination] : [pair.destination, pair.source];
  const texts = side.steps.map((step) => ({ step, text: stepText(step, side, own, other) }));
  const isolating = texts.filter(({ step }) => step.policy?.tier === "Network");
  if (isolating.length < 2) return `${title}\n${texts.map(({ text }) => `\t\t\t${text}\n`).join("")}`;
  const first = texts.indexOf(isolating[0] as (typeof texts)[0]);
  const list = `\t\t\tNetworkPolicy list:\n${isolating.map(({ text }) => `\t\t\t\t- ${text}\n`).join("")}`;
  const others = texts.filter((one) => !isolating.includes(one)).map(({ text }) => `\t\t\t${text}\n`);
  return `${title}\n${[...others.slice(0, first), list, ...others.slice(first)].join("")}`;
}

function stepText({ policy, rule, action }: Step, side: Side, own: End, other: End): string {
  if (policy === undefined) return "the system default (Allow all)";
  if (rule === undefined) return isolationText(policy, side, own, other);
  const verb = { Allow: "allows", Deny: "denies", Pass: "passes" }[action];
  return `${policyText(policy)} ${verb} connections by ${ruleText(rule, policy)}`;
}

/** Why a policy that isolates allows nothing: no rule is about the other end, or those that are name other ports. */
function isolationText(policy: PolicyModel, { answer }: Side, own: End, other: End): string {
  const selects = `${policyText(policy)} selects ${endText(own)}`;
  const rules = policy.rules.filter(({ direction }) => direction === answer.direction);
  const about = rules.filter((rule) => isAbout(rule, other));
  if (about.length > 0) {
    const names = about.map((rule) => ruleText(rule, policy)).join(", ");
    return `${selects}, and ${names} selects ${endText(other)}, but the protocols and ports are not referenced`;
  }
  const none = rules.length === 0 ? " (no rules defined)" : "";
  return `${selects}, but ${endText(other)} is not selected by any ${answer.direction} rule${none}`;
}

function isAbout({ peers }: RuleModel, other: End): boolean {
  if (peers === undefined) return true;
  return peers.some((peer) => {
    if (peer.kind === "endpoints")
      return "workload" in other && selectsEndpoint(peer.selector, other.workload);
    if (peer.kind !== "block" || "workload" in other) return false;
    const inside = (text: string): boolean => {
      const block = parseCidr(text);
      return block !== undefined && rangeContains(block, other.range);
    };
    return inside(peer.cidr) && !peer.except.some(inside);
  });
}

/** As in "TCP:[80,443-445], UDP". */
function connectionsText(set: ConnectionSet): string {
  return IN_ORDER.filter((protocol) => set[protocol].length > 0)
    .map((protocol) => {
      const ports = set[protocol];
      if (ports[0]?.first === PORT_MIN && ports[0].last === PORT_MAX) return protocol;
      const texts = ports.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
      return `${protocol}:[${texts.join(",")}]`;
    })
    .join(", ");
}
