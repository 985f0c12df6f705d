// Runs the distribution's own programs (apt-get, dpkg, xz, qemu) to their end, with a deadline and bounded output.
import { execFile } from "node:child_process";
import { hypervisorError } from "../errors.js";

export interface ProgramOptions {
  readonly cwd?: string;
  readonly deadlineMs: number;
  readonly outputBytesMax?: number;
}

/**
 * Standard output of a program that ended with 0. Throws PROGRAM_MISSING when it is not installed and PROGRAM_FAILED,
 * with its last words, when it ended otherwise or was killed at its deadline.
 */
export function runProgram(file: string, args: readonly string[], options: ProgramOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    execFile(
      file,
      args,
      {
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        timeout: options.deadlineMs,
        killSignal: "SIGKILL",
        maxBuffer: options.outputBytesMax ?? 4 * 1024 * 1024,
        encoding: "buffer",
        env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
      },
      (error, stdout, stderr) => {
        if (error === null) {
          resolve(stdout);
        } else if ((error as NodeJS.ErrnoException).code === "ENOENT") {
          reject(
            hypervisorError("PROGRAM_MISSING", `the program ${file} is not installed`, { cause: error }),
          );
        } else {
          const words = stderr.toString("utf8").trim().split("\n").slice(-3).join("; ");
          const how = error.killed === true ? `did not end within ${options.deadlineMs} ms` : "failed";
          reject(
            hypervisorError("PROGRAM_FAILED", `${file} ${args[0] ?? ""} ${how}: ${words || error.message}`, {
              cause: error,
            }),
          );
        }
      },
    );
  });
}
