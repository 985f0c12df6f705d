// Resource documents in YAML or JSON files: one file may hold many.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { PlinthError } from "../../base/errors/index.js";
import { type ApiObject, findKind, type ResourceKind } from "../resources/index.js";

export interface ResourceDocument {
  readonly kind: ResourceKind;
  readonly object: ApiObject;
  /** "FILE, document 3" */
  readonly where: string;
}

/** Reads files, directories (their .yaml, .yml and .json files) and "-" (standard input). Throws DOCUMENT_INVALID. */
export async function readDocuments(
  paths: readonly string[],
  namespace: string,
): Promise<ResourceDocument[]> {
  const documents: ResourceDocument[] = [];
  for (const path of paths) {
    for (const file of await filesOf(path)) {
      documents.push(
        ...parseDocuments(file === "-" ? await readStandardInput() : await readText(file), file, namespace),
      );
    }
  }
  if (documents.length === 0)
    throw new PlinthError("DOCUMENT_INVALID", `no documents in ${paths.join(", ")}`);
  return documents;
}

/** Pure. Namespaced objects without a namespace get `namespace`. */
export function parseDocuments(text: string, file: string, namespace: string): ResourceDocument[] {
  const result: ResourceDocument[] = [];
  const documents = parseAllDocuments(text, { merge: true });
  if (!Array.isArray(documents)) return result;
  for (const [i, document] of documents.entries()) {
    const where = `${file}, document ${i + 1}`;
    const [error] = document.errors;
    if (error !== undefined) throw new PlinthError("DOCUMENT_INVALID", `${where}: ${error.message}`);
    // Aliases may not blow a small file up.
    const value = toPlain(document, where);
    if (value === null || value === undefined) continue;
    for (const object of isList(value) ? value.items : [value]) {
      result.push(toDocument(object, where, namespace));
    }
  }
  return result;
}

function toPlain(document: { toJS(options: { maxAliasCount: number }): unknown }, where: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 1000 });
  } catch (cause) {
    throw new PlinthError("DOCUMENT_INVALID", `${where}: ${(cause as Error).message}`, { cause });
  }
}

function toDocument(value: unknown, where: string, namespace: string): ResourceDocument {
  const { apiVersion, kind: kindName, metadata } = (value ?? {}) as Partial<ApiObject>;
  if (typeof apiVersion !== "string" || typeof kindName !== "string") {
    throw new PlinthError("DOCUMENT_INVALID", `${where}: apiVersion and kind are needed`);
  }
  const kind = findKind(apiVersion, kindName);
  if (kind === undefined) {
    throw new PlinthError("KIND_UNKNOWN", `${where}: no kind "${kindName}" in version "${apiVersion}"`, {
      field: "kind",
    });
  }
  if (typeof metadata !== "object" || metadata === null || typeof metadata.name !== "string") {
    throw new PlinthError("DOCUMENT_INVALID", `${where}: metadata.name is needed`, {
      field: "metadata.name",
    });
  }
  const object = { ...(value as ApiObject) };
  if (kind.namespaced) object.metadata = { ...metadata, namespace: metadata.namespace ?? namespace };
  return { kind, object, where };
}

function isList(value: unknown): value is { items: unknown[] } {
  const { kind, items } = value as { kind?: unknown; items?: unknown };
  return typeof kind === "string" && kind.endsWith("List") && Array.isArray(items);
}

async function filesOf(path: string): Promise<string[]> {
  if (path === "-") return [path];
  const information = await stat(path).catch((cause: Error) => {
    throw new PlinthError("DOCUMENT_UNREADABLE", `cannot read ${path}: ${cause.message}`, {
      cause,
      field: "-f",
    });
  });
  if (!information.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => /\.(ya?ml|json)$/.test(name)).sort();
  return names.map((name) => join(path, name));
}

async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch((cause: Error) => {
    throw new PlinthError("DOCUMENT_UNREADABLE", `cannot read ${path}: ${cause.message}`, {
      cause,
      field: "-f",
    });
  });
}

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
