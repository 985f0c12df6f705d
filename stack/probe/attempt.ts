// One health check from this machine, by hand: a TCP connection or an ICMP echo, with how long it took.
// Contract of Attempt: `once` is called again only after it settled, and never rejects for what the peer does; it
// rejects with a PlinthError when this machine cannot ask at all. `close` is called once, last. Thread: main.
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { PlinthError } from "../../base/errors/index.js";
import { openRawIp, type RawIpSocket } from "../../base/linux/index.js";
import { IPPROTO_ICMP } from "../../base/wire/index.js";
import { type EchoAnswer, EchoSession } from "./echo-session.js";

export type Outcome =
  | { readonly answered: true; readonly tookMs: number }
  | { readonly answered: false; readonly reason: string };

export interface Attempt {
  /** `sequence` counts from 1. An aborted one is an outcome without an answer. */
  once(sequence: number, signal: AbortSignal): Promise<Outcome>;
  close(): void;
}

export function createTcpAttempt(address: string, port: number, timeoutMs: number): Attempt {
  return {
    once: (_, signal) =>
      settleOnce(timeoutMs, signal, (settle) => {
        const startedMs = performance.now();
        const socket = connect({ host: address, port });
        socket.on("connect", () => settle({ answered: true, tookMs: performance.now() - startedMs }));
        socket.on("error", (error: NodeJS.ErrnoException) =>
          settle({
            answered: false,
            reason:
              error.code === "ECONNREFUSED"
                ? `port ${port} refuses connections`
                : (error.code ?? error.message),
          }),
        );
        return () => socket.resetAndDestroy();
      }),
    close() {},
  };
}

/** Throws what openRawIp() throws. `open` is replaced in tests. */
export function createIcmpAttempt(address: string, timeoutMs: number, open = openRawIp): Attempt {
  const random = randomBytes(18);
  const session = new EchoSession({
    address,
    identifier: random.readUInt16BE(0),
    payload: random.subarray(2),
  });
  let expected: ((answer: EchoAnswer) => void) | undefined;
  const socket: RawIpSocket = open({
    protocol: IPPROTO_ICMP,
    onPacket(packet) {
      const answer = session.receive(packet);
      if (answer !== undefined) expected?.(answer);
    },
  });
  return {
    once: (sequence, signal) =>
      settleOnce(timeoutMs, signal, (settle) => {
        const startedMs = performance.now();
        expected = (answer) => {
          if (answer.sequence !== (sequence & 0xffff)) return;
          settle(
            answer.refusal === undefined
              ? { answered: true, tookMs: performance.now() - startedMs }
              : { answered: false, reason: answer.refusal },
          );
        };
        socket.send(session.request(sequence), address).catch((thrown: unknown) => {
          const reason = thrown instanceof PlinthError ? thrown.message : String(thrown);
          settle({ answered: false, reason });
        });
        return () => {
          expected = undefined;
        };
      }),
    close: () => socket.close(),
  };
}

/** Starts something that settles once, or does not in `timeoutMs`; `start` returns what ends it in any case. */
function settleOnce(
  timeoutMs: number,
  signal: AbortSignal,
  start: (settle: (outcome: Outcome) => void) => () => void,
): Promise<Outcome> {
  return new Promise((resolve) => {
    let end: (() => void) | undefined;
    let settled = false;
    const settle = (outcome: Outcome): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      end?.();
      resolve(outcome);
    };
    const abort = (): void => settle({ answered: false, reason: "stopped" });
    const timer = setTimeout(
      () => settle({ answered: false, reason: `no answer within ${timeoutMs} ms` }),
      timeoutMs,
    );
    signal.addEventListener("abort", abort);
    end = start(settle);
    if (settled) end();
  });
}
