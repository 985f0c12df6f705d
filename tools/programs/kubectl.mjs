// A kubectl of the version that Plinth is tested with, where the machine has none. Debian's own stable release carries
// a client far too old, so the package is taken from a newer release of Debian: with an apt state of our own, nothing on
// the machine is changed and no root is needed. No dependencies.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** The oldest client that the conformance tests are written for. */
export const KUBECTL_MINOR_MIN = 30;
const RELEASE = "trixie";
const PACKAGE = "kubectl";
const MIRROR = "http://deb.debian.org/debian";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const TIMEOUT_MS = 10 * 60_000;

/** Where the unpacked client is kept. */
export function kubectlCache() {
  const cache = process.env.XDG_CACHE_HOME ?? join(process.env.HOME ?? homedir(), ".cache");
  return join(cache, "plinth", "kubectl");
}

/** The path of a kubectl that is new enough: the machine's own, else the one in the cache; undefined without either. */
export function findKubectl() {
  const own = (process.env.PATH ?? "").split(":").map((folder) => join(folder || ".", "kubectl"));
  for (const path of [process.env.PLINTH_KUBECTL ?? "", ...own, join(kubectlCache(), "kubectl")]) {
    if (path !== "" && existsSync(path) && (minorVersion(path) ?? 0) >= KUBECTL_MINOR_MIN) return path;
  }
  return undefined;
}

/** A kubectl that runs, fetched when there is none. Throws an Error that says what to do by hand. */
export function ensureKubectl(say = console.log) {
  const found = findKubectl();
  if (found !== undefined) return found;
  say(`fetching kubectl (package ${PACKAGE} of Debian ${RELEASE}) into ${kubectlCache()}`);
  const work = join(kubectlCache(), `work-${process.pid}`);
  try {
    mkdirSync(work, { recursive: true });
    const unpacked = unpack(fetchPackage(work), join(work, "root"));
    const target = join(kubectlCache(), "kubectl");
    chmodSync(unpacked, 0o755);
    renameSync(unpacked, target);
    const minor = minorVersion(target);
    if ((minor ?? 0) < KUBECTL_MINOR_MIN) throw new Error(`the fetched client is 1.${minor ?? "?"}`);
    return target;
  } catch (thrown) {
    throw new Error(
      `kubectl 1.${KUBECTL_MINOR_MIN} or newer is needed and could not be fetched: ${thrown.message}\n` +
        "Install one from https://kubernetes.io/docs/tasks/tools/ or name it in $PLINTH_KUBECTL.",
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Downloads the package with an apt state of our own and returns its path. */
function fetchPackage(work) {
  const lists = join(work, "lists");
  const archives = join(work, "archives");
  for (const folder of [join(lists, "partial"), join(archives, "partial")])
    mkdirSync(folder, { recursive: true });
  const sources = join(work, "sources.list");
  writeFileSync(sources, `deb [signed-by=${KEYRING}] ${MIRROR} ${RELEASE} main\n`);
  writeFileSync(join(work, "status"), "");
  const options = [
    `Dir::State=${work}`,
    `Dir::State::lists=${lists}`,
    `Dir::State::status=${join(work, "status")}`,
    `Dir::Cache=${work}`,
    `Dir::Cache::archives=${archives}`,
    `Dir::Etc::sourcelist=${sources}`,
    "Dir::Etc::sourceparts=-",
    "Dir::Etc::preferencesparts=-",
    "APT::Sandbox::User=",
    "Acquire::Languages=none",
    "Acquire::Retries=3",
    "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
  ].flatMap((option) => ["-o", option]);
  run("apt-get", [...options, "-qq", "update"], work);
  run("apt-get", [...options, "-qq", "download", PACKAGE], work);
  const file = readdirSync(work).find((name) => name.startsWith(`${PACKAGE}_`) && name.endsWith(".deb"));
  if (file === undefined) throw new Error("apt-get download left no package");
  return join(work, file);
}

function unpack(file, root) {
  run("dpkg-deb", ["-x", file, root], ".");
  const path = join(root, "usr", "bin", "kubectl");
  if (!existsSync(path)) throw new Error(`${file} holds no kubectl`);
  return path;
}

function minorVersion(path) {
  const { stdout, status } = spawnSync(path, ["version", "--client", "-o", "json"], {
    encoding: "utf8",
    timeout: 20_000,
    env: { ...process.env, KUBECONFIG: "/dev/null" },
  });
  if (status !== 0) return undefined;
  const minor = /"minor":\s*"(\d+)/.exec(stdout)?.[1];
  return minor === undefined ? undefined : Number(minor);
}

function run(program, args, cwd) {
  const { status, stderr, error } = spawnSync(program, args, { cwd, encoding: "utf8", timeout: TIMEOUT_MS });
  if (error !== undefined) throw new Error(`${program}: ${error.message}`);
  if (status !== 0)
    throw new Error(`${program} ${args.at(-1)} ended with ${status}: ${stderr.trim().slice(-400)}`);
}

if (process.argv[1] !== undefined && import.meta.url === `file://${process.argv[1]}`) {
  try {
    process.stdout.write(`${ensureKubectl()}\n`);
  } catch (thrown) {
    process.stderr.write(`${thrown.message}\n`);
    process.exitCode = 1;
  }
}
