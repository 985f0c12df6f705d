// The guest image: a kernel and an initramfs, made once from the distribution's packages and kept under a key of
// everything that went into them. A build happens in a directory of its own and appears by one rename.
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import { describeError, PlinthError } from "../../base/errors/index.js";
import { hypervisorError } from "../errors.js";
import { type CpioEntry, encodeCpio } from "./cpio.js";
import { type Progress, unpackGuestPackages } from "./debian-packages.js";
import { GUEST_DIRECTORIES, GUEST_FILES, GUEST_LINKS } from "./guest-files.js";
import { detectCompression, needsInterpreter, parseKernelRelease } from "./kernel-file.js";
import {
  EARLY_MODULES,
  type KernelModule,
  LATE_MODULES,
  moduleName,
  orderModules,
  parseModuleDepends,
} from "./kernel-modules.js";
import { runProgram } from "./program.js";

export interface GuestImage {
  /** Bytes that QEMU boots with -kernel. */
  readonly kernel: string;
  readonly initramfs: string;
  /** The kernel's release, e.g. "6.1.0-56-cloud-amd64"; empty when it does not say. */
  readonly release: string;
  readonly key: string;
}

export interface GuestImageOptions {
  /** Where images are kept, one directory per key. */
  readonly cacheDir: string;
  /** A kernel of the user's own; its modules are looked for in `modulesDir`, else beside it and in /lib/modules. */
  readonly kernelFile?: string | undefined;
  readonly modulesDir?: string | undefined;
  /** Kernel modules that the guest loads besides those of every guest, such as "xfs". */
  readonly modules?: readonly string[];
  readonly progress?: Progress;
}

/** Raised when the builder changes in a way that the guest files do not show. */
const BUILDER_VERSION = 2;
const TOOL_DEADLINE_MS = 120_000;

/**
 * The image, built first where it is not in the cache. The first build downloads about 30 MB; progress is told in
 * whole sentences. Throws IMAGE_BUILD_FAILED, PROGRAM_MISSING or PROGRAM_FAILED, and leaves nothing half-made.
 */
export async function ensureGuestImage(options: GuestImageOptions): Promise<GuestImage> {
  const progress = options.progress ?? (() => {});
  const key = imageKey(options);
  const home = join(options.cacheDir, key);
  const cached = readImage(home, key);
  if (cached !== undefined) return cached;
  mkdirSync(options.cacheDir, { recursive: true });
  const work = mkdtempSync(join(options.cacheDir, "build-"));
  try {
    progress("building the guest image");
    const result = await buildImage(options, work, progress);
    publish(join(work, "result"), home);
    progress(`guest image ready: Linux ${result}`);
  } catch (thrown) {
    if (thrown instanceof PlinthError) throw thrown;
    throw hypervisorError("IMAGE_BUILD_FAILED", `the guest image cannot be built: ${describeError(thrown)}`, {
      cause: thrown,
    });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  const built = readImage(home, key);
  if (built === undefined) throw hypervisorError("IMAGE_BUILD_FAILED", `${home} vanished while it was built`);
  return built;
}

function imageKey(options: GuestImageOptions): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([BUILDER_VERSION, process.arch, GUEST_FILES, GUEST_DIRECTORIES, GUEST_LINKS]));
  hash.update(JSON.stringify([EARLY_MODULES, LATE_MODULES, options.modulesDir ?? ""]));
  if (options.modules !== undefined) hash.update(JSON.stringify(options.modules));
  if (options.kernelFile !== undefined) hash.update(readKernel(options.kernelFile));
  return hash.digest("hex").slice(0, 16);
}

function readKernel(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw hypervisorError(
      "IMAGE_BUILD_FAILED",
      `cannot read the kernel ${file}: ${(cause as Error).message}`,
      {
        field: "--kernel",
        cause,
      },
    );
  }
}

function readImage(home: string, key: string): GuestImage | undefined {
  const about = join(home, "image.json");
  if (!existsSync(about)) return undefined;
  const { release } = JSON.parse(readFileSync(about, "utf8")) as { release: string };
  return { kernel: join(home, "kernel"), initramfs: join(home, "initramfs"), release, key };
}

/** Another builder may have been faster; its image is as good as ours. */
function publish(result: string, home: string): void {
  try {
    renameSync(result, home);
  } catch (thrown) {
    if (!existsSync(join(home, "image.json"))) throw thrown;
  }
}

async function buildImage(options: GuestImageOptions, work: string, progress: Progress): Promise<string> {
  const hostBusybox = findStaticBusybox();
  const wanted = { kernel: options.kernelFile === undefined, busybox: hostBusybox === undefined };
  const root =
    wanted.kernel || wanted.busybox ? await unpackGuestPackages(work, wanted, progress) : join(work, "root");
  const kernelFile = options.kernelFile ?? findOne(join(root, "boot"), /^vmlinu[xz]-/);
  const kernel = readKernel(kernelFile);
  const release = parseKernelRelease(kernel) ?? /vmlinu[xz]-(.+)$/.exec(kernelFile)?.[1] ?? "";
  const modulesRoot = options.modulesDir ?? findModules(root, kernelFile, release);
  const busybox = hostBusybox ?? join(root, "bin", "busybox");
  progress("writing the initramfs");
  const late = [...LATE_MODULES, ...(options.modules ?? [])];
  const entries = await initramfsEntries(busybox, modulesRoot, late, work);
  const result = join(work, "result");
  mkdirSync(result);
  writeFileSync(join(result, "kernel"), kernel);
  writeFileSync(join(result, "initramfs"), encodeCpio(entries));
  writeFileSync(join(result, "image.json"), JSON.stringify({ release }));
  return release;
}

