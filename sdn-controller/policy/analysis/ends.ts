// Ends of a connection by the words that people use for them: a workload's name, or an address outside. Pure.
import { PlinthError } from "../../../base/errors/index.js";
import { cutSpace, formatRange, parseAddress, parseCidr, rangeContains } from "./address-range.js";
import type { Cluster } from "./cluster.js";
import type { End, Evaluator } from "./evaluator.js";
import { INGRESS_CONTROLLER } from "./ingress-controller.js";

/**
 * NAME, NAMESPACE/NAME, NAMESPACE/NAME[Kind], "ingress-controller", an address or a block. A pod that is known by its
 * owner's name may be named, too. A name without namespace is looked for in `namespace` first, then everywhere. Throws WORKLOAD_UNKNOWN or WORKLOAD_AMBIGUOUS.
 */
export function findEnd(cluster: Cluster, text: string, namespace = "default"): End {
  const block = parseCidr(text);
  if (block !== undefined) return { range: block };
  const address = parseAddress(text);
  if (address !== undefined)
    return { range: { family: address.family, first: address.address, last: address.address } };
  if (text === INGRESS_CONTROLLER.name || text === INGRESS_CONTROLLER.text)
    return { workload: INGRESS_CONTROLLER };
  const [, space, name, kind] = /^(?:([^/]+)\/)?([^/[\]]+)(?:\[(\w+)\])?$/.exec(text) ?? [];
  const named = cluster.workloads.filter((workload) => {
    if (workload.name === name && (kind === undefined || workload.kind === kind)) return true;
    return (kind ?? "Pod") === "Pod" && workload.pods.includes(name ?? "");
  });
  const inside = named.filter((workload) => workload.namespace === (space ?? namespace));
  const found = inside.length > 0 || space !== undefined ? inside : named;
  const [workload, other] = found;
  if (workload === undefined)
    throw new PlinthError("WORKLOAD_UNKNOWN", `there is no workload ${text} in the documents`);
  if (other !== undefined) {
    const names = found.map((one) => one.text).join(", ");
    throw new PlinthError("WORKLOAD_AMBIGUOUS", `${text} may be any of ${names}: write one of these`);
  }
  return { workload };
}

/** Throws ADDRESSES_DIFFER when policies tell addresses of the range apart: then no one answer holds for all of it. */
export function checkUniform(end: End, evaluator: Evaluator): void {
  if ("workload" in end) return;
  const { range } = end;
  const pieces = cutSpace(range.family, [...evaluator.blocks("Ingress"), ...evaluator.blocks("Egress")]);
  if (pieces.some((piece) => rangeContains(piece, range))) return;
  const inside = pieces.filter((piece) => piece.first <= range.last && range.first <= piece.last);
  throw new PlinthError(
    "ADDRESSES_DIFFER",
    `policies tell addresses of ${formatRange(range)} apart: ask about one of ${inside.map(formatRange).join(", ")}`,
  );
}
