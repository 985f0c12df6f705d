// Which objects a command is about: "vm", "vm web1 web2", "vm/web1 net/front", "vm,net".
import { PlinthError } from "../../base/errors/index.js";
import { type ApiClient, collectionPath, objectPath } from "../api/index.js";
import { ALL_KINDS, type ApiObject, findKindByWord, type ResourceKind } from "../resources/index.js";

export interface Selection {
  readonly kind: ResourceKind;
  /** Empty = all. */
  readonly names: readonly string[];
}

/** Throws KIND_UNKNOWN or SELECTION_INVALID. Pure. */
export function parseSelection(words: readonly string[]): Selection[] {
  const [first, ...rest] = words;
  if (first === undefined)
    throw new PlinthError("SELECTION_INVALID", "say which kind, such as vm or network");
  if (!first.includes("/")) {
    const kinds =
      first === "all"
        ? ALL_KINDS.filter(({ group }) => group === "plinth.dev")
        : first.split(",").map(kindOf);
    if (kinds.length > 1 && rest.length > 0) {
      throw new PlinthError("SELECTION_INVALID", "names go with one kind only; use KIND/NAME for several");
    }
    return kinds.map((kind) => ({ kind, names: rest }));
  }
  const byKind = new Map<ResourceKind, string[]>();
  for (const word of words) {
    const [kindWord, name, ...more] = word.split("/");
    if (kindWord === undefined || name === undefined || name === "" || more.length > 0) {
      throw new PlinthError("SELECTION_INVALID", `expected KIND/NAME, got ${word}`);
    }
    const kind = kindOf(kindWord);
    byKind.set(kind, [...(byKind.get(kind) ?? []), name]);
  }
  return [...byKind].map(([kind, names]) => ({ kind, names }));
}

function kindOf(word: string): ResourceKind {
  const kind = findKindByWord(word);
  if (kind !== undefined) return kind;
  throw new PlinthError("KIND_UNKNOWN", `there is no kind "${word}"`, {
    remedy: `kinds: ${ALL_KINDS.map(({ plural }) => plural).join(", ")}`,
  });
}

export interface Scope {
  /** undefined = all namespaces. */
  readonly namespace: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

/** The objects themselves. Throws ApiError NotFound for a name that is not there. */
export async function fetchObjects(
  client: ApiClient,
  selection: Selection,
  scope: Scope,
): Promise<ApiObject[]> {
  const { kind, names } = selection;
  const { namespace, labelSelector, fieldSelector } = scope;
  if (names.length === 0) {
    const path = collectionPath(kind, namespace);
    const answer = await client.transport.json({
      method: "GET",
      path,
      query: { labelSelector, fieldSelector },
    });
    return (answer as { items: ApiObject[] }).items;
  }
  const objects: ApiObject[] = [];
  for (const name of names) {
    const path = objectPath(kind, { name, namespace });
    objects.push((await client.transport.json({ method: "GET", path })) as ApiObject);
  }
  return objects;
}
