// `plinth get | describe | apply | delete | events | explain`: the resources without kubectl.
import type { Command } from "commander";
import { stringify } from "yaml";
import { PlinthError } from "../../base/errors/index.js";
import { waitFor } from "../../base/time/index.js";
import { type ApiClient, collectionPath, isApiError, objectPath, type Table } from "../api/index.js";
import { applyOne, describeProblem, displayName, findProblems } from "../apply/apply.js";
import { type ResourceDocument, readDocuments } from "../apply/documents.js";
import { type ApiObject, eventKind, type ResourceKind } from "../resources/index.js";
import { type ConnectionOptions, usingApi, withConnection } from "./connection.js";
import { explain } from "./explain.js";
import {
  formatObjects,
  OBJECT_FORM_HELP,
  type ObjectForm,
  parseObjectForm,
  tableCells,
} from "./object-output.js";
import { type DataForm, formatRows, print } from "./output.js";
import { fetchObjects, parseSelection, type Scope, type Selection } from "./selection.js";

const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io";
const DELETE_DEADLINE_MS = 120_000;
const WATCH_IDLE_MS = 60_000;

interface SelectOptions extends ConnectionOptions {
  readonly allNamespaces?: boolean;
  readonly selector?: string;
  readonly fieldSelector?: string;
}
interface GetOptions extends SelectOptions {
  readonly output?: ObjectForm;
  readonly watch?: boolean;
}

export function register(program: Command): void {
  withSelection(
    program
      .command("get <kind> [names...]")
      .description("show objects: get vm, get vm web1, get net,vol, get all"),
  )
    .option("-o, --output <form>", OBJECT_FORM_HELP, parseObjectForm)
    .option("-w, --watch", "go on showing changes until Ctrl-C")
    .action((kind: string, names: string[], options: GetOptions) => get([kind, ...names], options));
  withSelection(
    program.command("describe <kind> [names...]").description("show objects in full, with their events"),
  ).action((kind: string, names: string[], options: SelectOptions) => describe([kind, ...names], options));
  withConnection(
    program
      .command("apply")
      .description("make objects be as files say; nothing is changed if one is refused"),
  )
    .requiredOption("-f, --filename <file...>", "YAML or JSON file, directory, or - for standard input")
    .option("--dry-run", "judge only")
    .action((options: ConnectionOptions & { filename: string[]; dryRun?: boolean }) => apply(options));
  withSelection(
    program.command("delete [kind] [names...]").description("delete objects by name, label or file"),
  )
    .option("-f, --filename <file...>", "delete what these files name")
    .option("--all", "all objects of the kind")
    .option("--no-wait", "do not wait until they are gone")
    .action((kind: string | undefined, names: string[], options: DeleteOptions) =>
      remove(kind === undefined ? [] : [kind, ...names], options),
    );
  withConnection(program.command("events").description("show what happened, oldest first"))
    .option("-A, --all-namespaces", "in all namespaces")
    .option("--for <object>", "only about one object, such as vm/web1")
    .action((options: ConnectionOptions & { allNamespaces?: boolean; for?: string }) => events(options));
  program
    .command("explain <path>")
    .description("document a kind or one of its fields: explain vm.spec.interfaces")
    .action((path: string) => print(explain(path)));
}

function withSelection(command: Command): Command {
  return withConnection(command)
    .option("-A, --all-namespaces", "in all namespaces")
    .option("-l, --selector <labels>", "only objects with these labels, such as tier=web")
    .option("--field-selector <fields>", "only objects with these fields, such as spec.host=h1");
}

function scopeOf(options: SelectOptions, namespace: string): Scope {
  return {
    namespace: options.allNamespaces ? undefined : namespace,
    labelSelector: options.selector,
    fieldSelector: options.fieldSelector,
  };
}

