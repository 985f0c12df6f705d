// `plinth wait vm/web1 --for condition=Scheduled`: for scripts that go on once something is so. The words are kubectl's.
import type { Command } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { isObject } from "../../base/json/index.js";
import { type ApiClient, isApiError } from "../api/index.js";
import { displayName } from "../apply/apply.js";
import { ALL_KINDS, type ApiObject, apiVersionOf, type ResourceKind } from "../resources/index.js";
import { type ConnectionOptions, usingApi, withConnection } from "./connection.js";
import { parseDuration } from "./moment.js";
import { formatRows, print } from "./output.js";
import { fetchObjects, parseSelection, type Scope, type Selection } from "./selection.js";

/** What is waited for. */
export type Goal =
  | { readonly kind: "delete" | "create" }
  | { readonly kind: "condition"; readonly type: string; readonly status: string }
  /** Without a value: that there is something at the path. */
  | { readonly kind: "field"; readonly path: readonly (string | number)[]; readonly value?: string };

const GOAL_FORMS = "condition=TYPE[=STATUS], jsonpath={.PATH}[=VALUE], create or delete";
const SEGMENT = /\.([A-Za-z_][\w-]*)|\['([^']+)'\]|\[(\d{1,9})\]/y;
/** One look a moment, and fewer at many objects: a user may ask 50 times a second. */
const LOOK_INTERVAL_MS = 200;
const LOOK_INTERVAL_PER_NAME_MS = 40;

/** Throws OPTIONS_INVALID. */
export function parseGoal(text: string): Goal {
  const [word, ...rest] = text.split("=");
  const value = rest.join("=");
  if ((word === "delete" || word === "create") && rest.length === 0) return { kind: word };
  if (word === "condition" && rest.length <= 2 && rest[0] !== undefined && rest[0] !== "")
    return { kind: "condition", type: rest[0], status: rest[1] ?? "True" };
  if (word === "jsonpath") {
    const [, path, wanted] = /^\{(.+?)\}(?:=(.*))?$/s.exec(value) ?? [];
    const segments = path === undefined ? undefined : segmentsOf(path);
    if (segments !== undefined)
      return { kind: "field", path: segments, ...(wanted === undefined ? {} : { value: wanted }) };
  }
  throw new PlinthError("OPTIONS_INVALID", `--for: expected ${GOAL_FORMS}, found "${text}"`);
}

function segmentsOf(path: string): (string | number)[] | undefined {
  const segments: (string | number)[] = [];
  SEGMENT.lastIndex = 0;
  while (SEGMENT.lastIndex < path.length) {
    const match = SEGMENT.exec(path);
    if (match === null) return undefined;
    const [, name, quoted, index] = match;
    segments.push(index === undefined ? ((name ?? quoted) as string) : Number(index));
  }
  return segments;
}

/** `object` is undefined where there is none. */
export function isReached(goal: Goal, object: ApiObject | undefined): boolean {
  if (goal.kind === "delete") return object === undefined;
  if (object === undefined) return false;
  switch (goal.kind) {
    case "create":
      return true;
    case "condition":
      return hasCondition(object, goal.type, goal.status);
    case "field": {
      let value: unknown = object;
      for (const segment of goal.path) {
        if (typeof segment === "number" ? !Array.isArray(value) : !isObject(value)) return false;
        if (!Object.hasOwn(value as object, segment)) return false;
        value = (value as Record<string | number, unknown>)[segment];
      }
      const text = typeof value === "object" ? JSON.stringify(value) : String(value);
      return goal.value === undefined || text === goal.value;
    }
  }
}

/** What was said about an older generation of the object does not count. */
function hasCondition({ metadata, status }: ApiObject, type: string, wanted: string): boolean {
  const conditions = isObject(status) && Array.isArray(status["conditions"]) ? status["conditions"] : [];
  const same = (a: unknown, b: string): boolean => String(a).toLowerCase() === b.toLowerCase();
  return conditions.some((one: unknown) => {
    if (!isObject(one) || !same(one["type"], type) || !same(one["status"], wanted)) return false;
    return Number(one["observedGeneration"] ?? metadata.generation ?? 0) >= (metadata.generation ?? 0);
  });
}

