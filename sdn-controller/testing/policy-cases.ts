// A small shop and policies about it in few words, and who then reaches whom, for cases worked out by hand.
import { ALL, deployment, type Fields, list, policy } from "./manifests.js";

export const EVERYTHING = "All Connections";
export const named = (name: string): Fields => ({ matchLabels: { "kubernetes.io/metadata.name": name } });
export const app = (name: string): Fields => ({ podSelector: { matchLabels: { app: name } } });
export const where = (key: string, operator: string, values?: string[]): Fields => ({
  podSelector: { matchExpressions: [{ key, operator, ...(values === undefined ? {} : { values }) }] },
});
export const block = (cidr: string, except?: string[]): Fields => ({
  ipBlock: { cidr, ...(except === undefined ? {} : { except }) },
});
export const ports = (...all: (number | string)[]): Fields[] => all.map((port) => ({ port }));

/** "source : connections" of every line to the workload. */
export const to = (workload: string, ...documents: unknown[]): string[] => ends(documents, workload, 1);
/** "destination : connections" of every line from the workload. */
export const from = (workload: string, ...documents: unknown[]): string[] => ends(documents, workload, 0);

export function ends(documents: readonly unknown[], workload: string, side: 0 | 1): string[] {
  return list(documents)
    .split("\n")
    .filter((line) => line !== "")
    .flatMap((line) => {
      const [pair, connections] = line.split(" : ") as [string, string];
      const both = pair.split(" => ");
      return both[side]?.startsWith(`${workload}[`) ? [`${both[1 - side]} : ${connections}`] : [];
    });
}

export const WEB = "default/web";
export const SHOP = [deployment("web"), deployment("db"), deployment("ops")];
export const fromDb = (connections = EVERYTHING): string => `default/db[Deployment] : ${connections}`;
export const fromOps = (connections = EVERYTHING): string => `default/ops[Deployment] : ${connections}`;
export const outside = (connections = EVERYTHING, range = ALL): string =>
  `${range.replace("[External]", "")}[External] : ${connections}`;
/** A policy about web with these rules for what comes in. */
export const ingress = (...rules: Fields[]): Fields => policy("p", { ...app("web"), ingress: rules });
export const egress = (...rules: Fields[]): Fields =>
  policy("p", { ...app("web"), policyTypes: ["Egress"], egress: rules });

export type PolicyCase = readonly [name: string, answer: readonly string[], expected: readonly string[]];

/** Lines of an answer in the order in which they are printed. */
export function inOrder(lines: readonly string[]): string[] {
  const end = (line: string): string => line.split(" : ")[0] as string;
  return [...lines].sort((a, b) => (end(a) < end(b) ? -1 : 1));
}
