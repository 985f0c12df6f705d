// The members of a JSON object, taken one by one: what is missing, of the wrong type or left over becomes one error,
// and of several faults the first. Pure.
import { isObject } from "../json/index.js";
import { type OvsdbError, syntaxError } from "./errors.js";
import { isIdentifier } from "./identifiers.js";
import type { JsonObject } from "./json-object.js";

interface MemberTypes {
  readonly array: readonly unknown[];
  readonly boolean: boolean;
  readonly id: string;
  /** Of 64 bits: a bigint where a number would round. */
  readonly integer: number | bigint;
  readonly object: JsonObject;
  readonly string: string;
}

const IS_OF_TYPE: { readonly [T in keyof MemberTypes]: (json: unknown) => boolean } = {
  array: Array.isArray,
  boolean: (json) => typeof json === "boolean",
  id: isIdentifier,
  integer: (json) =>
    typeof json === "bigint"
      ? BigInt.asIntN(64, json) === json
      : Number.isInteger(json) && Math.abs(json as number) < 2 ** 63,
  object: isObject,
  string: (json) => typeof json === "string",
};

/** Takes members by `required` and `optional`; `finish` says what was wrong with any of them or left over. */
export class ObjectParser {
  readonly #name: string;
  /** Undefined for what is no object. */
  readonly json: JsonObject | undefined;
  readonly #used = new Set<string>();
  #error: OvsdbError | undefined;

  /** `name` says what `json` should be, for errors. */
  constructor(json: unknown, name: string) {
    this.#name = name;
    this.json = isObject(json) ? json : undefined;
    if (this.json === undefined) this.fail("Object expected.");
  }

  /** The member; undefined, against its type, when the parser has failed, so `check` before it is used. */
  required<T extends keyof MemberTypes>(member: string, type: T): MemberTypes[T] {
    const value = this.optional(member, type);
    if (value === undefined) this.fail(`Required '${member}' member is missing.`);
    return value as MemberTypes[T];
  }

  optional<T extends keyof MemberTypes>(member: string, type: T): MemberTypes[T] | undefined {
    const json = this.json;
    if (json === undefined || !Object.hasOwn(json, member)) return undefined;
    const value = json[member];
    if (IS_OF_TYPE[type](value)) {
      this.#used.add(member);
      return value as MemberTypes[T];
    }
    this.fail(`Type mismatch for member '${member}'.`);
    return undefined;
  }

  /** Records a fault; the first one counts. */
  fail(what: string): void {
    this.#error ??= syntaxError(`Parsing ${this.#name} failed: ${what}`, this.json);
  }

  /** Throws the first fault so far. */
  check(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** Throws the first fault, or one that names a member that nobody took. */
  finish(): void {
    const [unused, ...others] = Object.keys(this.json ?? {}).filter((member) => !this.#used.has(member));
    if (unused !== undefined) {
      const more = others.length === 1 ? " and 1 other member" : ` and ${others.length} other members`;
      this.fail(
        others.length === 0
          ? `Member '${unused}' is present but not allowed here.`
          : `Member '${unused}'${more} are present but not allowed here.`,
      );
    }
    this.check();
  }
}
