// A secret from the terminal, not shown while it is typed, or the first line of standard input. Thread: main.
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { PlinthError } from "../../base/errors/index.js";

/** Asks for a passphrase; with `twice` it has to be typed the same again, on a terminal. */
export async function askPassphrase(prompt: string, twice: boolean): Promise<string> {
  const { isTTY } = process.stdin;
  // Where nothing is typed there is nobody to be shown anything.
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: isTTY === true });
  const read = lines[Symbol.asyncIterator]();
  const ask = async (text: string): Promise<string> => {
    if (isTTY) process.stderr.write(text);
    const line = await read.next();
    if (isTTY) process.stderr.write("\n");
    return line.done === true ? "" : line.value;
  };
  try {
    const first = await ask(`${prompt}: `);
    if (first === "")
      throw new PlinthError("PARAMETER_INVALID", "no passphrase was given", { field: "passphrase" });
    if (twice && isTTY && (await ask(`${prompt}, again: `)) !== first) {
      throw new PlinthError("PARAMETER_INVALID", "the two passphrases differ", { field: "passphrase" });
    }
    return first;
  } finally {
    lines.close();
  }
}
