// How far something that takes long is: one line on a terminal's stderr, one each ten seconds elsewhere.
const ELSEWHERE_MS = 10_000;
const TERMINAL_MS = 200;
let lastMs = Number.NEGATIVE_INFINITY;

/** Tells it, if it was not told just now. */
export function progress(what: string, done: number, total: number): void {
  const nowMs = performance.now();
  const { isTTY } = process.stderr;
  if (nowMs - lastMs < (isTTY ? TERMINAL_MS : ELSEWHERE_MS) && done < total) return;
  lastMs = nowMs;
  const line = `${what}: ${Math.floor((100 * done) / total)} %`;
  process.stderr.write(isTTY ? `\r\x1b[K${line}${done < total ? "" : "\n"}` : `${line}\n`);
}
