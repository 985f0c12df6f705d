// The rules that neither the compiler nor the linter can see, as pure functions from one source file to findings.
// Source of the rules: ARCHITECTURE.md, section "Import rules". Thread: any.

export interface SourceFile {
  /** Path from the repository's root, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

export interface Finding {
  readonly path: string;
  /** 1-based. */
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

const PRODUCTS = ["vswitch", "sdn-controller", "storage-pool", "nfv", "hypervisor-core"];

/** Which folders may import a package: the package's one door. Tests may use what they test with. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  koffi: ["base/linux/"],
  "raw-socket": ["base/linux/"],
  level: ["base/store/"],
  protobufjs: ["base/schema/"],
  fastify: ["stack/api/"],
  ws: ["stack/api/", "stack/cli/"],
  "@peculiar/x509": ["stack/api/"],
  pino: ["base/log/"],
  commander: ["stack/cli/"],
  typebox: ["stack/"],
  yaml: ["stack/"],
  "ipaddr.js": ["stack/"],
  rfc6902: ["stack/api/"],
  "@node-rs/crc32": ["storage-pool/"],
};

/** Node modules that do I/O; a pure file may not reach them. */
const IMPURE_MODULES = /^node:(fs|net|http|https|tls|dgram|child_process|worker_threads|os|timers)/;
const IMPURE_CALLS =
  /\b(Date\.now|performance\.now|Math\.random|setTimeout|setInterval|crypto\.getRandomValues)\s*\(/;

/** What a hot file may not do per packet or per block, with the reason (measured costs). */
const HOT_BANS: readonly (readonly [RegExp, string])[] = [
  [/\bfor\s*\((const|let)\s+[^;)]*\sof\s/, "for…of allocates an iterator"],
  [/\.forEach\s*\(/, "forEach makes a closure call per element"],
  [/\bawait\b/, "await costs a turn of the event loop"],
  [/\b\d+n\b|\bBigInt\s*\(|\.(get|set)Big(Int|Uint)64\s*\(/, "BigInt allocates"],
  [/\.subarray\s*\(/, "subarray allocates a view"],
  [/\bDate\.now\s*\(|\bperformance\.now\s*\(/, "a clock read costs 32 to 53 ns: take time once per breath"],
  [/\bJSON\.|\.toString\s*\(/, "strings do not belong into the data path"],
];

export interface ImportStatement {
  readonly line: number;
  readonly specifier: string;
}

/** Every static and dynamic import and re-export with a literal specifier. */
export function importsOf(text: string): ImportStatement[] {
  const found: ImportStatement[] = [];
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']|\bimport\s*\(\s*["']([^"']+)["']|(?:^|\n)\s*import\s*["']([^"']+)["']/g;
  for (const match of text.matchAll(pattern)) {
    const specifier = match[1] ?? match[2] ?? match[3];
    if (specifier === undefined) continue;
    const at = match.index + match[0].length;
    found.push({ line: text.slice(0, at).split("\n").length, specifier });
  }
  return found;
}

/** True for files that the architecture declares free of I/O, clock and randomness. */
export function isPure(path: string): boolean {
  if (isTest(path)) return false;
  if (/-(wire|session)\.ts$/.test(path)) return true;
  return /^(base\/wire|base\/openflow|vswitch\/flow|sdn-controller\/policy|sdn-controller\/proof)\//.test(
    path,
  );
}

function isTest(path: string): boolean {
  return (
    path.startsWith("test/") ||
    path.startsWith("bench/") ||
    /\.(test|bench|suite)\.ts$/.test(path) ||
    /(^|\/)testing\//.test(path)
  );
}

/** All findings in `file` except those that are counted by a ratchet. */
export function check(file: SourceFile): Finding[] {
  const findings: Finding[] = [];
  const add = (line: number, rule: string, message: string) =>
    findings.push({ path: file.path, line, rule, message });
  if (!/^(#!.*\n)?\s*(\/\/|\/\*)/.test(file.text) && !isTest(file.path)) {
    add(1, "header", "begin the file with a comment that says in one sentence what it is");
  }
  for (const statement of importsOf(file.text)) {
    const problem = importProblem(file.path, statement.specifier);
    if (problem !== undefined) add(statement.line, "import", problem);
  }
  file.text.split("\n").forEach((text, index) => {
    if (/\b(it|test|describe)\.(only|skip|todo)\b/.test(text) && isTest(file.path)) {
      add(index + 1, "test", "no test may be left out or singled out");
    }
    if (/\.(skipIf|runIf)\b/.test(text) && isTest(file.path)) {
      add(index + 1, "test", "say what the test needs, with the options of test/support/needs.ts");
    }
    if (isPure(file.path) && IMPURE_CALLS.test(withoutComment(text))) {
      add(index + 1, "pure", "this file is pure: time and randomness come in as parameters");
    }
  });
  return findings;
}

/** Lines of a hot file that use what the house style bans there; `// cold` at a line's end exempts set-up code. */
export function hotFindings(file: SourceFile): Finding[] {
  if (isTest(file.path) || !/Hot: yes/.test(file.text.slice(0, 3000))) return [];
  const findings: Finding[] = [];
  file.text.split("\n").forEach((text, index) => {
    if (/\/\/\s*cold\b/.test(text)) return;
    const code = withoutComment(text);
    for (const [pattern, reason] of HOT_BANS) {
      if (pattern.test(code))
        findings.push({ path: file.path, line: index + 1, rule: "hot", message: reason });
    }
  });
  return findings;
}

function withoutComment(line: string): string {
  if (/^\s*(\/?\*|\/\/)/.test(line)) return "";
  return line.replace(/\/\/.*$/, "");
}

function importProblem(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return packageProblem(from, specifier);
  if (!specifier.endsWith(".js") && !specifier.endsWith(".mjs") && !specifier.endsWith(".json")) {
    return `write the ending: ${specifier}.js`;
  }
  const target = resolveFrom(from, specifier);
  const source = from.split("/")[0] ?? "";
  const folder = target.split("/")[0] ?? "";
  // spawn-worker starts the leaves and is none.
  const isLeaf = /(^|\/)main\.js$|-worker\.js$/.test(target) && !target.endsWith("/spawn-worker.js");
  if (isLeaf && !isTest(from)) {
    return `${target} is a leaf with wiring only; nothing imports it`;
  }
  if (source === folder) return undefined;
  if (source === "base") return `base knows nothing of ${folder}`;
  if (PRODUCTS.includes(source) && folder !== "base")
    return `${source} may import only base and itself, not ${folder}`;
  if (source === "stack" && PRODUCTS.includes(folder) && target !== `${folder}/index.js`) {
    return `stack imports a product only through its index: ${folder}/index.js`;
  }
  return undefined;
}

function packageProblem(from: string, specifier: string): string | undefined {
  if (specifier.startsWith("node:")) {
    return isPure(from) && IMPURE_MODULES.test(specifier)
      ? `this file is pure and may not import ${specifier}`
      : undefined;
  }
  if (isTest(from)) return undefined;
  const name = specifier.startsWith("@")
    ? specifier.split("/").slice(0, 2).join("/")
    : (specifier.split("/")[0] ?? "");
  const doors = DOORS[name];
  if (doors === undefined || doors.some((door) => from.startsWith(door))) return undefined;
  return `${name} has one door: ${doors.join(", ")}`;
}

function resolveFrom(from: string, specifier: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}
