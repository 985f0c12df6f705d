// Words of a value or of a setting, COLUMN:KEY=VALUE: each ends at a delimiter, unless quotes or a backslash hide it. Pure.
// Source: ovs-vsctl(8), Database Values.
import { syntaxError } from "../../base/ovsdb/index.js";

export interface Token {
  /** Quotes and what escapes inside of them stay as they are; elsewhere a backslash goes. */
  readonly text: string;
  /** Where it ends: at a delimiter, or at the end. */
  readonly end: number;
}

const DELIMITERS: ReadonlySet<string> = new Set(":=, []{}!<>");
const SPACE: ReadonlySet<string> = new Set(" \t\n\v\f\r");

/** The word that begins at `begin`, empty where a delimiter stands. Throws OvsdbError "syntax error". */
export function readToken(text: string, begin: number): Token {
  let [token, isQuoted, at] = ["", false, begin];
  while (at < text.length) {
    const character = text[at] as string;
    if (character === "\\") {
      const escaped = text[at + 1];
      if (escaped === undefined) throw syntaxError(`${text.slice(begin)}: backslash at end of argument`);
      token += isQuoted ? `\\${escaped}` : escaped;
      at += 2;
      continue;
    }
    if (!isQuoted && DELIMITERS.has(character)) break;
    if (character === '"') isQuoted = !isQuoted;
    token += character;
    at++;
  }
  if (isQuoted) throw syntaxError(`${text.slice(begin)}: quoted string extends past end of argument`);
  return { text: token, end: at };
}

/** The first place from `at` on where no white space stands. */
export function skipSpace(text: string, at: number): number {
  let place = at;
  while (SPACE.has(text[place] ?? "")) place++;
  return place;
}
