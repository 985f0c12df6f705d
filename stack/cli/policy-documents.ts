// Reads the Kubernetes documents of a directory for the analysis of policies. Unlike `apply`, which refuses everything
// when one document is wrong, this goes on: what cannot be read is reported and left out.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Document, isScalar, parseAllDocuments, type Tags, visit } from "yaml";
import { PlinthError } from "../../base/errors/index.js";
import type { analysis } from "../../sdn-controller/index.js";

export const FILE_BYTES_MAX = 64 * 2 ** 20;
const ALIASES_MAX = 10_000;

export interface ReadDocuments {
  readonly documents: readonly analysis.ManifestDocument[];
  readonly problems: readonly analysis.Problem[];
}

/** The .yaml, .yml and .json files below `path`, in order of names; a file is read whatever its name. Throws DOCUMENT_UNREADABLE. */
export async function readManifestDocuments(path: string): Promise<ReadDocuments> {
  const documents: analysis.ManifestDocument[] = [];
  const problems: analysis.Problem[] = [];
  for (const file of await filesBelow(path, problems)) {
    const read = await readOne(file);
    documents.push(...read.documents);
    problems.push(...read.problems);
  }
  return { documents, problems };
}

async function readOne(file: string): Promise<ReadDocuments> {
  try {
    const { size } = await stat(file);
    if (size > FILE_BYTES_MAX) return failed(`${file}: ${size} bytes are more than ${FILE_BYTES_MAX}`);
    return parseManifestText(await readFile(file, "utf8"), file);
  } catch (thrown) {
    return failed(`${file}: ${(thrown as Error).message}`);
  }
}

function failed(message: string): ReadDocuments {
  return { documents: [], problems: [{ severity: "error", message }] };
}

/** Pure. What comes behind a syntax error in the same file cannot be trusted and is left out. */
export function parseManifestText(text: string, file: string): ReadDocuments {
  const documents: analysis.ManifestDocument[] = [];
  const problems: analysis.Problem[] = [];
  for (const [i, document] of parseYaml(text).entries()) {
    const where = `${file}, document ${i + 1}`;
    const error = document.errors[0]?.message.split("\n")[0]?.replace(/:$/, "") ?? keyProblem(document);
    if (error !== undefined) {
      problems.push({ severity: "error", message: `${where}: ${error}; the rest of the file is left out` });
      break;
    }
    try {
      const value: unknown = document.toJS({ maxAliasCount: ALIASES_MAX });
      if (value !== null && value !== undefined) documents.push({ where, value });
    } catch (thrown) {
      problems.push({ severity: "error", message: `${where}: ${(thrown as Error).message}` });
    }
  }
  return { documents, problems };
}

/** A map or list as a key, such as a template that was never filled in: {{ .Values.name }}. */
function keyProblem(document: Document): string | undefined {
  let problem: string | undefined;
  visit(document, {
    Pair(_, { key }) {
      if (isScalar(key) || key === null || typeof key !== "object") return undefined;
      if ("source" in key && typeof key.source === "string") return undefined; // An alias.
      problem = "a key is a map or a list, as in a template that is not filled in";
      return visit.BREAK;
    },
  });
  return problem;
}

/** YAML as Kubernetes reads it: version 1.1 (yes and on are true) without its times, the last of equal keys counts. */
function parseYaml(text: string): Document[] {
  const parsed = parseAllDocuments(text, {
    version: "1.1",
    merge: true,
    uniqueKeys: false,
    logLevel: "silent",
    customTags: withoutTimes,
  });
  return Array.isArray(parsed) ? (parsed as Document[]) : [];
}

function withoutTimes(tags: Tags): Tags {
  return tags.filter((tag) => {
    if (typeof tag === "string") return tag !== "timestamp" && tag !== "intTime" && tag !== "floatTime";
    return tag.tag !== "tag:yaml.org,2002:timestamp" && tag.format !== "TIME";
  });
}

/** What cannot be listed below `path` is reported and left out; `path` itself must be there. */
async function filesBelow(path: string, problems: analysis.Problem[]): Promise<string[]> {
  const information = await stat(path).catch((cause: Error) => {
    throw new PlinthError("DOCUMENT_UNREADABLE", `cannot read ${path}: ${cause.message}`, { cause });
  });
  return information.isDirectory() ? filesIn(path, problems) : [path];
}

async function filesIn(directory: string, problems: analysis.Problem[]): Promise<string[]> {
  const files: string[] = [];
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const inside = join(directory, entry.name);
      if (entry.isDirectory()) files.push(...(await filesIn(inside, problems)));
      else if (/\.(ya?ml|json)$/.test(entry.name)) files.push(inside);
    }
  } catch (thrown) {
    problems.push({ severity: "error", message: `${directory}: ${(thrown as Error).message}` });
  }
  return files;
}
