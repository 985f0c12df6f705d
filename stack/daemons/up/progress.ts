// Progress for people: one line that rewrites itself on a terminal, one line per change elsewhere.

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
  const clear = () => {
    if (terminal && shown !== "") out.write("\r\u001b[K");
  };
  const seconds = () => `${((performance.now() - beganMs) / 1000).toFixed(1)} s`;
  const finish = (to: NodeJS.WriteStream, mark: string, text: string) => {
    clear();
    to.write(`${mark} ${text}${shown === "" ? "" : ` (${seconds()})`}\n`);
    shown = "";
  };
  return {
    step(text) {
      if (shown === "") beganMs = performance.now();
      if (text === shown) return;
      clear();
      shown = text;
      out.write(terminal ? `… ${text.slice(0, Math.max(20, (out.columns ?? 80) - 3))}` : `… ${text}\n`);
    },
    done: (text) => finish(out, "✓", text),
    failed: (text) => finish(errors, "✗", text),
    say(text) {
      clear();
      out.write(`${text}\n`);
      if (terminal && shown !== "") out.write(`… ${shown}`);
    },
  };
}
