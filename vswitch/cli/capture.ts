// `plinth capture`: asks a switch for frames and writes what comes until somebody has seen enough.
import { connect, type Socket } from "node:net";
import { PlinthError } from "../../base/errors/index.js";
import { isObject } from "../../base/json/index.js";
import {
  PCAPNG_BLOCK_SIZE_MAX,
  PCAPNG_INTERFACE_STATISTICS,
  PCAPNG_PACKET,
  type PcapngBlock,
  parseBlock,
  parseStatistics,
} from "../../base/packet/index.js";
import { systemClock } from "../../base/time/index.js";
import { WireError } from "../../base/wire/index.js";
import type { CaptureSink } from "./capture-files.js";

/** How long the switch may take for the rest once the end was asked for. */
const END_DEADLINE_MS = 10_000;

export interface CaptureOptions {
  /** Of the switch. */
  readonly socket: string;
  /** What is asked of it, see the switch's capture-request. */
  readonly request: Readonly<Record<string, unknown>>;
  readonly sink: CaptureSink & { readonly isClosed?: boolean };
  /** Ends the capture; undefined: no end. */
  readonly durationMs?: number | undefined;
  /** Ends the capture, too. */
  readonly interrupted: Promise<void>;
}

export interface CaptureOutcome {
  /** Frames that were written. */
  readonly frames: number;
  /** Frames that matched, and those of them that the switch could not or would not hand over. */
  readonly matched: number;
  readonly lost: number;
}

/**
 * Resolves when the capture is over. Rejects with CAPTURE_REFUSED (what the switch said), CAPTURE_UNREACHABLE,
 * CAPTURE_BROKEN (the switch ended or sent nonsense) or what the sink throws.
 */
export async function runCapture(options: CaptureOptions): Promise<CaptureOutcome> {
  const socket = await dial(options.socket);
  let isEnding = false;
  const end = (): void => {
    if (isEnding) return;
    isEnding = true;
    socket.end();
    systemClock.after(END_DEADLINE_MS, () => socket.destroy(new Error("it did not end the capture in time")));
  };
  const timer =
    options.durationMs === undefined ? undefined : systemClock.after(options.durationMs, () => end());
  void options.interrupted.then(end);
  socket.write(`${JSON.stringify(options.request)}\n`);
  try {
    const { isCounted, ...outcome } = await receive(socket, options.sink, end);
    const isDone = isEnding || isCounted || outcome.frames === options.request["count"];
    if (!isDone) throw broken("the switch ended it; its bridge may have been removed");
    return outcome;
  } finally {
    timer?.cancel();
    socket.destroy();
    options.sink.close();
  }
}

async function receive(socket: Socket, sink: CaptureOptions["sink"], end: () => void): Promise<Counting> {
  const outcome = { frames: 0, matched: 0, lost: 0, isCounted: false };
  let pending: Uint8Array = new Uint8Array(0);
  let isCapture = false;
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      pending = pending.byteLength === 0 ? chunk : Buffer.concat([pending, chunk]);
      if (!isCapture && pending[0] === 0x7b) {
        if (pending.byteLength > PCAPNG_BLOCK_SIZE_MAX) throw broken("what it says has no end");
        continue;
      }
      isCapture = true;
      for (let block = parseBlock(pending); block !== undefined; block = parseBlock(pending)) {
        pending = pending.subarray(block.bytes.byteLength);
        count(block, outcome);
        await sink.write(block);
        if (sink.isClosed === true) {
          end();
          return outcome;
        }
      }
    }
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw thrown;
    const what = thrown instanceof WireError ? `it sent no capture: ${thrown.message}` : String(thrown);
    throw broken(what, thrown);
  }
  if (!isCapture && pending.byteLength > 0) throw refusalOf(pending);
  if (pending.byteLength > 0) throw broken("the switch ended in the middle of a block");
  return outcome;
}

type Counting = { -readonly [K in keyof CaptureOutcome]: number } & {
  /** The switch has told what it lost. */
  isCounted: boolean;
};

function count(block: PcapngBlock, outcome: Counting): void {
  if (block.type === PCAPNG_PACKET) outcome.frames++;
  if (block.type !== PCAPNG_INTERFACE_STATISTICS) return;
  const { received, dropped } = parseStatistics(block);
  outcome.isCounted = true;
  outcome.matched += received;
  outcome.lost += dropped;
}

function refusalOf(bytes: Uint8Array): PlinthError {
  let said: unknown;
  try {
    said = JSON.parse(Buffer.from(bytes).toString());
  } catch (cause) {
    return broken("it sent neither a capture nor a reason", cause);
  }
  const why = isObject(said) && typeof said["error"] === "string" ? said["error"] : "it gave no reason";
  return new PlinthError("CAPTURE_REFUSED", why);
}

function broken(why: string, cause?: unknown): PlinthError {
  return new PlinthError("CAPTURE_BROKEN", `the capture broke off: ${why}`, { cause });
}

function dial(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    socket.once("connect", () => resolve(socket));
    socket.once("error", (cause) =>
      reject(
        new PlinthError("CAPTURE_UNREACHABLE", `cannot reach the switch at ${path}: ${cause.message}`, {
          cause,
          remedy: "is plinth vswitchd running? --dir names its directory",
        }),
      ),
    );
  });
}
