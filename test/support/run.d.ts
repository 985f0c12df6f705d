import { type ChildProcess, type SpawnOptions } from "node:child_process";
/** The repository's root, also when this runs compiled, from dist/. */
export declare const ROOT: string;
/** The compiled `plinth`: the bundle that users run, or what tsc made since. */
export declare const PLINTH: string;
export interface RunResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}
export interface RunOptions extends SpawnOptions {
  readonly deadlineMs?: number;
  readonly input?: string | Uint8Array;
}
/** Runs a program to its end; rejects only when it cannot be started or outlives `deadlineMs` (then it is killed). */
export declare function run(
  program: string,
  args: readonly string[],
  options?: RunOptions,
): Promise<RunResult>;
/** As run(), but a failure of the program rejects with what it said. Returns standard output. */
export declare function runOk(
  program: string,
  args: readonly string[],
  options?: RunOptions,
): Promise<string>;
/** Fails loudly when a program of the test is missing: `npm test` installs all of them. */
export declare function requirePrograms(...programs: readonly string[]): void;
/** Ends a child of the test whatever state it is in, and waits for it. */
export declare function endChild(child: ChildProcess, signal?: NodeJS.Signals): Promise<void>;