function get(words: readonly string[], options: GetOptions): Promise<void> {
  return usingApi(options, async ({ client, namespace }) => {
    const selections = parseSelection(words);
    const scope = scopeOf(options, namespace);
    const form = options.output ?? "table";
    if (options.watch) return watch(client, selections, scope, form);
    if (form === "json" || form === "yaml" || form === "name") {
      const found: { kind: ResourceKind; object: ApiObject }[] = [];
      for (const selection of selections) {
        for (const object of await fetchObjects(client, selection, scope))
          found.push({ kind: selection.kind, object });
      }
      const single = selections.length === 1 && selections[0]?.names.length === 1;
      return print(formatObjects(found, form, single));
    }
    let shown = 0;
    for (const selection of selections) {
      const table = await fetchTable(client, selection, scope);
      if (table.rows.length === 0) continue;
      const withNamespace = options.allNamespaces === true && selection.kind.namespaced;
      const { header, rows } = tableCells(table, table.columnDefinitions, {
        wide: form === "wide",
        withNamespace,
      });
      const prefix = selections.length > 1 ? `${selection.kind.singular}/` : "";
      const nameAt = header.indexOf("NAME");
      if (nameAt >= 0) for (const row of rows) row[nameAt] = prefix + row[nameAt];
      print(`${shown++ > 0 ? "\n" : ""}${formatRows(header, rows)}`);
    }
    if (shown === 0) {
      const where = selections.every(({ kind }) => kind.namespaced) && !options.allNamespaces;
      process.stderr.write(
        where
          ? `No resources found in namespace ${namespace} (-n chooses another, -A takes all).\n`
          : "No resources found.\n",
      );
    }
  });
}

async function fetchTable(client: ApiClient, selection: Selection, scope: Scope): Promise<Table> {
  const { kind, names } = selection;
  const { namespace, labelSelector, fieldSelector } = scope;
  if (names.length === 0) {
    const path = collectionPath(kind, namespace);
    const query = { labelSelector, fieldSelector };
    return (await client.transport.json({ method: "GET", path, query, accept: TABLE })) as Table;
  }
  const tables: Table[] = [];
  for (const name of names) {
    const path = objectPath(kind, { name, namespace });
    tables.push((await client.transport.json({ method: "GET", path, accept: TABLE })) as Table);
  }
  return { ...(tables[0] as Table), rows: tables.flatMap((table) => table.rows) };
}

async function watch(
  client: ApiClient,
  selections: readonly Selection[],
  scope: Scope,
  form: ObjectForm,
): Promise<void> {
  const [selection] = selections;
  if (selection === undefined || selections.length > 1 || selection.names.length > 1) {
    throw new PlinthError("SELECTION_INVALID", "--watch shows one kind, and one name at most");
  }
  const { kind, names } = selection;
  const [name] = names;
  const asTable = form === "table" || form === "wide";
  const fieldSelector = name === undefined ? scope.fieldSelector : `metadata.name=${name}`;
  const path = collectionPath(kind, scope.namespace);
  if (asTable) return watchTable(client, kind, { ...scope, fieldSelector }, form === "wide");
  const query = {
    watch: true,
    allowWatchBookmarks: true,
    labelSelector: scope.labelSelector,
    fieldSelector,
  };
  await client.transport.lines({ method: "GET", path, query }, WATCH_IDLE_MS, (line) => {
    const { type, object } = line as { type: string; object: ApiObject };
    if (type !== "BOOKMARK") print(formatObjects([{ kind, object }], form as DataForm | "name", true));
  });
}

/** What is there as one table, then a line for each change since, in the same columns. */
async function watchTable(client: ApiClient, kind: ResourceKind, scope: Scope, wide: boolean): Promise<void> {
  const path = collectionPath(kind, scope.namespace);
  const { labelSelector, fieldSelector } = scope;
  const table = await fetchTable(client, { kind, names: [] }, scope);
  const columns = table.columnDefinitions;
  const layout = { wide, withNamespace: scope.namespace === undefined && kind.namespaced };
  const widths: number[] = [];
  const { header, rows } = tableCells(table, columns, layout);
  print(formatRows(header, rows, widths));
  const { resourceVersion } = table.metadata as { resourceVersion: string };
  const query = { watch: true, allowWatchBookmarks: true, resourceVersion, labelSelector, fieldSelector };
  const request = { method: "GET", path, query, accept: TABLE } as const;
  await client.transport.lines(request, WATCH_IDLE_MS, (line) => {
    const { type, object } = line as { type: string; object: Table };
    if (type === "BOOKMARK") return;
    const changed = tableCells(object, columns, layout).rows;
    const marked = type === "DELETED" ? changed.map((row) => [...row, "(deleted)"]) : changed;
    print(formatRows(undefined, marked, widths));
  });
}