/** The machine's own busybox when it can run alone (then it need not be downloaded). */
function findStaticBusybox(): string | undefined {
  return ["/bin/busybox", "/usr/bin/busybox"].find(
    (path) => existsSync(path) && !needsInterpreter(readFileSync(path)),
  );
}

function findOne(dir: string, pattern: RegExp): string {
  const name = existsSync(dir) ? readdirSync(dir).find((entry) => pattern.test(entry)) : undefined;
  if (name === undefined) throw hypervisorError("IMAGE_BUILD_FAILED", `no ${pattern.source} in ${dir}`);
  return join(dir, name);
}

/** In the unpacked packages; for a kernel of the user's own beside it, as its package has them, or on this machine. */
function findModules(root: string, kernelFile: string, release: string): string {
  const beside = dirname(resolve(kernelFile));
  const places = [
    join(root, "lib/modules"),
    join(root, "usr/lib/modules"),
    join(dirname(beside), "lib/modules"),
    join(beside, "modules"),
    "/lib/modules",
  ].map((place) => join(place, release));
  const found = release === "" ? undefined : places.find((place) => existsSync(place));
  if (found !== undefined) return found;
  const name = release === "" ? "a release that it does not tell" : release;
  throw hypervisorError(
    "IMAGE_BUILD_FAILED",
    `${kernelFile} is Linux ${name}; its modules are in none of ${places.slice(2).join(", ")}`,
    {
      field: "--kernel",
      remedy: "put them into one of these directories; an empty directory says that the kernel needs none",
    },
  );
}

async function decompress(bytes: Uint8Array, work: string): Promise<Uint8Array> {
  const packing = detectCompression(bytes);
  if (packing === "none") return bytes;
  if (packing === "gzip") return gunzipSync(bytes);
  const file = join(work, "packed");
  writeFileSync(file, bytes);
  return await runProgram(packing, ["-dcq", file], {
    deadlineMs: TOOL_DEADLINE_MS,
    outputBytesMax: 512 * 1024 * 1024,
  });
}

async function initramfsEntries(
  busybox: string,
  modulesRoot: string | undefined,
  lateModules: readonly string[],
  work: string,
): Promise<CpioEntry[]> {
  const applets = (await runProgram(busybox, ["--list"], { deadlineMs: TOOL_DEADLINE_MS })).toString();
  const links = applets
    .split("\n")
    .filter((name) => name !== "" && name !== "busybox" && !name.includes("/"))
    .map((name) => ({ path: `bin/${name}`, target: "busybox" }));
  const { early, late, files } = await collectModules(modulesRoot, lateModules, work);
  const list = (names: readonly string[]): Uint8Array =>
    Buffer.from(names.map((name) => `${name}.ko\n`).join(""));
  return [
    ...GUEST_DIRECTORIES.map((path): CpioEntry => ({ type: "directory", path })),
    { type: "device", path: "dev/console", major: 5, minor: 1 },
    { type: "file", path: "bin/busybox", mode: 0o755, data: readFileSync(busybox) },
    ...[...links, ...GUEST_LINKS].map((link): CpioEntry => ({ type: "symlink", ...link })),
    ...GUEST_FILES.map(
      ({ path, mode, text }): CpioEntry => ({ type: "file", path, mode, data: Buffer.from(text) }),
    ),
    ...files,
    { type: "file", path: "lib/modules/early", data: list(early) },
    { type: "file", path: "lib/modules/late", data: list(late) },
  ];
}

async function collectModules(
  modulesRoot: string | undefined,
  lateModules: readonly string[],
  work: string,
): Promise<{ early: string[]; late: string[]; files: CpioEntry[] }> {
  const paths = modulesRoot === undefined ? new Map<string, string>() : findModuleFiles(modulesRoot);
  const contents = new Map<string, Uint8Array>();
  const modules = new Map<string, KernelModule>();
  // Dependencies are in the files, so read breadth first from what is wanted.
  const queue: string[] = [...EARLY_MODULES, ...lateModules];
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    const path = paths.get(name);
    if (path === undefined || modules.has(name)) continue;
    const bytes = await decompress(readFileSync(path), work);
    const depends = parseModuleDepends(bytes);
    contents.set(name, bytes);
    modules.set(name, { name, path, depends });
    queue.push(...depends);
  }
  const lookup = (name: string): KernelModule | undefined => modules.get(name);
  const early = orderModules(EARLY_MODULES, lookup).map((module) => module.name);
  const late = orderModules(lateModules, lookup, new Set(early)).map((module) => module.name);
  const files = [...early, ...late].map(
    (name): CpioEntry => ({
      type: "file",
      path: `lib/modules/${name}.ko`,
      data: contents.get(name) as Uint8Array,
    }),
  );
  return { early, late, files };
}

function findModuleFiles(root: string): Map<string, string> {
  const found = new Map<string, string>();
  const base = join(root, "kernel");
  for (const entry of existsSync(base) ? readdirSync(base, { recursive: true, withFileTypes: true }) : []) {
    const name = entry.isFile() ? moduleName(entry.name) : undefined;
    if (name !== undefined) found.set(name, join(entry.parentPath, entry.name));
  }
  return found;
}
