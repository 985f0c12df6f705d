// `plinth/trace PORT FRAME|FLOW` in the words of ofproto/trace: people know their port, not its bridge and number.
import { PlinthError } from "../../base/errors/index.js";
import type { BridgePorts } from "./trace-commands.js";

/**
 * The arguments for ofproto/trace: bridge, flow and, for a frame in hex, the frame; further words are left as they
 * are. Throws PlinthError TRACE_REFUSED for a port that no bridge or more than one has.
 */
export function traceOfPort(args: readonly string[], bridges: BridgePorts): string[] {
  const [port = "", packet = "", ...rest] = args;
  const found = [...bridges].flatMap(([bridge, { ports }]) =>
    ports.has(port) || (/^\d+$/.test(port) && hasNumber(ports, Number(port))) ? [bridge] : [],
  );
  if (found.length === 0) throw new PlinthError("TRACE_REFUSED", `no bridge has a port "${port}"`);
  if (found.length > 1) throw new PlinthError("TRACE_REFUSED", `${found.join(" and ")} have a port ${port}`);
  const bridge = found[0] as string;
  const hex = packet.replaceAll(/[\s:]/g, "");
  if (/^[0-9a-fA-F]{28,}$/.test(hex)) return [bridge, `in_port=${port}`, hex, ...rest];
  return [bridge, packet === "" ? `in_port=${port}` : `in_port=${port},${packet}`, ...rest];
}

function hasNumber(ports: ReadonlyMap<string, { readonly ofport: number }>, ofport: number): boolean {
  return [...ports.values()].some((one) => one.ofport === ofport);
}
