// Objects in the JSON of a peer. Pure.
import { isObject } from "../json/index.js";
import { show, syntaxError } from "./errors.js";

export type JsonObject = Readonly<Record<string, unknown>>;

/** `json` as an object. Throws OvsdbError "syntax error" that says it should have been `what`. */
export function objectOf(json: unknown, what: string): JsonObject {
  if (!isObject(json)) throw syntaxError(`${what}: expected an object, found ${show(json)}`);
  return json;
}