function describe(words: readonly string[], options: SelectOptions): Promise<void> {
  return usingApi(options, async ({ client, namespace }) => {
    const scope = scopeOf(options, namespace);
    const parts: string[] = [];
    for (const selection of parseSelection(words)) {
      for (const object of await fetchObjects(client, selection, scope))
        parts.push(await describeObject(client, object));
    }
    if (parts.length === 0) process.stderr.write("No resources found.\n");
    else print(parts.join("\n\n"));
  });
}

async function describeObject(client: ApiClient, object: ApiObject): Promise<string> {
  const { metadata, apiVersion, kind, ...rest } = object;
  const { annotations, managedFields: _managers, ...shown } = metadata;
  const notes = Object.fromEntries(
    Object.entries(annotations ?? {}).filter(([name]) => !name.startsWith("kubectl.kubernetes.io/")),
  );
  const withNotes = Object.keys(notes).length === 0 ? shown : { ...shown, annotations: notes };
  const described = kind === "Secret" ? withoutSecrets(rest) : rest;
  const body = stringify({ kind, apiVersion, metadata: withNotes, ...described }, { lineWidth: 0 }).trimEnd();
  const happened = await fetchEvents(
    client,
    metadata.namespace ?? "default",
    `involvedObject.uid=${metadata.uid}`,
  );
  return `${body}\nevents:${happened.length === 0 ? " none" : `\n${indent(formatEvents(happened, false))}`}`;
}

/** Describing is for looking; `get -o yaml` is for values. */
function withoutSecrets(secret: Record<string, unknown>): Record<string, unknown> {
  const data = Object.entries((secret["data"] ?? {}) as Record<string, string>).map(([name, value]) => [
    name,
    `${Buffer.from(value, "base64").length} bytes`,
  ]);
  return { ...secret, data: Object.fromEntries(data) };
}

const indent = (text: string): string => text.replace(/^/gm, "  ");

function apply(options: ConnectionOptions & { filename: string[]; dryRun?: boolean }): Promise<void> {
  return usingApi(options, async ({ client, namespace }) => {
    const documents = await readDocuments(options.filename, namespace);
    const problems = await findProblems(client, documents, { quiet: options.dryRun !== true });
    if (problems.length > 0) {
      for (const problem of problems) process.stderr.write(`${describeProblem(problem)}\n`);
      throw new PlinthError(
        "APPLY_REFUSED",
        `${problems.length} of ${documents.length} documents would be refused; nothing was changed`,
      );
    }
    for (const document of documents) {
      const outcome = options.dryRun ? "would be accepted" : await applyOne(client, document);
      print(`${displayName(document.kind, document.object.metadata.name)} ${outcome}`);
    }
  });
}

interface DeleteOptions extends SelectOptions {
  readonly filename?: string[];
  readonly all?: boolean;
  readonly wait: boolean;
}

function remove(words: readonly string[], options: DeleteOptions): Promise<void> {
  return usingApi(options, async ({ client, namespace }) => {
    const targets = await deletionTargets(client, words, options, namespace);
    let missing = 0;
    for (const { kind, object } of targets) {
      const path = objectPath(kind, object.metadata);
      try {
        await client.transport.json({ method: "DELETE", path });
        print(`${displayName(kind, object.metadata.name)} deleted`);
      } catch (thrown) {
        if (!isApiError(thrown, "NotFound")) throw thrown;
        missing++;
        process.stderr.write(`${displayName(kind, object.metadata.name)} was not there\n`);
      }
    }
    if (options.wait) for (const { kind, object } of targets) await waitUntilGone(client, kind, object);
    if (missing > 0 && options.filename === undefined) process.exitCode = 1;
  });
}

