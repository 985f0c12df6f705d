// Files with one flow, group or meter per line, "#" starting a comment.
import { PlinthError } from "../../base/errors/index.js";
import type { CommandIo } from "./command-io.js";
import { commandError, flowTextError } from "./errors.js";

export interface FileLine {
  readonly text: string;
  /** Runs `parse`; what it refuses is told with the file and the number of the line. */
  parse<Result>(parse: (text: string) => Result): Result;
}

/** The lines that say something; `stdinName` is what "-" is called where one is refused. Throws COMMAND_FAILED when the file cannot be read. */
export async function readLines(io: CommandIo, path: string, stdinName = "<stdin>"): Promise<FileLine[]> {
  const text = await readFile(io, path, "open failed");
  const name = path === "-" ? stdinName : path;
  return text.split("\n").flatMap((line, i) => {
    const content = line.replace(/#.*/, "").trim();
    return content === ""
      ? []
      : [{ text: content, parse: (parse) => located(name, i + 1, () => parse(content)) }];
  });
}

export async function readFile(io: CommandIo, path: string, what = "open"): Promise<string> {
  return new TextDecoder().decode(await readBytes(io, path, what));
}

/** The whole file. Throws COMMAND_FAILED when it cannot be read. */
export async function readBytes(io: CommandIo, path: string, what = "open"): Promise<Uint8Array> {
  try {
    return await io.read(path);
  } catch (thrown) {
    const { code, message } = thrown as NodeJS.ErrnoException;
    const known: Readonly<Record<string, string>> = {
      ENOENT: "No such file or directory",
      EACCES: "Permission denied",
      EISDIR: "Is a directory",
    };
    throw commandError(`${path}: ${what} (${known[code ?? ""] ?? message})`);
  }
}

function located<Result>(name: string, line: number, run: () => Result): Result {
  try {
    return run();
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw flowTextError(`${name}:${line}: ${thrown.message}`);
    throw thrown;
  }
}
