// What a switch hands over to its successor, as bytes and back: its ports with their descriptors and counters, and the
// stations that it has learned. Flows and connections stand in files; see flow-keeper.ts and connection-file.ts.
// Pure.
import { PlinthError } from "../../base/errors/index.js";
import { type HandedPort, PORT_STATS_LENGTH } from "../../base/packet/index.js";
import type { MacTableEntry } from "../learn/index.js";
import type { Parcel } from "./hand-over.js";

export interface HandedSlot {
  readonly name: string;
  /** Of what type it was, and with which options. */
  readonly kind: string;
  readonly stats: readonly number[];
  /** undefined: the port has nothing that could be handed over, and is to be opened anew. */
  readonly handed: HandedPort | undefined;
}

export interface HandedBridge {
  readonly name: string;
  readonly ports: readonly HandedSlot[];
  /** The oldest first. */
  readonly stations: readonly MacTableEntry[];
}

export interface HandedSwitch {
  /** When the last frame was taken, by the machine's monotonic clock. */
  readonly pausedAtMs: number;
  readonly bridges: readonly HandedBridge[];
}

const FORMAT = 1;
const MAC_LENGTH = 12;

export function encodeHandedSwitch({ pausedAtMs, bridges }: HandedSwitch): Parcel {
  const fds = bridges.flatMap(({ ports }) => ports.flatMap(({ handed }) => handed?.fds ?? []));
  const text = JSON.stringify({
    format: FORMAT,
    pausedAtMs,
    bridges: bridges.map(({ name, ports, stations }) => ({
      name,
      ports: ports.map(({ handed, ...port }) => ({
        ...port,
        ...(handed === undefined ? {} : { state: handed.state, fds: handed.fds.length }),
      })),
      stations: stations.map(({ vlan, mac, port, ageMs, isStatic }) => [
        vlan,
        Buffer.from(mac).toString("hex"),
        port,
        isStatic ? -1 : Math.round(ageMs),
      ]),
    })),
  });
  return { bytes: new TextEncoder().encode(text), fds };
}

/** Throws HANDED_SWITCH_INVALID; the descriptors are the caller's in any case. */
export function decodeHandedSwitch({ bytes, fds }: Parcel): HandedSwitch {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw invalid("it", "JSON");
  }
  const { format, pausedAtMs, bridges } = record(value, "it");
  if (format !== FORMAT) throw invalid("format", String(FORMAT));
  if (typeof pausedAtMs !== "number") throw invalid("pausedAtMs", "a number");
  let next = 0;
  const take = (count: number): readonly number[] => {
    const taken = fds.slice(next, next + count);
    next += count;
    if (next > fds.length) throw invalid("fds", `${fds.length} descriptors at most`);
    return taken;
  };
  const decoded = list(bridges, "bridges").map((one): HandedBridge => {
    const { name, ports, stations } = record(one, "bridges");
    return {
      name: text(name, "bridges.name"),
      ports: list(ports, "ports").map((port) => slot(port, take)),
      stations: list(stations, "stations").map(station),
    };
  });
  if (next !== fds.length) throw invalid("fds", `all ${fds.length} descriptors`);
  return { pausedAtMs, bridges: decoded };
}

function slot(value: unknown, take: (count: number) => readonly number[]): HandedSlot {
  const { name, kind, stats, state, fds } = record(value, "ports");
  const counters = list(stats, "ports.stats");
  if (counters.length !== PORT_STATS_LENGTH || !counters.every((one) => typeof one === "number"))
    throw invalid("ports.stats", `${PORT_STATS_LENGTH} numbers`);
  const handed =
    state === undefined
      ? undefined
      : { state: record(state, "ports.state"), fds: take(whole(fds, "ports.fds", 4096)) };
  return {
    name: text(name, "ports.name"),
    kind: text(kind, "ports.kind"),
    stats: counters as readonly number[],
    handed,
  };
}

function station(value: unknown): MacTableEntry {
  const [vlan, mac, port, age] = list(value, "stations");
  if (typeof mac !== "string" || mac.length !== MAC_LENGTH || !/^[0-9a-f]*$/.test(mac))
    throw invalid("stations", "a list of stations");
  const isStatic = age === -1;
  return {
    vlan: whole(vlan, "stations.vlan", 4095),
    mac: Uint8Array.from(Buffer.from(mac, "hex")),
    port: whole(port, "stations.port", 0xffff_ffff),
    ageMs: isStatic ? 0 : whole(age, "stations.age", Number.MAX_SAFE_INTEGER),
    isStatic,
  };
}

function record(value: unknown, field: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  throw invalid(field, "an object");
}

function list(value: unknown, field: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw invalid(field, "a list");
}

function text(value: unknown, field: string): string {
  if (typeof value === "string") return value;
  throw invalid(field, "a text");
}

function whole(value: unknown, field: string, max: number): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max) return value as number;
  throw invalid(field, `a number from 0 to ${max}`);
}

function invalid(field: string, expected: string): PlinthError {
  return new PlinthError("HANDED_SWITCH_INVALID", `what was handed over: ${field} is not ${expected}`, {
    field,
  });
}
