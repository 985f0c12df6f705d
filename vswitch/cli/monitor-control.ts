// What `plinth ofctl monitor` and `snoop` are told while they run: their control socket, to which ovs-appctl speaks, and
// the file with their process number. Source: ovs-ofctl(8), Runtime Management Commands. Thread: main.
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describeError, systemReason } from "../../base/errors/index.js";
import { encodeMessage } from "../../base/openflow/index.js";
import { commandError } from "./errors.js";
import { readHex } from "./hex-input.js";
import { printMessage } from "./message-print.js";
import type { OfctlContext } from "./ofctl-context.js";
import { packetOrder } from "./ofctl-switch.js";
import { writeProcessFile } from "./process-file.js";
import { createUnixctlServer, type UnixctlCommand } from "./unixctl-server.js";

/** As the programs that speak to it call the original, and so this. */
const PROGRAM = "ovs-ofctl";
const HEADER_SIZE = 8;
const BARRIER_REPLIES: ReadonlyMap<number, number> = new Map([[1, 19]]);
const BARRIER_REPLY = 21;

export interface MonitorControl {
  /** Settles when it is told to end. */
  readonly ended: Promise<void>;
  /** Writes where the output goes by now. */
  readonly out: (text: string) => void;
  /** Hears of every message of the switch, after it was printed. */
  readonly seen: (bytes: Uint8Array) => void;
  close(): Promise<void>;
}

/** Serves the commands from now on. Throws COMMAND_FAILED when its files cannot be made. */
export async function openMonitorControl(context: OfctlContext): Promise<MonitorControl> {
  const { io, flags } = context;
  const { background } = io;
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  let file: number | undefined;
  const out = (text: string): void => {
    if (file === undefined) io.err(text);
    else writeSync(file, text);
  };
  const barrier = new Barrier();
  const commands = {
    ...commandsOf(context, out, barrier),
    "ofctl/set-output-file": command("FILE", 1, 1, ([path = ""]) => {
      let opened: number;
      try {
        opened = openSync(path, "w");
      } catch (thrown) {
        throw new Error(systemReason(thrown));
      }
      if (file !== undefined) closeSync(file);
      file = opened;
      return "";
    }),
  };
  const inDirectory = (path: string): string => (path.startsWith("/") ? path : join(runDirectory, path));
  const runDirectory = background?.runDirectory ?? "";
  const numbered =
    flags.pidfile === undefined || background === undefined
      ? undefined
      : writeProcessFile(
          inDirectory(flags.pidfile === "" ? `${PROGRAM}.pid` : flags.pidfile),
          flags.overwritesPidfile,
        );
  const server = await serve(context, commands, {
    path: background && inDirectory(flags.unixctl ?? `${PROGRAM}.${process.pid}.ctl`),
    exit: () => end(),
  });
  return {
    ended,
    out,
    seen: (bytes) => barrier.seen(bytes),
    async close() {
      await server?.close();
      numbered?.close();
      if (file !== undefined) closeSync(file);
    },
  };
}

async function serve(
  { flags, warn }: OfctlContext,
  commands: Readonly<Record<string, UnixctlCommand>>,
  { path, exit }: { readonly path: string | undefined; readonly exit: () => void },
): Promise<{ close(): Promise<void> } | undefined> {
  if (path === undefined || flags.unixctl === "none") return undefined;
  try {
    return await createUnixctlServer(path, commands, {
      ...{ version: `${PROGRAM} (Plinth) 0.1.0`, name: PROGRAM, exit },
    });
  } catch (thrown) {
    const refusal = `could not initialize control socket ${path} (${describeError(thrown)})`;
    // Who does not ask for one, and may not make one, can still look.
    if (flags.unixctl !== undefined || flags.detach) throw commandError(refusal);
    warn("unixctl", refusal);
    return undefined;
  }
}

function commandsOf(
  { client, flags }: OfctlContext,
  out: (text: string) => void,
  barrier: Barrier,
): Readonly<Record<string, UnixctlCommand>> {
  let isBlocked = false;
  const block = (wanted: boolean) => (): string => {
    if (isBlocked === wanted) return wanted ? "already blocking\n" : "already unblocked\n";
    isBlocked = wanted;
    client.setPaused(wanted);
    return "";
  };
  const send = (bytes: Uint8Array, what = ""): void => {
    out(what + printMessage(bytes, { verbosity: flags.more }));
    client.sendBytes(bytes);
  };
  return {
    "ofctl/send": command("OFMSG...", 1, Number.POSITIVE_INFINITY, (texts) => {
      const lines = texts.map((text) => {
        const bytes = messageOf(text);
        if (typeof bytes === "string") return { isSent: false, line: bytes };
        send(bytes, "send: ");
        return { isSent: true, line: "sent" };
      });
      const answer = lines.map(({ line }) => `${line}\n`).join("");
      if (lines.every(({ isSent }) => isSent)) return answer;
      throw new Error(answer);
    }),
    "ofctl/packet-out": command('"in_port=PORT packet=HEX actions=ACTIONS"', 1, 1, ([text = ""]) => {
      const message = packetOrder(text, client.version, () => undefined);
      send(encodeMessage({ ...message, xid: client.nextXid() }, client.dialect));
      return "";
    }),
    "ofctl/barrier": command("", 0, 0, async () => {
      if (barrier.isAwaited) throw new Error("already waiting for barrier reply");
      client.sendBytes(encodeMessage({ type: "barrier_request", xid: client.nextXid() }, client.dialect));
      // Nobody answers any more when the switch has gone.
      await Promise.race([barrier.next(), client.ended]);
      return "";
    }),
    "ofctl/block": command("", 0, 0, block(true)),
    "ofctl/unblock": command("", 0, 0, block(false)),
  };
}

function command(
  usage: string,
  argumentsMin: number,
  argumentsMax: number,
  run: UnixctlCommand["run"],
): UnixctlCommand {
  return { usage, argumentsMin, argumentsMax, run };
}

/** One message in hexadecimal, or what is wrong with it. */
function messageOf(text: string): Uint8Array | string {
  const { bytes, rest } = readHex(text);
  if (rest !== "") return "Trailing garbage in hex data";
  if (bytes.byteLength < HEADER_SIZE) return "Message too short for OpenFlow";
  const length = ((bytes[2] as number) << 8) | (bytes[3] as number);
  return length === bytes.byteLength ? bytes : "Message size does not match length in OpenFlow header";
}

/** Waits for the answer to a barrier; one at a time. */
class Barrier {
  #resolve: (() => void) | undefined;

  get isAwaited(): boolean {
    return this.#resolve !== undefined;
  }

  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  seen(bytes: Uint8Array): void {
    if (bytes[1] !== (BARRIER_REPLIES.get(bytes[0] as number) ?? BARRIER_REPLY)) return;
    this.#resolve?.();
    this.#resolve = undefined;
  }
}
