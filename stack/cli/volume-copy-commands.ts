// `plinth volume export|import`: copies between volumes and image files, raw or qcow2, by qemu-img and nbdcopy over NBD.
// Both are written under a name of their own and get the wanted one once they are whole and durable. Thread: main.
import { spawn } from "node:child_process";
import {
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { type Readable, Transform, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Command, Option } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import type { VolumeView } from "../../storage-pool/index.js";
import { storageDirectory } from "../daemons/directory.js";
import { formatBytes } from "../resources/quantity.js";
import { parseDuration } from "./moment.js";
import { wholeNumber } from "./options.js";
import { show } from "./output.js";
import { call, type Flags, parseSize, showProgress, withFlags } from "./storage-call.js";

type Format = "raw" | "qcow2";

const PACKAGES: Readonly<Record<string, string>> = {
  "qemu-img": "qemu-utils",
  "qemu-io": "qemu-utils",
  nbdcopy: "libnbd-bin",
};
const SAID_LENGTH_MAX = 2000;

export function registerCopyVerbs(volume: Command): void {
  withFlags(
    volume
      .command("export <name> <file>")
      .description("write a volume, or volume@snapshot, to an image file; - is standard output")
      .addOption(new Option("--format <format>", "of the file").choices(["raw", "qcow2"]).default("raw")),
  ).action(async (name: string, file: string, flags: Flags & { format: Format }) => {
    await exportTo(flags, name, file, flags.format);
    if (file !== "-") show(flags, { file }, () => `${name} is in ${file}`);
  });
  withFlags(
    volume
      .command("import <name> <file>")
      .description("make a volume of an image file; - is standard input")
      .addOption(
        new Option("--format <format>", "of the file; found out when not given").choices(["raw", "qcow2"]),
      )
      .option("--size <size>", "larger than the image; needed for raw from standard input", parseSize)
      .option("--copies <n>", "copies on distinct disks, 1 or 2", wholeNumber(1, 2), 1)
      .option("--pool <pool>", "pool to take the space from", "default")
      .option("--class <class>", "only on disks of this class")
      .option("--encrypt", "what is written is encrypted on the disks; the pool needs a key", false)
      .option("--rewind <window>", "how far back it can be rewound, e.g. 1h, 7d", parseDuration, 0),
  ).action(async (name: string, file: string, flags: ImportFlags) => {
    const made = await importFrom(flags, name, file);
    show(
      flags,
      made,
      () => `volume ${made.name} made: ${formatBytes(made.allocatedBytes)} of ${formatBytes(made.sizeBytes)}`,
    );
  });
}

interface ImportFlags extends Flags {
  readonly format?: Format;
  readonly size?: number;
  readonly copies: number;
  readonly pool: string;
  readonly class?: string;
  readonly encrypt: boolean;
  readonly rewind: number;
}

async function exportTo(flags: Flags, name: string, file: string, format: Format): Promise<void> {
  const source = uriOf(flags, name);
  const volume = (await call(flags, "volume.get", { name: name.split("@")[0] })) as VolumeView;
  const [, snapshot] = name.split("@");
  if (snapshot !== undefined && !volume.snapshots.some((each) => each.name === snapshot)) {
    throw new PlinthError("SNAPSHOT_NOT_FOUND", `volume ${volume.name} has no snapshot ${snapshot}`);
  }
  if (volume.damage !== undefined)
    throw new PlinthError(volume.damageCode ?? "VOLUME_DAMAGED", `${name} is not served: ${volume.damage}`);
  if (volume.locked !== undefined) {
    throw new PlinthError("VOLUME_LOCKED", `${name}: ${volume.locked}`, {
      remedy: "plinth pool unlock POOL",
    });
  }
  const convertTo = (path: string): Promise<string> => {
    const words = ["convert", "-p", "-f", "raw", "-O", format, source, path];
    return runImg(flags, `export ${name}`, volume.sizeBytes, words);
  };
  if (file !== "-") {
    const target = resolve(file);
    if (existsSync(target)) throw fileExists(target);
    if (!existsSync(dirname(target)))
      throw new PlinthError("FILE_NOT_FOUND", `there is no directory ${dirname(target)}`, { field: "file" });
    const part = `${target}.exporting`;
    try {
      // What a crash left of an earlier try is overwritten.
      await convertTo(part);
      nameWhole(part, target);
    } finally {
      rmSync(part, { force: true });
    }
    return;
  }
  if (format === "raw") {
    await run("nbdcopy", ["--progress=3", source, "-"], {
      stdout: "inherit",
      onProgress: (share) =>
        showProgress(flags, `export ${name}`, share * volume.sizeBytes, volume.sizeBytes),
    }).finally(() => showProgress(flags, "", 0, 0));
    return;
  }
  await inTemporary(async (dir) => {
    const image = join(dir, "image");
    await convertTo(image);
    await pipeline(createReadStream(image), process.stdout, { end: false });
  });
}

/** Gives a file its name once it is on the medium; not over one that came under that name meanwhile. */
function nameWhole(part: string, target: string): void {
  syncPath(part);
  if (existsSync(target)) throw fileExists(target);
  renameSync(part, target);
  syncPath(dirname(target));
}

function syncPath(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function fileExists(path: string): PlinthError {
  return new PlinthError("FILE_EXISTS", `${path} exists`, { remedy: "give another name" });
}

async function importFrom(flags: ImportFlags, name: string, file: string): Promise<VolumeView> {
  const taken = ((await call(flags, "volume.list", {})) as VolumeView[]).map((each) => each.name);
  const full = name.includes("/") ? name : `default/${name}`;
  if (taken.includes(full)) {
    throw new PlinthError("VOLUME_EXISTS", `volume ${full} exists`, {
      field: "name",
      remedy: "give another name",
    });
  }
  const part = `${full}.importing`;
  // What a crash left of an earlier try.
  if (taken.includes(part)) await call(flags, "volume.delete", { name: part, undoSeconds: 0 });
  if (file === "-" && flags.format !== "qcow2") return importStream(flags, part, full);
  return inTemporary(async (dir) => {
    let image = resolve(file);
    if (file === "-") {
      image = join(dir, "image");
      await pipeline(process.stdin, createWriteStream(image));
    } else if (!existsSync(image))
      throw new PlinthError("FILE_NOT_FOUND", `there is no ${image}`, { field: "file" });
    const format = flags.format === undefined ? [] : ["-f", flags.format];
    const info = JSON.parse(await runImg(flags, "", 0, ["info", "--output=json", ...format, image])) as {
      format?: string;
      "virtual-size"?: number;
    };
    const found = info.format ?? "raw";
    if (found !== "raw" && found !== "qcow2") {
      throw new PlinthError("FORMAT_UNKNOWN", `${file} is ${found}; raw and qcow2 are taken`, {
        field: "file",
      });
    }
    const least = Math.ceil((info["virtual-size"] ?? 0) / 4096) * 4096;
    const sizeBytes = flags.size ?? least;
    if (sizeBytes < least || sizeBytes === 0) {
      const what = least === 0 ? "is empty" : `has ${formatBytes(least)}`;
      const remedy = least === 0 ? "--size says how large the volume is to be" : "give --size at least that";
      throw new PlinthError("PARAMETER_INVALID", `${file} ${what}`, { field: "--size", remedy });
    }
    return fillNew(flags, part, full, sizeBytes, async (uri) => {
      await runImg(flags, `import ${name}`, sizeBytes, [
        ...["convert", "-p", "-n", "--target-is-zero", "-f", found, "-O", "raw"],
        ...[image, uri],
      ]);
      // qemu-img does not flush what it wrote.
      await run("qemu-io", ["-f", "raw", "-c", "flush", uri]);
    });
  });
}

async function importStream(flags: ImportFlags, part: string, name: string): Promise<VolumeView> {
  if (flags.size === undefined) {
    throw new PlinthError(
      "PARAMETER_INVALID",
      "how large a raw image is cannot be seen from standard input",
      {
        field: "--size",
        remedy: "give it with --size",
      },
    );
  }
  const { size } = flags;
  return fillNew(flags, part, name, size, (uri) =>
    run("nbdcopy", ["--flush", "-", uri], {
      stdin: process.stdin,
      onInput: (doneBytes) => showProgress(flags, `import ${name}`, doneBytes, size),
    }).finally(() => showProgress(flags, "", 0, 0)),
  );
}

/**
 * Makes a volume, has it filled so that it survives a power failure, and gives it its name. Nothing is left of one that
 * could not be filled, or it is named where storaged cannot be told.
 */
async function fillNew(
  flags: ImportFlags,
  part: string,
  name: string,
  sizeBytes: number,
  fill: (uri: string) => Promise<unknown>,
): Promise<VolumeView> {
  const { copies, pool, encrypt: encrypted, rewind } = flags;
  const where = { copies, pool, encrypted, ...(flags.class === undefined ? {} : { class: flags.class }) };
  await call(flags, "volume.create", { name: part, sizeBytes, ...where });
  try {
    await fill(uriOf(flags, part));
  } catch (thrown) {
    const gone = await call(flags, "volume.delete", { name: part, undoSeconds: 0 }).then(
      () => true,
      () => false,
    );
    if (gone || !(thrown instanceof PlinthError)) throw thrown;
    const remedy = `${part} holds what came so far: import again, or plinth volume delete ${part}`;
    throw new PlinthError(thrown.code, thrown.message, { remedy, cause: thrown });
  }
  const made = await call(flags, "volume.rename", { name: part, to: name });
  return rewind === 0
    ? (made as VolumeView)
    : ((await call(flags, "volume.set", { name, rewindSeconds: rewind })) as VolumeView);
}

/** Where NBD clients find a volume of the storaged of --dir. */
function uriOf(flags: Flags, name: string): string {
  const socket = join(storageDirectory(flags.dir), "nbd.sock");
  return `nbd+unix:///${encodeURIComponent(name)}?socket=${encodeURIComponent(socket)}`;
}

/** qemu-img with its progress as a bar; what it wrote to standard output. */
function runImg(flags: Flags, title: string, sizeBytes: number, args: readonly string[]): Promise<string> {
  return run("qemu-img", args, {
    onOutput: (text) => {
      const percent = /\(([\d.]+)\/100%\)/.exec(text)?.[1];
      if (percent !== undefined) showProgress(flags, title, (Number(percent) / 100) * sizeBytes, sizeBytes);
    },
  }).finally(() => showProgress(flags, "", 0, 0));
}

interface RunOptions {
  readonly stdin?: Readable;
  /** Told how many bytes of `stdin` were taken so far. */
  readonly onInput?: (doneBytes: number) => void;
  readonly stdout?: "inherit";
  readonly onOutput?: (text: string) => void;
  /** Told how much is done, of 1, by lines "PERCENT/100" that the program writes to descriptor 3. */
  readonly onProgress?: (share: number) => void;
}

function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolved, reject) => {
    const { stdin, stdout = "pipe", onOutput, onProgress } = options;
    const child = spawn(program, args, {
      stdio: [stdin === undefined ? "ignore" : "pipe", stdout, "pipe", "pipe"],
    });
    child.stdio[3]?.on("data", (chunk: Buffer) => {
      const percent = /(\d+)\/100\s*$/.exec(chunk.toString())?.[1];
      if (percent !== undefined) onProgress?.(Number(percent) / 100);
    });
    // When the program ends early its own words say why.
    if (stdin !== undefined) feed(stdin, child.stdin as Writable, options.onInput).catch(() => {});
    let wrote = "";
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      onOutput?.(chunk.toString());
      wrote += chunk.toString();
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-SAID_LENGTH_MAX);
    });
    child.on("error", (cause: NodeJS.ErrnoException) => {
      const remedy = `apt-get install ${PACKAGES[program]}`;
      reject(
        cause.code === "ENOENT"
          ? new PlinthError("PROGRAM_MISSING", `${program} is not installed`, { remedy })
          : cause,
      );
    });
    child.on("close", (code, signal) => {
      if (code === 0) resolved(wrote);
      // Whoever reads what we write has seen enough, e.g. head.
      else if (signal === "SIGPIPE" && stdout === "inherit") resolved(wrote);
      else {
        // Most of what they say begins with their name.
        const why = said.trim().replace(`${program}: `, "") || `ended with ${signal ?? code}`;
        reject(new PlinthError("COPY_FAILED", `${program}: ${why}`));
      }
    });
  });
}

/** Everything that `source` has goes into `target`. */
async function feed(
  source: Readable,
  target: Writable,
  onInput: RunOptions["onInput"] = () => {},
): Promise<void> {
  let doneBytes = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      doneBytes += chunk.byteLength;
      onInput(doneBytes);
      done(null, chunk);
    },
  });
  await pipeline(source, counted, target);
}

async function inTemporary<T>(work: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "plinth-image-"));
  try {
    return await work(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
