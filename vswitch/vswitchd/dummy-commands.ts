// What ovs-appctl can do to dummy ports and to the time: netdev-dummy/* and time/*. Only with --enable-dummy.
// Source: ovs-vswitchd(8) and what ovs-vswitchd does.
import { fromHex } from "../../base/bytes/index.js";
import { PlinthError } from "../../base/errors/index.js";
import { FRAME_SIZE_MAX, FRAME_SIZE_MIN } from "../../base/packet/index.js";
import type { WarpableClock } from "../../base/time/index.js";
import { parseDatapathFlow } from "../cli/datapath-flow-text.js";
import { frameOfMatch } from "../cli/match-frame.js";
import type { UnixctlCommand } from "../cli/unixctl-server.js";
import type { DatapathHandle } from "../datapath/index.js";
import { command } from "./commands.js";
import type { NumberedPort } from "./model.js";

type DummyBridges = ReadonlyMap<string, { readonly ports: ReadonlyMap<string, NumberedPort> }>;

/** What Open vSwitch puts behind a transport header when nothing else is asked for. */
const PAYLOAD_SIZE = 64;
/** Steps of one time/warp; more would keep everybody else waiting. */
const STEPS_MAX = 100_000;
const WARP_MS_MAX = 2 ** 31;

export function dummyCommands(
  datapath: DatapathHandle,
  bridges: () => DummyBridges,
  clock: WarpableClock,
): Record<string, UnixctlCommand> {
  return { ...portCommands(datapath, bridges), ...timeCommands(datapath, clock) };
}

interface Place {
  readonly bridge: string;
  readonly name: string;
}

function portCommands(datapath: DatapathHandle, bridges: () => DummyBridges): Record<string, UnixctlCommand> {
  const dummies = (): Place[] =>
    [...bridges()].flatMap(([bridge, { ports }]) =>
      [...ports.values()].filter(({ isDummy }) => isDummy).map(({ name }) => ({ bridge, name })),
    );
  const find = (name: string): Place | undefined => dummies().find((one) => one.name === name);
  return {
    "netdev-dummy/receive": command(
      "name [--qid queue_id] packet|flow [--len packet_len]",
      2,
      10_000,
      async (args) => {
        const [name = "", ...words] = args;
        const place = find(name);
        if (place === undefined) throw refusal("no such dummy netdev");
        await datapath.call("receiveFrames", { ...place, frames: framesOf(words) });
        return "";
      },
    ),
    "netdev-dummy/set-admin-state": command("[netdev] up|down", 1, 2, async (args) => {
      const state = args.at(-1);
      if (state !== "up" && state !== "down") throw refusal("Invalid Admin State");
      const one = args.length > 1 ? find(args[0] as string) : undefined;
      if (args.length > 1 && one === undefined) throw refusal("Unknown Dummy Interface");
      for (const place of one === undefined ? dummies() : [one])
        await datapath.call("setAdminState", { ...place, up: state === "up" });
      return "OK\n";
    }),
    "netdev-dummy/conn-state": command("[netdev]", 0, 1, async ([name]) => {
      if (name !== undefined) {
        const place = find(name);
        const state = place === undefined ? "unknown" : await datapath.call("connectionState", place);
        return `${name}: ${state}\n`;
      }
      const lines: string[] = [];
      for (const place of dummies()) {
        const state = await datapath.call("connectionState", place);
        if (state !== "unknown") lines.push(`${place.name}: ${state}\n`);
      }
      return lines.join("");
    }),
  };
}

/** Every packet or flow of the line. */
function framesOf(words: readonly string[]): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (word === "--qid") {
      if (words[at + 1] === undefined || !/^0+$/.test(words[at + 1] as string))
        throw refusal("bad rx queue id.");
      at++;
      continue;
    }
    const size = words[at + 1] === "--len" ? words[at + 2] : undefined;
    if (words[at + 1] === "--len") {
      if (size === undefined) throw refusal("--len needs a packet length");
      at += 2;
    }
    frames.push(frameOf(word, size));
  }
  return frames;
}

function frameOf(text: string, size: string | undefined): Uint8Array {
  const hex = text.replaceAll(/\s/g, "");
  if (/^([0-9a-fA-F]{2})+$/.test(hex)) {
    const frame = fromHex(hex);
    if (frame.byteLength >= FRAME_SIZE_MIN && frame.byteLength <= FRAME_SIZE_MAX) return frame;
    throw refusal(`syntax error at ${text}`);
  }
  const match = matchOf(text);
  if (size === undefined) return frameOfMatch(match, { payloadSize: PAYLOAD_SIZE });
  const least = frameOfMatch(match, { payloadSize: 0 }).byteLength;
  const length = /^\d{1,6}$/.test(size) ? Number(size) : 0;
  if (length < least) throw refusal("too small packet len");
  if (length > FRAME_SIZE_MAX) throw refusal(`a packet has at most ${FRAME_SIZE_MAX} bytes`);
  return frameOfMatch(match, { frameSize: length });
}

function matchOf(text: string): ReturnType<typeof parseDatapathFlow> {
  try {
    return parseDatapathFlow(text);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError)) throw thrown;
    throw refusal(`syntax error at ${restFrom(text)}`);
  }
}

/** What is left of the flow from the first part that nothing can be made of. */
function restFrom(text: string): string {
  const parts = [...text.matchAll(/,?[^,(]*(\((?:[^()]|\([^()]*\))*\))?/g)].filter(([part]) => part !== "");
  const bad = parts.find(([part]) => {
    try {
      parseDatapathFlow(part.replace(/^,/, ""));
      return false;
    } catch {
      return true;
    }
  });
  return bad === undefined ? text : text.slice(bad.index).replace(/^,/, "");
}

function timeCommands(datapath: DatapathHandle, clock: WarpableClock): Record<string, UnixctlCommand> {
  return {
    "time/stop": command("", 0, 0, async () => {
      clock.stop();
      await datapath.call("stopTime", {});
      return "";
    }),
    "time/warp": command("[large_msecs] msecs", 1, 2, async (args) => {
      const [total, step] = args.length === 2 ? args.map(Number) : [Number(args[0]), Number(args[0])];
      if (!isDuration(total) || !isDuration(step)) throw refusal("invalid MSECS");
      if (total / step > STEPS_MAX) throw refusal(`more than ${STEPS_MAX} steps`);
      for (let done = 0; done < total; done += step) {
        const deltaMs = Math.min(step, total - done);
        clock.warp(deltaMs);
        await datapath.call("warpTime", { deltaMs });
      }
      return "warped\n";
    }),
  };
}

function isDuration(value: number | undefined): value is number {
  return value !== undefined && Number.isInteger(value) && value > 0 && value <= WARP_MS_MAX;
}

function refusal(message: string): PlinthError {
  return new PlinthError("DUMMY_REFUSED", message);
}
