// Progress for people: one line that rewrites itself on a terminal; elsewhere a line per result, and one for each step
// that takes long.

/** Where nothing can be rewritten, a step is worth a line of its own only when it takes longer than this. */
const LONG_STEP_MS = 2_000;

export interface Progress {
  /** Begins or updates the current step. */
  step(text: string): void;
  /** Ends the current step with a mark. */
  done(text: string): void;
  failed(text: string): void;
  /** A line that stays. */
  say(text: string): void;
}

/** Writes to `out`, failures to `errors`; rewrites the current line when it is a terminal. */
export function createProgress(out: NodeJS.WriteStream, errors: NodeJS.WriteStream): Progress {
  const terminal = out.isTTY === true;
  let shown = "";
  let beganMs = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const clear = () => {
    if (terminal && shown !== "") out.write("\r\u001b[K");
  };
  const draw = () => {
    if (terminal) out.write(`… ${shown.slice(0, Math.max(20, (out.columns ?? 80) - 3))}`);
  };
  const seconds = () => `${((performance.now() - beganMs) / 1000).toFixed(1)} s`;
  const finish = (to: NodeJS.WriteStream, mark: string, text: string) => {
    clear();
    clearTimeout(timer);
    timer = undefined;
    to.write(`${mark} ${text}${shown === "" ? "" : ` (${seconds()})`}\n`);
    shown = "";
  };
  const sayLater = () => {
    timer = undefined;
    out.write(`… ${shown}\n`);
  };
  return {
    step(text) {
      if (shown === "") beganMs = performance.now();
      if (text === shown) return;
      clear();
      shown = text;
      draw();
      if (!terminal) timer ??= setTimeout(sayLater, LONG_STEP_MS);
    },
    done: (text) => finish(out, "✓", text),
    failed: (text) => finish(errors, "✗", text),
    say(text) {
      clear();
      out.write(`${text}\n`);
      if (shown !== "") draw();
    },
  };
}

/** `progress` until `muted` says so: what is given up half-way has nothing more to tell. */
export function mutable(progress: Progress, muted: () => boolean): Progress {
  const unless = (write: (text: string) => void) => (text: string) => {
    if (!muted()) write(text);
  };
  return {
    step: unless(progress.step),
    done: unless(progress.done),
    failed: unless(progress.failed),
    say: unless(progress.say),
  };
}