async function deletionTargets(
  client: ApiClient,
  words: readonly string[],
  options: DeleteOptions,
  namespace: string,
): Promise<Pick<ResourceDocument, "kind" | "object">[]> {
  // What was applied last is removed first, so that nothing loses what it stands on.
  if (options.filename !== undefined) return (await readDocuments(options.filename, namespace)).reverse();
  const scope = scopeOf(options, namespace);
  const targets: Pick<ResourceDocument, "kind" | "object">[] = [];
  for (const selection of parseSelection(words)) {
    const { kind, names } = selection;
    const everything = names.length === 0;
    if (everything && !options.all && options.selector === undefined && options.fieldSelector === undefined) {
      throw new PlinthError("SELECTION_INVALID", "say which: names, -l LABELS or --all");
    }
    if (everything) {
      for (const object of await fetchObjects(client, selection, scope)) targets.push({ kind, object });
    } else {
      for (const name of names)
        targets.push({ kind, object: { metadata: { name, namespace } } as ApiObject });
    }
  }
  return targets;
}

async function waitUntilGone(client: ApiClient, kind: ResourceKind, object: ApiObject): Promise<void> {
  const path = objectPath(kind, object.metadata);
  const { uid } = object.metadata;
  const gone = async (): Promise<boolean> => {
    try {
      const now = (await client.transport.json({ method: "GET", path })) as ApiObject;
      return now.metadata.deletionTimestamp === undefined || (uid !== undefined && now.metadata.uid !== uid);
    } catch (thrown) {
      if (isApiError(thrown, "NotFound")) return true;
      throw thrown;
    }
  };
  await waitFor(
    gone,
    `${displayName(kind, object.metadata.name)} is still being deleted`,
    DELETE_DEADLINE_MS,
    100,
  );
}

function events(options: ConnectionOptions & { allNamespaces?: boolean; for?: string }): Promise<void> {
  return usingApi(options, async ({ client, namespace }) => {
    let fieldSelector: string | undefined;
    if (options.for !== undefined) {
      const [selection] = parseSelection([options.for]);
      const [name] = selection?.names ?? [];
      fieldSelector = `involvedObject.kind=${selection?.kind.kind}${name === undefined ? "" : `,involvedObject.name=${name}`}`;
    }
    const found = await fetchEvents(client, options.allNamespaces ? undefined : namespace, fieldSelector);
    if (found.length === 0) process.stderr.write("No events.\n");
    else print(formatEvents(found, true));
  });
}

interface EventLine extends ApiObject {
  type: string;
  reason?: string;
  message?: string;
  count?: number;
  lastTimestamp?: string;
  involvedObject: { kind?: string; name?: string };
}

async function fetchEvents(
  client: ApiClient,
  namespace: string | undefined,
  fieldSelector: string | undefined,
): Promise<EventLine[]> {
  const path = collectionPath(eventKind, namespace);
  const { items } = (await client.transport.json({ method: "GET", path, query: { fieldSelector } })) as {
    items: EventLine[];
  };
  return items.sort((a, b) => ((a.lastTimestamp ?? "") < (b.lastTimestamp ?? "") ? -1 : 1));
}

function formatEvents(list: readonly EventLine[], withObject: boolean): string {
  const header = ["LAST SEEN", "TYPE", "REASON", ...(withObject ? ["OBJECT"] : []), "COUNT", "MESSAGE"];
  const rows = list.map(({ lastTimestamp, type, reason, count, message, involvedObject }) => {
    const object = `${(involvedObject.kind ?? "").toLowerCase()}/${involvedObject.name ?? ""}`;
    return [
      lastTimestamp ?? "",
      type,
      reason ?? "",
      ...(withObject ? [object] : []),
      String(count ?? 1),
      message ?? "",
    ];
  });
  return formatRows(header, rows);
}
