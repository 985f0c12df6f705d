// What the controller's control socket says of networking: the SDN controller's figures, and why a connection is
// allowed or not. Params come from outside and are checked here.
import { PlinthError } from "../../../base/errors/index.js";
import type { ControlMethod } from "../../../base/jsonrpc/index.js";
import type { ExplainQuestion, SdnController } from "../../../sdn-controller/index.js";

type Params = Readonly<Record<string, unknown>>;

const PROTOCOLS = ["TCP", "UDP", "SCTP", "ICMP"] as const;

/** `sdn.metrics` {} and `sdn.explain` {source, destination, protocol?, port?}; ends are "namespace/port". */
export function sdnMethods(controller: () => SdnController | undefined): Record<string, ControlMethod> {
  const running = (): SdnController => {
    const found = controller();
    if (found === undefined) throw new PlinthError("NOT_READY", "the SDN controller has not started yet");
    return found;
  };
  return {
    "sdn.metrics": () => running().metrics(),
    "sdn.explain": (params) => running().explain(parseQuestion(params)),
  };
}

function parseQuestion(params: Params): ExplainQuestion {
  const protocol = PROTOCOLS.find((each) => each === (params["protocol"] ?? "TCP"));
  if (protocol === undefined) throw invalid("protocol", `one of ${PROTOCOLS.join(", ")}`);
  const ends = { source: end(params, "source"), destination: end(params, "destination"), protocol };
  const { port } = params;
  if (protocol === "ICMP") return ends;
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65_535)
    throw invalid("port", "a number from 1 to 65535");
  return { ...ends, port };
}

function end(params: Params, field: string): string {
  const value = params[field];
  if (typeof value !== "string" || !/^[^/]+\/[^/]+$/.test(value)) throw invalid(field, '"namespace/port"');
  return value;
}

function invalid(field: string, expected: string): PlinthError {
  return new PlinthError("PARAMS_INVALID", `${field} must be ${expected}`, { field });
}
