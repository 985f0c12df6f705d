// What the controller's control socket says of networking: the SDN controller's figures, and why a connection is
// allowed or not. Params come from outside and are checked here.
import { isIP } from "node:net";
import { PlinthError } from "../../../base/errors/index.js";
import type { ControlMethod } from "../../../base/jsonrpc/index.js";
import type { ExplainQuestion, SdnController } from "../../../sdn-controller/index.js";
import { admit } from "../../api/index.js";
import { type ApiObject, findKind, type ObjectMeta, type ResourceKind } from "../../resources/index.js";
import type { ReachabilityReviewer } from "./reachability-review.js";

type Params = Readonly<Record<string, unknown>>;

const PROTOCOLS = ["TCP", "UDP", "SCTP", "ICMP"] as const;

/**
 * `sdn.metrics` {}, `sdn.explain` {source, destination, protocol?, port?, family?} with ends as "namespace/port" or address, `sdn.reachable`
 * {}: all pairs of machines with what may pass, and `sdn.plan` {objects}: what storing these objects would do to reachability.
 */
export function sdnMethods(
  controller: () => SdnController | undefined,
  reviewer: ReachabilityReviewer,
): Record<string, ControlMethod> {
  const running = (): SdnController => {
    const found = controller();
    if (found === undefined) throw new PlinthError("NOT_READY", "the SDN controller has not started yet");
    return found;
  };
  return {
    "sdn.metrics": () => running().metrics(),
    "sdn.explain": (params) => running().explain(parseQuestion(params)),
    "sdn.reachable": () => running().reachable(),
    "sdn.plan": ({ objects }) => {
      if (!Array.isArray(objects)) throw invalid("objects", "a list of objects");
      const changes = objects.flatMap((object: unknown) => {
        const { kind, admitted } = parseObject(object);
        return reviewer.changesOf(kind, admitted, false);
      });
      return running().review(changes, { plan: true });
    },
  };
}

/** As the API would admit it, but for what only the store knows. Throws PARAMS_INVALID or ApiError. */
function parseObject(document: unknown): { kind: ResourceKind; admitted: ApiObject } {
  const { apiVersion, kind: name, metadata } = (document ?? {}) as Partial<ApiObject>;
  const kind = findKind(String(apiVersion), String(name));
  if (kind === undefined) throw invalid("objects", "objects of kinds that there are");
  const { name: own, namespace, labels } = (metadata ?? {}) as Partial<ObjectMeta>;
  const stripped = { ...(document as ApiObject), metadata: { name: own, namespace, labels } };
  const { object } = admit(stripped, {
    kind,
    namespace: kind.namespaced ? (namespace ?? "default") : undefined,
    previous: undefined,
    fieldValidation: "Strict",
    siblings: () => [],
    identity: { uid: "", now: "1970-01-01T00:00:00Z", nameSuffix: "" },
  });
  return { kind, admitted: object };
}

function parseQuestion(params: Params): ExplainQuestion {
  const protocol = PROTOCOLS.find((each) => each === (params["protocol"] ?? "TCP"));
  if (protocol === undefined) throw invalid("protocol", `one of ${PROTOCOLS.join(", ")}`);
  const { port, family = 4 } = params;
  if (family !== 4 && family !== 6) throw invalid("family", "4 or 6");
  const ends: ExplainQuestion = {
    source: end(params, "source"),
    destination: end(params, "destination"),
    protocol,
    family,
  };
  if (protocol === "ICMP") return ends;
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65_535)
    throw invalid("port", "a number from 1 to 65535");
  return { ...ends, port };
}

function end(params: Params, field: string): string {
  const value = params[field];
  if (typeof value !== "string" || (!/^[^/]+\/[^/]+$/.test(value) && isIP(value) === 0))
    throw invalid(field, '"namespace/port" or an address');
  return value;
}

function invalid(field: string, expected: string): PlinthError {
  return new PlinthError("PARAMS_INVALID", `${field} must be ${expected}`, { field });
}
