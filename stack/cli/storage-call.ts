// What the verbs of pools and volumes share: the call to storaged, and following a job with a bar. Thread: main.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Command, InvalidArgumentError } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { callControl } from "../../base/jsonrpc/index.js";
import type { JobView } from "../../storage-pool/index.js";
import { storageDirectory } from "../daemons/directory.js";
import { formatBytes, parseQuantity } from "../resources/quantity.js";
import { withPartDir } from "./options.js";
import { type OutputOptions, show, withOutput } from "./output.js";

const CALL_TIMEOUT_MS = 60_000;
const POLL_MS = 100;
const BAR_WIDTH = 30;
const BLOCK = 4096;
const SIZE_EXPECTED = "expected a size such as 1GiB, 500MB or 10Mi";

export interface Flags extends OutputOptions {
  readonly dir?: string;
}

export type Params = Readonly<Record<string, unknown>>;

/** Asks the storaged of --dir. */
export async function call(
  flags: Flags,
  method: string,
  params: Params,
  timeoutMs = CALL_TIMEOUT_MS,
): Promise<unknown> {
  try {
    return await callControl(join(storageDirectory(flags.dir), "control.sock"), method, params, timeoutMs);
  } catch (thrown) {
    if (!(thrown instanceof PlinthError) || thrown.code !== "RPC_UNREACHABLE") throw thrown;
    const remedy = "is storaged running, with this directory? --dir or $PLINTH_DIR names another";
    throw new PlinthError(thrown.code, thrown.message, { remedy, cause: thrown });
  }
}

/** Waits for a job with a progress bar on a terminal, then says how it ended. Throws JOB_FAILED. */
export async function followJob(
  flags: Flags,
  started: unknown,
  wait: boolean,
  text: (ended: JobView) => string,
): Promise<void> {
  let job = started as JobView;
  while (wait && (job.state === "running" || job.state === "waiting")) {
    showProgress(flags, `${job.kind} ${job.subject}`, job.doneBytes, job.totalBytes);
    await sleep(POLL_MS);
    job = (await call(flags, "job.get", { pool: job.pool, id: job.id })) as JobView;
  }
  showProgress(flags, "", 0, 0);
  if (!wait) {
    show(flags, job, () => `${job.kind} of ${job.subject} has begun`);
    return;
  }
  const whole = job.state === "done" && job.findings.length === 0;
  show(flags, job, () => (whole ? text(job) : `${jobText(job)}\n${job.findings.join("\n")}`));
  if (whole) return;
  throw new PlinthError("JOB_FAILED", `${job.kind} of ${job.subject}: ${job.findings[0] ?? job.state}`);
}

/** "scrub of all disks: 12 GiB, 3 blocks repaired". */
export function jobText({ kind, subject, doneBytes, repairedBlocks, lostBlocks }: JobView): string {
  const repaired = repairedBlocks === 0 ? "" : `, ${counted(repairedBlocks, "block")} repaired`;
  const lost = lostBlocks === 0 ? "" : `, ${lostBlocks} bad`;
  return `${kind} of ${subject}: ${formatBytes(doneBytes)}${repaired}${lost}`;
}

/** "1 disk", "2 disks". */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A bar on the terminal's current line; an empty title wipes it. Nothing where there is no terminal. */
export function showProgress(flags: Flags, title: string, done: number, total: number): void {
  if (!process.stderr.isTTY || flags.output !== undefined) return;
  if (title === "") {
    process.stderr.write("\r\u001b[K");
    return;
  }
  const share = total === 0 ? 0 : Math.min(1, done / total);
  const bar = "█".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, "░");
  const percent = String(Math.floor(share * 100)).padStart(3);
  process.stderr.write(`\r${title} ${bar} ${percent} % of ${formatBytes(total)}\u001b[K`);
}

export function withFlags(command: Command): Command {
  return withOutput(withPartDir(command, "storaged"));
}

/** Of an option that may be given again: what was given before stays. */
export function parseList(text: string, before: readonly string[] = []): string[] {
  const parts = text.split(",").filter((part) => part !== "");
  if (parts.length === 0) throw new InvalidArgumentError("expected NAME or NAME,NAME…");
  return [...before, ...parts];
}

/** Whole blocks: a size that is none is rounded up, and who gave it is told. */
export function parseSize(text: string): number {
  const amount = bytesOf(text);
  if (amount === undefined || amount < 1) throw new InvalidArgumentError(SIZE_EXPECTED);
  const size = Math.ceil(amount / BLOCK) * BLOCK;
  if (size !== amount)
    process.stderr.write(
      `plinth: ${text} is rounded up to ${size} bytes: sizes are multiples of 4 KiB (${BLOCK} bytes)\n`,
    );
  return size;
}

/** A quantity in bytes; of these "m" is a thousandth, which who types "10m" does not mean. */
function bytesOf(text: string): number | undefined {
  return /^[+-]|m$/.test(text) ? undefined : parseQuantity(text);
}

/** A new size, or by how much more than the present one. */
export interface Growth {
  readonly bytes: number;
  readonly isRelative: boolean;
}

/** "2GiB", or "+1GiB" as for qemu-img resize. */
export function parseGrowth(text: string): Growth {
  const isRelative = text.startsWith("+");
  return { bytes: parseSize(isRelative ? text.slice(1) : text), isRelative };
}

/** Bytes each second, or a piece of one; 0: any number. */
export function parseRate(text: string): number {
  const amount = bytesOf(text);
  if (amount === undefined || (amount > 0 && amount < 1)) throw new InvalidArgumentError(SIZE_EXPECTED);
  return Math.ceil(amount);
}
