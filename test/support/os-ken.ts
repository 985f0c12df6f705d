// An os-ken controller with one of the apps in test/conformance/os-ken, and what it prints: one JSON value per line.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import { endChild, ROOT } from "./run.js";

const DEADLINE_MS = 60_000;

export type OsKenLine = Readonly<Record<string, unknown>>;

export class OsKen {
  readonly lines: OsKenLine[] = [];
  readonly #child: ChildProcess;
  #errors = "";
  #rest = "";

  /** `options` are those of osken-manager; `version` is for the learning switch. */
  constructor(app: string, options: readonly string[], version: "1.0" | "1.3") {
    const path = join(ROOT, "test/conformance/os-ken", `${app}.py`);
    this.#child = spawn("osken-manager", [...options, path], {
      env: { ...process.env, PLINTH_OPENFLOW: version, PYTHONDONTWRITEBYTECODE: "1", PYTHONUNBUFFERED: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child.stdout?.on("data", (bytes: Buffer) => this.#read(bytes.toString()));
    this.#child.stderr?.on("data", (bytes: Buffer) => {
      this.#errors = (this.#errors + bytes.toString()).slice(-4000);
    });
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("{")) this.lines.push(JSON.parse(line) as OsKenLine);
  }

  /** The first line that is like `wanted`, from now or before. */
  async line(wanted: OsKenLine): Promise<OsKenLine> {
    const isLike = (line: OsKenLine): boolean =>
      Object.entries(wanted).every(([key, value]) => line[key] === value);
    await waitFor(
      () => this.lines.some(isLike),
      () => `no ${JSON.stringify(wanted)} among ${JSON.stringify(this.lines)}; ${this.#errors}`,
      DEADLINE_MS,
    );
    return this.lines.find(isLike) as OsKenLine;
  }

  close(): Promise<void> {
    return endChild(this.#child).then(() => undefined);
  }
}
