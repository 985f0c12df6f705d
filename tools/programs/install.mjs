// Installs missing programs from Debian packages, asking nothing and starting no service. No dependencies.
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UNWANTED_SERVICES } from "./catalogue.mjs";

const SEARCH = [...(process.env.PATH ?? "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin"];
/** Where Debian keeps the modules of its Python. */
const PYTHON_MODULES = "/usr/lib/python3/dist-packages";
const POLICY = "/usr/sbin/policy-rc.d";

/** The path of `program`, or undefined. Looks into the sbin folders too: an ordinary user's PATH lacks them. */
export function findProgram(program) {
  for (const folder of SEARCH) {
    const path = join(folder || ".", program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

function isThere({ program, module }) {
  return module === undefined ? findProgram(program) !== undefined : existsSync(join(PYTHON_MODULES, module));
}

/**
 * Makes every program of `wanted` runnable or throws an Error that says what to install by hand.
 * @param {import("./catalogue.mjs").Program[]} wanted
 */
export function ensurePrograms(wanted, say = console.log) {
  const missing = wanted.filter((one) => !isThere(one));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((entry) => entry.package))];
  const list = missing
    .map((entry) => `  ${entry.program}: ${entry.why} (Debian package ${entry.package})`)
    .join("\n");
  if (findProgram("apt-get") === undefined) {
    throw new Error(
      `these programs are missing and this system has no apt-get:\n${list}\nInstall them and try again.`,
    );
  }
  if (process.getuid() !== 0) {
    throw new Error(
      `these programs are missing:\n${list}\nInstall them with:\n  sudo apt-get install --no-install-recommends ${packages.join(" ")}`,
    );
  }
  say(`installing Debian packages: ${packages.join(" ")}`);
  withoutServices(() => {
    if (!packages.every(isKnownPackage)) apt(["update", "-q"]);
    apt(["install", "-y", "-q", "--no-install-recommends", ...packages]);
  });
  const still = wanted.filter((one) => !isThere(one));
  if (still.length > 0) {
    throw new Error(
      `apt-get installed ${packages.join(" ")}, but these are still missing: ${still.map((p) => p.program).join(", ")}`,
    );
  }
}

/**
 * Package lists for `apt-get download` of one of `packages`; a fresh machine has none. A machine without network may
 * have the guest image already, so a failure is only told.
 */
export function ensurePackageLists(packages, say = console.log) {
  if (process.getuid() !== 0 || findProgram("apt-get") === undefined || packages.some(isKnownPackage)) return;
  say("fetching the package lists");
  try {
    apt(["update", "-q"]);
  } catch (error) {
    say(error.message);
  }
}

function isKnownPackage(name) {
  const shown = spawnSync("apt-cache", ["policy", name], { encoding: "utf8" });
  return shown.status === 0 && /Candidate: (?!\(none\))\S/.test(shown.stdout);
}

function apt(args) {
  const done = spawnSync("apt-get", ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" },
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (done.error) throw new Error(`apt-get: ${done.error.message}`);
  if (done.status !== 0) {
    throw new Error(
      `apt-get ${args.join(" ")} failed:\n${(done.stderr || done.stdout).trim().split("\n").slice(-15).join("\n")}`,
    );
  }
}

/** Runs `install` so that no package starts a service, and leaves none enabled that was not there before. */
function withoutServices(install) {
  const enabledBefore = enabledServices();
  const ownPolicy = !existsSync(POLICY);
  // invoke-rc.d asks this file; 101 means "action forbidden by policy" (Debian's policy-rc.d interface).
  if (ownPolicy) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    install();
  } finally {
    if (ownPolicy) rmSync(POLICY, { force: true });
    for (const link of enabledServices()) if (!enabledBefore.has(link)) rmSync(link, { force: true });
  }
}

/** The symbolic links by which systemd and sysvinit would start one of the unwanted services at boot. */
function enabledServices() {
  const links = new Set();
  const folders = ["/etc/systemd/system", "/etc/rc2.d", "/etc/rc3.d", "/etc/rc4.d", "/etc/rc5.d"];
  for (const folder of folders) {
    for (const entry of listing(folder)) {
      if (entry.endsWith(".wants") || entry.endsWith(".requires")) {
        for (const unit of listing(join(folder, entry))) {
          if (UNWANTED_SERVICES.some((name) => unit === `${name}.service`))
            links.add(join(folder, entry, unit));
        }
      } else if (UNWANTED_SERVICES.some((name) => new RegExp(`^S\\d\\d${name}$`).test(entry))) {
        links.add(join(folder, entry));
      }
    }
  }
  return links;
}

function listing(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
