import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EXEC_OUTPUT_BYTES_MAX } from "../limits.js";
import { ExecSession } from "./exec-session.js";
import { ExecParser, quoteCommand } from "./exec-wire.js";

const ID = "0123456789abcdef";
const REQUEST = { command: ["true"], timeoutMs: 1000 };

describe("ExecParser", () => {
  it("raises nothing for any bytes, however they are cut", () => {
    const lines = fc.array(
      fc.oneof(fc.constantFrom(`O ${ID} eA==\n`, `S ${ID} 0 0\n`, `Z ${ID}\n`, "H\n"), fc.string()),
    );
    const stream = fc.oneof(
      fc.uint8Array(),
      lines.map((parts) => new Uint8Array(Buffer.from(parts.join("")))),
    );
    fc.assert(
      fc.property(stream, fc.nat(40), (bytes, cut) => {
        const whole = new ExecParser().push(bytes);
        const parser = new ExecParser();
        const parts = [...parser.push(bytes.subarray(0, cut)), ...parser.push(bytes.subarray(cut))];
        expect(parts).toEqual(whole);
      }),
    );
  });
});

describe("ExecSession", () => {
  it("gives back the outputs whatever stale lines are in between, and never more than its limit", () => {
    const chunk = fc.uint8Array({ maxLength: 600 });
    const noise = fc.constantFrom(
      "",
      "H\n",
      "O 00000000000000ff eA==\n",
      "half a li",
      `Z 00000000000000ff\n`,
      "O\n",
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(noise, chunk)), fc.nat(255), (parts, exitCode) => {
        const session = new ExecSession();
        session.begin(ID, REQUEST);
        let text = "";
        const expected: Uint8Array[] = [];
        for (const [before, data] of parts) {
          text += `${before.endsWith("\n") || before === "" ? before : `${before}\n`}O ${ID} ${Buffer.from(data).toString("base64")}\n`;
          expected.push(data);
        }
        const results = session.receive(Buffer.from(`${text}S ${ID} ${exitCode} 0\nZ ${ID}\n`));
        expect(results).toHaveLength(1);
        expect(results[0]?.result.exitCode).toBe(exitCode);
        expect(Buffer.from(results[0]?.result.stdout ?? []).equals(Buffer.concat(expected))).toBe(true);
        expect(session.inFlight).toBe(0);
      }),
    );
  });

  it("cuts what a hostile guest sends without end", () => {
    const session = new ExecSession();
    session.begin(ID, REQUEST);
    const line = Buffer.from(`O ${ID} ${Buffer.alloc(16_000, 1).toString("base64")}\n`);
    for (let i = 0; i < 40; i++) session.receive(line);
    session.receive(Buffer.alloc(1_000_000, 0x41));
    const [done] = session.receive(Buffer.from(`\nS ${ID} 0 0\nZ ${ID}\n`));
    expect(done?.result.stdout.length).toBe(EXEC_OUTPUT_BYTES_MAX);
    expect(done?.result.truncated).toBe(true);
  });
});

describe("quoteCommand()", () => {
  it("leaves no character to the shell", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({ minLength: 1 }).filter((word) => !word.includes("\0")),
          { minLength: 1 },
        ),
        (words) => {
          // Undo the quoting the way a POSIX shell does: only single quotes and backslash-quote occur.
          const text = quoteCommand(words).slice("exec ".length, -1);
          const back: string[] = [];
          let word = "";
          let quoted = false;
          for (let i = 0; i < text.length; i++) {
            const character = text[i] as string;
            if (character === "'") quoted = !quoted;
            else if (!quoted && character === "\\") word += text[++i];
            else if (!quoted && character === " ") {
              back.push(word);
              word = "";
            } else word += character;
          }
          back.push(word);
          expect(back).toEqual(words);
        },
      ),
    );
  });
});
