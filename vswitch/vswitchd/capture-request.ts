// What a client of the capture socket asks for: one line of JSON. Pure.
import { PlinthError } from "../../base/errors/index.js";
import { isObject } from "../../base/json/index.js";
import { OFPG_ANY, OFPP_ANY, OFPP_LOCAL, OFPTT_ALL } from "../../base/openflow/index.js";
import { FILTER_PARTS, parseFlow } from "../cli/flow-text.js";
import {
  CAPTURE_RING_SIZE_MAX,
  CAPTURE_RING_SIZE_MIN,
  type CapturePoint,
  type CaptureSpec,
} from "../datapath/index.js";
import { DROP_REASONS, type DropReason, FlowKey, keyField } from "../flow/index.js";
import { OFPORT_LOCAL } from "./model.js";
import type { BridgePorts } from "./trace-commands.js";

/** Longest line that is read. */
export const CAPTURE_REQUEST_SIZE_MAX = 64 * 1024;
export const CAPTURE_SNAP_LENGTH_MAX = 262_144;
const RATE_MAX = 1e9;

/** Everything but what cannot be left out has a default. */
export interface CaptureRequest {
  /** Bridges, ports, or bridge/port: all of one bridge. None: the only bridge there is. */
  readonly where?: readonly string[];
  readonly direction?: "in" | "out" | "both";
  /** As `ovs-ofctl dump-flows` selects flows: packets are taken as they meet one of these. */
  readonly flow?: string;
  /** Packets are taken as they are dropped, for one of these reasons, or for any when the list is empty. */
  readonly drops?: readonly string[];
  /** A flow's match: other packets are left out. */
  readonly match?: string;
  readonly snapLength?: number;
  /** Frames a second; 0 = no bound. */
  readonly rate?: number;
  /** Frames in all; 0 = no end. */
  readonly count?: number;
  /** Of the ring, bytes; a power of two. */
  readonly buffer?: number;
}

export interface CaptureOrder extends Omit<CaptureSpec, "ring"> {
  readonly bridge: string;
  /** Frames in all; Infinity for no end. */
  readonly count: number;
  readonly ringSize: number;
}

export const CAPTURE_DEFAULTS = { snapLength: CAPTURE_SNAP_LENGTH_MAX, rate: 100_000, buffer: 1 << 23 };

/** Throws CAPTURE_INVALID, its `field` what is wrong, and FLOW_TEXT_INVALID. */
export function parseCaptureRequest(line: string, bridges: BridgePorts): CaptureOrder {
  const given = fieldsOf(line);
  // Before the places: the first of them is easily taken for a reason, "--drops br0".
  for (const reason of strings(given, "drops") ?? []) reasonOf(reason);
  const { bridge, ports } = placesOf(strings(given, "where") ?? [], bridges);
  const numbers = (name: string): number | undefined => {
    const ofport = bridges.get(bridge)?.ports.get(name)?.ofport;
    return ofport === OFPORT_LOCAL ? OFPP_LOCAL : ofport;
  };
  const point = pointOf(given, numbers);
  const match = text(given, "match");
  const rate = whole(given, "rate", 0, RATE_MAX) ?? CAPTURE_DEFAULTS.rate;
  return {
    bridge,
    ports,
    point,
    match: match === undefined ? [] : matchOf(match, point, numbers),
    snapLength: whole(given, "snapLength", 1, CAPTURE_SNAP_LENGTH_MAX) ?? CAPTURE_DEFAULTS.snapLength,
    rate: rate === 0 ? Number.POSITIVE_INFINITY : rate,
    count: whole(given, "count", 0, Number.MAX_SAFE_INTEGER) || Number.POSITIVE_INFINITY,
    ringSize: ringSizeOf(
      whole(given, "buffer", CAPTURE_RING_SIZE_MIN, CAPTURE_RING_SIZE_MAX) ?? CAPTURE_DEFAULTS.buffer,
    ),
  };
}

const FIELDS = new Set([
  "where",
  "direction",
  "flow",
  "drops",
  "match",
  "snapLength",
  "rate",
  "count",
  "buffer",
]);

type Fields = Readonly<Record<string, unknown>>;
type Numbers = (name: string) => number | undefined;

function fieldsOf(line: string): Fields {
  let given: unknown;
  try {
    given = JSON.parse(line);
  } catch {
    throw refusal("request", "is not JSON");
  }
  if (!isObject(given)) throw refusal("request", "is not an object");
  const unknown = Object.keys(given).find((name) => !FIELDS.has(name));
  if (unknown !== undefined) throw refusal(unknown.slice(0, 40), "is not known");
  return given;
}

/** The bridge, and the ports of it that are meant. */
function placesOf(
  words: readonly string[],
  bridges: BridgePorts,
): { readonly bridge: string; readonly ports: readonly string[] | undefined } {
  if (words.length === 0) {
    const names = [...bridges.keys()];
    if (names.length === 1) return { bridge: names[0] as string, ports: undefined };
    const which = names.length === 0 ? "there is no bridge" : `name one of ${names.join(", ")}`;
    throw refusal("where", which);
  }
  const places = words.map((word) => placeOf(word, bridges));
  const bridge = (places[0] as Place).bridge;
  const other = places.find((place) => place.bridge !== bridge);
  if (other !== undefined)
    throw refusal("where", `${bridge} and ${other.bridge} are two bridges; capture from each by itself`);
  if (places.some(({ port }) => port === undefined)) return { bridge, ports: undefined };
  return { bridge, ports: places.map(({ port }) => port as string) };
}

