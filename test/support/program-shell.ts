// One shell that runs many short programs, one after the other: to start each from this process, which is large, costs as
// much as the program itself.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { endChild, type RunResult } from "./run.js";

export class ProgramShell {
  readonly #child: ChildProcess;
  readonly #files: readonly [stdout: string, stderr: string];
  /** Takes the exit code of the program that runs, or why there will be none. */
  #ended: ((code: number | Error) => void) | undefined;
  #said = "";

  /** Keeps what the programs print in files of `dir`. */
  constructor(dir: string) {
    this.#files = [join(dir, "stdout"), join(dir, "stderr")];
    this.#child = spawn("bash", ["--noprofile", "--norc"], { stdio: ["pipe", "pipe", "ignore"] });
    this.#child.stdin?.on("error", () => {}); // Its end is told below.
    this.#child.on("error", (error) => this.#end(error));
    this.#child.on("close", () => this.#end(new Error("the shell has ended")));
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#said += text;
      if (!this.#said.endsWith("\n")) return;
      const code = Number(this.#said);
      this.#said = "";
      this.#end(code);
    });
  }

  /** Runs the program to its end; a signal that ends it counts as 128 and its number. Rejects after `deadlineMs`. */
  async run(program: string, args: readonly string[], deadlineMs: number): Promise<RunResult> {
    const [stdout, stderr] = this.#files;
    const line = [program, ...args].map(quoted).join(" ");
    const code = await new Promise<number>((resolve, reject) => {
      const late = new Error(`${line} still ran after ${deadlineMs} ms`);
      const timer = setTimeout(() => this.#end(late), deadlineMs);
      this.#ended = (ended) => {
        clearTimeout(timer);
        if (ended instanceof Error) reject(ended);
        else resolve(ended);
      };
      this.#child.stdin?.write(`${line} </dev/null >${quoted(stdout)} 2>${quoted(stderr)}; echo $?\n`);
    });
    return { code, stdout: readFileSync(stdout, "utf8"), stderr: readFileSync(stderr, "utf8") };
  }

  async close(): Promise<void> {
    await endChild(this.#child);
  }

  #end(how: number | Error): void {
    const ended = this.#ended;
    this.#ended = undefined;
    ended?.(how);
  }
}

/** The word as a shell reads it, whatever is in it. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