interface WaitOptions extends ConnectionOptions {
  readonly for: Goal;
  readonly timeout: number;
  readonly allNamespaces?: boolean;
  readonly selector?: string;
  readonly fieldSelector?: string;
}

export function register(program: Command): void {
  withConnection(
    program
      .command("wait <kind> [names...]")
      .description(`wait until objects are as asked: wait vm/web1 --for condition=Scheduled`),
  )
    .requiredOption("--for <goal>", GOAL_FORMS, parseGoal)
    .option("--timeout <duration>", "give up after so long; 0 looks once", parseDuration, 30)
    .option("-A, --all-namespaces", "in all namespaces")
    .option("-l, --selector <labels>", "objects with these labels, such as tier=web")
    .option("--field-selector <fields>", "objects with these fields, such as spec.host=h1")
    .action((kind: string, names: string[], options: WaitOptions) => wait([kind, ...names], options));
  program
    .command("api-resources")
    .description("list the kinds of objects, with the words for them")
    .action(() => print(apiResources()));
}

function wait(words: readonly string[], options: WaitOptions): Promise<void> {
  return usingApi(options, async ({ client, namespace }) => {
    const selections = parseSelection(words);
    const scope = {
      namespace: options.allNamespaces ? undefined : namespace,
      labelSelector: options.selector,
      fieldSelector: options.fieldSelector,
    };
    const goal = options.for;
    const endMs = performance.now() + options.timeout * 1000;
    const nameCount = selections.reduce((sum, { names }) => sum + names.length, 0);
    const intervalMs = Math.max(LOOK_INTERVAL_MS, LOOK_INTERVAL_PER_NAME_MS * nameCount);
    const done = new Set<string>();
    for (;;) {
      const seen = (await Promise.all(selections.map((one) => look(client, one, scope)))).flat();
      // With nothing selected there is nothing to wait for, but for what is to be made.
      if (seen.length === 0 && goal.kind !== "delete" && goal.kind !== "create")
        throw new PlinthError("OBJECT_UNKNOWN", "no objects are selected");
      for (const { name, object } of seen) {
        if (!isReached(goal, object)) done.delete(name);
        else if (!done.has(name)) {
          done.add(name);
          print(`${name} ${goal.kind === "delete" ? "is gone" : "is as asked"}`);
        }
      }
      const left = seen.filter(({ name }) => !done.has(name));
      if (left.length === 0 && (seen.length > 0 || goal.kind === "delete")) return;
      if (performance.now() >= endMs) throw timedOut(left, options.timeout);
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
    }
  });
}

function timedOut(left: readonly Seen[], seconds: number): PlinthError {
  const about = left.length === 0 ? "nothing is there" : left.map(({ name }) => name).join(", ");
  return new PlinthError("TIMED_OUT", `not as asked after ${seconds} s: ${about}`);
}

interface Seen {
  readonly name: string;
  readonly object: ApiObject | undefined;
}

async function look(client: ApiClient, { kind, names }: Selection, scope: Scope): Promise<Seen[]> {
  const text = (name: string): string => displayName(kind, name);
  if (names.length === 0) {
    const objects = await fetchObjects(client, { kind, names }, scope);
    return objects.map((object) => ({ name: text(placeOf(kind, object, scope)), object }));
  }
  const seen: Seen[] = [];
  for (const name of names) {
    try {
      const [object] = await fetchObjects(client, { kind, names: [name] }, scope);
      seen.push({ name: text(name), object });
    } catch (thrown) {
      if (!isApiError(thrown, "NotFound")) throw thrown;
      seen.push({ name: text(name), object: undefined });
    }
  }
  return seen;
}

function placeOf(kind: ResourceKind, { metadata }: ApiObject, scope: Scope): string {
  const everywhere = kind.namespaced && scope.namespace === undefined;
  return everywhere ? `${metadata.namespace}/${metadata.name}` : metadata.name;
}

function apiResources(): string {
  const rows = ALL_KINDS.map((kind) => [
    kind.plural,
    kind.shortNames.join(","),
    apiVersionOf(kind),
    String(kind.namespaced),
    kind.kind,
  ]);
  return formatRows(["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"], rows);
}
