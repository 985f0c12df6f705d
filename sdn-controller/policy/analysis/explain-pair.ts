// Why a pair may or may not connect: direction by direction, the policies and rules that decided, and what would have
// to change for the other verdict. Pure.
import type { Direction } from "../network-policy.js";
import type { PolicyModel, RuleModel } from "../policy-model.js";
import {
  ALL_CONNECTIONS,
  type ConnectionSet,
  contains,
  formatConnections,
  intersect,
  isEmpty,
  subtract,
} from "./connection-set.js";
import { endText } from "./connectivity.js";
import type { Answer, DirectionAnswer, End, Exemption, Step } from "./evaluator.js";

export interface PairExplanation {
  readonly source: string;
  readonly destination: string;
  /** What was asked about. */
  readonly asked: string;
  readonly verdict: "allowed" | "denied" | "partly allowed";
  readonly allowed: string;
  readonly denied: string;
  readonly directions: readonly DirectionExplanation[];
  /** Sentences; none when everything asked about is allowed. */
  readonly remedies: readonly string[];
}

export interface DirectionExplanation {
  readonly direction: Direction;
  readonly allowed: string;
  readonly denied: string;
  readonly reasons: readonly {
    readonly text: string;
    readonly connections: string;
    readonly policy?: string;
    readonly rule?: string;
  }[];
}

export function explainPair(
  source: End,
  destination: End,
  answer: Answer,
  asked: ConnectionSet = ALL_CONNECTIONS,
): PairExplanation {
  const allowed = intersect(answer.allowed, asked);
  const denied = subtract(asked, allowed);
  const verdict = isEmpty(denied) ? "allowed" : isEmpty(allowed) ? "denied" : "partly allowed";
  const egress = { end: source, other: destination, answer: answer.egress };
  const ingress = { end: destination, other: source, answer: answer.ingress };
  return {
    source: endText(source),
    destination: endText(destination),
    asked: formatConnections(asked),
    verdict,
    allowed: formatConnections(allowed),
    denied: formatConnections(denied),
    directions: [egress, ingress].map((side) => explainDirection(side, asked)),
    remedies: [egress, ingress].flatMap((side) => remediesOf(side, asked)),
  };
}

interface Side {
  /** The end that the direction's policies select. */
  readonly end: End;
  readonly other: End;
  readonly answer: DirectionAnswer;
}

function explainDirection(side: Side, asked: ConnectionSet): DirectionExplanation {
  const { answer } = side;
  const allowed = intersect(answer.allowed, asked);
  return {
    direction: answer.direction,
    allowed: formatConnections(allowed),
    denied: formatConnections(subtract(asked, allowed)),
    reasons: stepsOf(side, asked).map(({ step, part }) => ({
      text: reasonText(side, step),
      connections: formatConnections(part),
      ...(step.policy === undefined ? {} : { policy: policyText(step.policy) }),
      ...(step.rule === undefined ? {} : { rule: ruleText(step.rule, step.policy) }),
    })),
  };
}

function stepsOf({ answer }: Side, asked: ConnectionSet): { step: Step; part: ConnectionSet }[] {
  return answer.steps
    .map((step) => ({ step, part: intersect(step.connections, asked) }))
    .filter(({ part }) => !isEmpty(part));
}

const EXEMPTIONS: Readonly<Record<Exemption, string>> = {
  itself: "no policy keeps a pod from itself",
  node: "no policy keeps a pod from the node that it runs on",
};

function reasonText({ end, other, answer }: Side, { policy, rule, action, exempt }: Step): string {
  if (exempt !== undefined) return EXEMPTIONS[exempt];
  if (policy === undefined) return "the system default (Allow all)";
  if (rule === undefined)
    return `${policyText(policy)} selects ${endText(end)}, but ${endText(other)} is not allowed by any ${answer.direction} rule`;
  const verb = { Allow: "allows", Deny: "denies", Pass: "passes" }[action];
  return `${policyText(policy)} ${verb} connections by ${ruleText(rule, policy)}`;
}

/** NetworkPolicy 'shop/web', AdminNetworkPolicy 'first'. */
export function policyText({ kind, namespace, name }: PolicyModel): string {
  return `${kind} '${namespace === "" ? name : `${namespace}/${name}`}'`;
}

/** Rules of a network policy have no names: they count from 1. */
export function ruleText({ direction, index, name }: RuleModel, policy: PolicyModel | undefined): string {
  return `${direction} rule ${policy?.tier === "Network" || name === undefined ? `#${index + 1}` : name}`;
}

function remediesOf(side: Side, asked: ConnectionSet): string[] {
  const { end, other, answer } = side;
  const word = answer.direction.toLowerCase();
  const preposition = answer.direction === "Egress" ? "to" : "from";
  const refusals = stepsOf(side, asked).filter(({ step }) => step.action === "Deny");
  const isolating = refusals.filter(({ step }) => step.rule === undefined);
  const remedies: string[] = [];
  if (isolating.length > 0) {
    const names = isolating.flatMap(({ step }) =>
      step.policy === undefined ? [] : [policyText(step.policy)],
    );
    const part = formatConnections(isolating[0]?.part ?? asked);
    remedies.push(
      `${names.join(" or ")} would need an ${word} rule that allows ${part} ${preposition} ${endText(other)}`,
    );
  }
  for (const { step, part } of refusals) {
    const { policy, rule } = step;
    if (policy === undefined || rule === undefined) continue;
    const instead =
      policy.tier === "Admin"
        ? "or an AdminNetworkPolicy of a lower priority number would have to allow it"
        : `or a NetworkPolicy that selects ${endText(end)} would have to allow it`;
    remedies.push(
      `${ruleText(rule, policy)} of ${policyText(policy)} would have to leave out ${formatConnections(part)}, ${instead}`,
    );
  }
  return remedies;
}

/** The explanation as lines for people; no line ends. */
export function formatExplanation(explanation: PairExplanation): string[] {
  const { source, destination, asked, verdict, allowed, denied } = explanation;
  const head =
    verdict === "partly allowed"
      ? `${source} => ${destination} : ${allowed} allowed, ${denied} denied`
      : `${source} => ${destination} : ${asked} ${verdict}`;
  return [
    head,
    ...explanation.directions.flatMap(({ direction, allowed: may, denied: mayNot, reasons }) => [
      `  ${direction} (${directionWord(may, mayNot)})`,
      ...reasons.map(({ text, connections }) =>
        connections === asked ? `    ${text}` : `    ${connections}: ${text}`,
      ),
    ]),
    ...explanation.remedies.map((remedy) => `  To allow it: ${remedy}`),
  ];
}

function directionWord(allowed: string, denied: string): string {
  if (denied === "No Connections") return "Allowed";
  return allowed === "No Connections" ? "Denied" : `Allowed ${allowed}, denied ${denied}`;
}

/** Whether all of `asked` is allowed. */
export function isAllowed(answer: Answer, asked: ConnectionSet): boolean {
  return contains(answer.allowed, asked);
}