interface Place {
  readonly bridge: string;
  readonly port: string | undefined;
}

function placeOf(word: string, bridges: BridgePorts): Place {
  if (bridges.has(word)) return { bridge: word, port: undefined };
  const slash = word.indexOf("/");
  const name = slash < 0 ? undefined : word.slice(0, slash);
  const port = slash < 0 ? word : word.slice(slash + 1);
  const candidates = name === undefined ? [...bridges.keys()] : bridges.has(name) ? [name] : [];
  const found = candidates.flatMap((bridge) => {
    const called = portCalled(port, bridge, bridges);
    return called === undefined ? [] : [{ bridge, port: called }];
  });
  if (found.length === 1) return found[0] as Place;
  if (found.length === 0) throw refusal("where", `"${word.slice(0, 60)}" is no bridge and no port of one`);
  const names = found.map(({ bridge }) => bridge).join(" and ");
  throw refusal("where", `${names} have a port ${port}: say ${found[0]?.bridge}/${port}`);
}

/** By name, number, or LOCAL. */
function portCalled(word: string, bridge: string, bridges: BridgePorts): string | undefined {
  const ports = bridges.get(bridge)?.ports ?? new Map<string, { readonly ofport: number }>();
  if (ports.has(word)) return word;
  const number = word === "LOCAL" ? OFPORT_LOCAL : /^\d{1,5}$/.test(word) ? Number(word) : -1;
  for (const [name, { ofport }] of ports) if (ofport === number) return name;
  return undefined;
}

function pointOf(given: Fields, numbers: Numbers): CapturePoint {
  const flow = text(given, "flow");
  const drops = strings(given, "drops");
  const direction = text(given, "direction");
  if (flow !== undefined && drops !== undefined)
    throw refusal("drops", "cannot go with a flow: a capture has one point");
  if (direction !== undefined && (flow ?? drops) !== undefined)
    throw refusal("direction", "is of ports; a flow or a drop has none");
  if (flow !== undefined) return { at: "flows", flows: selectionOf(flow, numbers) };
  if (drops !== undefined) return { at: "drops", reasons: drops.map(reasonOf) };
  if (direction !== undefined && direction !== "in" && direction !== "out" && direction !== "both")
    throw refusal("direction", `is "${direction.slice(0, 20)}"; in, out and both are known`);
  return { at: "ports", direction: direction ?? "both" };
}

function selectionOf(text: string, numbers: Numbers) {
  const flow = parseFlow(text, { parts: FILTER_PARTS, ports: numbers });
  return {
    tableId: flow.tableId ?? OFPTT_ALL,
    outPort: flow.outPort ?? OFPP_ANY,
    outGroup: flow.outGroup ?? OFPG_ANY,
    cookie: flow.cookie,
    cookieMask: flow.cookieMask,
    match: flow.match,
  };
}

function reasonOf(name: string): DropReason {
  const reason = DROP_REASONS.find((one) => one === name);
  if (reason !== undefined) return reason;
  throw refusal("drops", `"${name.slice(0, 40)}" is no reason; known are ${DROP_REASONS.join(", ")}`);
}

function matchOf(text: string, point: CapturePoint, numbers: Numbers) {
  const flow = parseFlow(text, { parts: new Set(), ports: numbers });
  if (flow.tableId !== undefined || flow.cookieMask !== 0n || flow.cookie !== 0n)
    throw refusal("match", "has a table or a cookie: these select a flow");
  const foreign = flow.match.find(({ field }) => {
    const start = keyField(field)?.start ?? 0;
    return start < 32 * FlowKey.K_ETH_DST || start >= 32 * FlowKey.K_PIPELINE;
  });
  // A frame at a port has its bytes and nothing else.
  if (point.at === "ports" && foreign !== undefined && foreign.field !== "packet_type")
    throw refusal(
      "match",
      `${foreign.field} is nothing that a frame at a port has: name the port, or a flow`,
    );
  return flow.match;
}

function text(given: Fields, field: string): string | undefined {
  const value = given[field];
  if (value === undefined || typeof value === "string") return value;
  throw refusal(field, "is not text");
}

function strings(given: Fields, field: string): readonly string[] | undefined {
  const value = given[field];
  if (value === undefined) return undefined;
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value;
  throw refusal(field, "is not a list of texts");
}

function whole(given: Fields, field: string, min: number, max: number): number | undefined {
  const value = given[field];
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw refusal(field, `is not a whole number from ${min} to ${max}`);
}

function ringSizeOf(bytes: number): number {
  if ((bytes & (bytes - 1)) === 0) return bytes;
  throw refusal("buffer", `${bytes} is no power of two`);
}

function refusal(field: string, message: string): PlinthError {
  return new PlinthError("CAPTURE_INVALID", `${field}: ${message}`, { field });
}
