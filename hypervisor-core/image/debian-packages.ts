// Gets the guest kernel and busybox out of the distribution's packages: downloaded and unpacked, never installed,
// without root. Works from the machine's own package lists, else from freshly fetched private ones.
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hypervisorError } from "../errors.js";
import { runProgram } from "./program.js";

export type Progress = (message: string) => void;

const LIST_DEADLINE_MS = 120_000;
const DOWNLOAD_DEADLINE_MS = 600_000;

/** The meta package whose dependency is the newest kernel for virtual machines. */
function kernelMetaPackage(): string {
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const ids = /^ID(?:_LIKE)?=.*$/gm;
  if ((release.match(ids) ?? []).some((line) => line.includes("ubuntu"))) return "linux-image-virtual";
  return process.arch === "arm64" ? "linux-image-cloud-arm64" : "linux-image-cloud-amd64";
}

/**
 * Downloads the kernel packages and busybox-static into `work` and unpacks them there; the result is the root of the
 * unpacked tree. Throws PROGRAM_MISSING where there is no apt, IMAGE_BUILD_FAILED where the packages are not found.
 */
export async function unpackGuestPackages(
  work: string,
  wanted: { readonly kernel: boolean; readonly busybox: boolean },
  progress: Progress,
): Promise<string> {
  const root = join(work, "root");
  mkdirSync(root, { recursive: true });
  const meta = kernelMetaPackage();
  const options = await aptOptions(work, wanted.kernel ? meta : "busybox-static", progress);
  const packages = wanted.kernel ? await kernelPackages(meta, options) : [];
  if (wanted.busybox) packages.push("busybox-static");
  progress(`downloading ${packages.join(", ")}`);
  await runProgram("apt-get", [...options, "download", ...packages], {
    cwd: work,
    deadlineMs: DOWNLOAD_DEADLINE_MS,
  });
  for (const file of readdirSync(work).filter((name) => name.endsWith(".deb"))) {
    progress(`unpacking ${file}`);
    await runProgram("dpkg", ["-x", join(work, file), root], { deadlineMs: DOWNLOAD_DEADLINE_MS });
  }
  return root;
}

/** Options for apt: none when the machine's lists know `probe`, else private lists below `work`, freshly fetched. */
async function aptOptions(work: string, probe: string, progress: Progress): Promise<string[]> {
  const common = process.getuid?.() === 0 ? ["-o", "APT::Sandbox::User=root"] : [];
  if ((await dependencies(probe, common)) !== undefined) return common;
  progress("fetching package lists");
  const lists = join(work, "lists");
  const cache = join(work, "cache");
  mkdirSync(join(lists, "partial"), { recursive: true });
  mkdirSync(join(cache, "archives", "partial"), { recursive: true });
  const own = [...common, "-o", `Dir::State::lists=${lists}`, "-o", `Dir::Cache=${cache}`];
  await runProgram("apt-get", [...own, "update"], { deadlineMs: DOWNLOAD_DEADLINE_MS });
  return own;
}

/** The names a package depends on, or undefined when apt does not know it. */
async function dependencies(name: string, options: readonly string[]): Promise<string[] | undefined> {
  let text: string;
  try {
    text = (
      await runProgram("apt-cache", [...options, "depends", name], { deadlineMs: LIST_DEADLINE_MS })
    ).toString();
  } catch (thrown) {
    if ((thrown as { code?: string }).code === "PROGRAM_FAILED") return undefined;
    throw thrown;
  }
  if (text.trim() === "") return undefined;
  return [...text.matchAll(/^\s*\|?(?:Pre)?Depends: ([\w.+-]+)/gm)].map((match) => match[1] as string);
}

/** The concrete kernel and module packages behind the meta package. */
async function kernelPackages(meta: string, options: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    for (const dependency of (await dependencies(name, options)) ?? []) {
      if (!/^linux-(?:image|modules)-(?:unsigned-)?\d/.test(dependency) || found.has(dependency)) continue;
      found.add(dependency);
      await visit(dependency);
    }
  };
  await visit(meta);
  if (found.size === 0) {
    throw hypervisorError("IMAGE_BUILD_FAILED", `no kernel package behind ${meta} in the package lists`, {
      remedy: "give a kernel with --kernel FILE",
    });
  }
  return [...found];
}
