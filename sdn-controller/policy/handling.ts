// What a policy wants beyond its meaning, as annotations on it: to be tried before it is enforced, what becomes of open
// connections that it no longer allows, and which of its decisions are logged. Pure.
//
//   policy.plinth.dev/enforcement: Staged              count what it would do, and do nothing (NetworkPolicy only)
//   policy.plinth.dev/live-connections: Keep           what is open stays open; default Cut
//   policy.plinth.dev/log: denied,ingress[0]           or "all": each new connection that these rules decide about
import type { Direction } from "./network-policy.js";

export const ENFORCEMENT_ANNOTATION = "policy.plinth.dev/enforcement";
export const LIVE_ANNOTATION = "policy.plinth.dev/live-connections";
export const LOG_ANNOTATION = "policy.plinth.dev/log";

export interface PolicyHandling {
  readonly staged?: boolean;
  /** Connections that are open when the policy begins to deny them stay open. */
  readonly keepsLive?: boolean;
  /** "all", "denied", or rules such as "ingress[0]". */
  readonly log?: readonly string[];
}

/** What is wrong with an annotation, for people. */
export interface HandlingProblem {
  readonly annotation: string;
  readonly value: string;
  readonly expected: string;
}

/** Written as logsRule() asks for it. */
const LOG_ITEM = /^(all|denied|(ingress|egress)\[(0|[1-9]\d{0,4})\])$/;

/** `canStage` is false for kinds that cannot. Wrong annotations count for nothing. */
export function parseHandling(
  annotations: Readonly<Record<string, string>>,
  canStage: boolean,
): { readonly handling: PolicyHandling; readonly problems: readonly HandlingProblem[] } {
  const problems: HandlingProblem[] = [];
  const choose = (annotation: string, allowed: readonly string[]): string | undefined => {
    const value = annotations[annotation];
    if (value === undefined || allowed.includes(value)) return value;
    problems.push({ annotation, value, expected: allowed.join(" or ") });
    return undefined;
  };
  const enforcement = choose(ENFORCEMENT_ANNOTATION, canStage ? ["Enforced", "Staged"] : ["Enforced"]);
  const live = choose(LIVE_ANNOTATION, ["Cut", "Keep"]);
  const text = annotations[LOG_ANNOTATION];
  const log = text === undefined ? [] : text.split(",").map((item) => item.trim());
  if (log.some((item) => !LOG_ITEM.test(item))) {
    const expected = '"all", or a list of "denied", "ingress[N]" and "egress[N]", separated by commas';
    problems.push({ annotation: LOG_ANNOTATION, value: text as string, expected });
    log.length = 0;
  }
  const handling = {
    ...(enforcement === "Staged" ? { staged: true } : {}),
    ...(live === "Keep" ? { keepsLive: true } : {}),
    ...(log.length > 0 ? { log } : {}),
  };
  return { handling, problems };
}

export function logsRule({ log = [] }: PolicyHandling, direction: Direction, index: number): boolean {
  return log.includes("all") || log.includes(`${direction.toLowerCase()}[${index}]`);
}

export function logsDenied({ log = [] }: PolicyHandling): boolean {
  return log.includes("all") || log.includes("denied");
}
