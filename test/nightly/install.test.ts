// A fresh machine: a minimal Debian in a folder, a clone, and the install step of `npm start`. It must ask for nothing,
// install what is missing, and leave no service enabled.
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needsRoot } from "../support/needs.js";
import { ROOT, requirePrograms, run, runOk } from "../support/run.js";

/** Of each step. Unpacking a hundred packages is minutes of work where many share the disk. */
const DEADLINE_MS = 900_000;
/** Mounts made inside end with the last process in it, also when it is stopped half-way. */
const APART = ["--mount", "--pid", "--fork", "--kill-child"];
let machine: string;

/** Node and npm as on this machine; a user would have installed them. Network settings are the machine's own. */
function giveItNode(root: string): void {
  copyFileSync(process.execPath, join(root, "usr/bin/node"));
  const npm = [join(dirname(process.execPath), "../lib/node_modules/npm"), "/usr/lib/node_modules/npm"].find(
    existsSync,
  );
  if (npm === undefined) throw new Error("npm is not where Node is");
  cpSync(npm, join(root, "usr/lib/node_modules/npm"), { recursive: true, verbatimSymlinks: true });
  mkdirSync(join(root, "usr/local/bin"), { recursive: true });
  for (const name of ["resolv.conf", "hosts", "ssl/certs/ca-certificates.crt"]) {
    copyFileSync(join("/etc", name), join(root, "etc", name));
  }
}

function inside(script: string) {
  const enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -c "$1"';
  return run("unshare", [...APART, "sh", "-c", enter, machine, script], {
    deadlineMs: DEADLINE_MS,
    env: {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: "/root",
      LC_ALL: "C",
      NODE_EXTRA_CA_CERTS: "/etc/ssl/certs/ca-certificates.crt",
    },
  });
}

describe("npm start on a fresh machine", needsRoot, () => {
  beforeAll(async () => {
    requirePrograms("debootstrap", "chroot", "unshare", "git");
    machine = mkdtempSync(join(tmpdir(), "plinth-fresh-"));
    const packages = ["--variant=minbase", "--include=ca-certificates", "bookworm"];
    const debootstrap = ["debootstrap", ...packages, machine, "http://deb.debian.org/debian"];
    await runOk("unshare", [...APART, ...debootstrap], { deadlineMs: DEADLINE_MS });
    giveItNode(machine);
    await runOk("git", ["clone", "--quiet", "--no-hardlinks", ROOT, join(machine, "plinth")]);
  }, DEADLINE_MS);

  afterAll(() => rmSync(machine, { recursive: true, force: true }));

  it(
    "installs what is missing without a question and enables no service",
    async () => {
      const npm = "node /usr/lib/node_modules/npm/bin/npm-cli.js";
      const link =
        "ln -sf ../lib/node_modules/npm/bin/npm-cli.js /usr/bin/npm && ln -sf ../lib/node_modules/npm/bin/npx-cli.js /usr/bin/npx";
      const done = await inside(`${link}; cd /plinth && ${npm} start --silent -- --install-only </dev/null`);
      expect(done.code, `${done.stdout}\n${done.stderr}`).toBe(0);
      const works = await inside("qemu-system-x86_64 --version && node /plinth/dist/bundle/plinth.js --help");
      expect(works.code, works.stderr).toBe(0);
      expect(works.stdout).toContain("QEMU emulator version");
      expect(works.stdout).toMatch(/\bup\b.*\bdown\b/s);

      const tests = await inside(
        "cd /plinth && node -e \"Promise.all([import('/plinth/tools/programs/install.mjs'), import('/plinth/tools/programs/catalogue.mjs')]).then(([i, c]) => i.ensurePrograms([...c.UNIT_PROGRAMS, ...c.TEST_PROGRAMS]))\" </dev/null",
      );
      expect(tests.code, `${tests.stdout}\n${tests.stderr}`).toBe(0);
      expect((await inside("ovs-vsctl --version")).stdout).toContain("Open vSwitch");
      const wanted = join(machine, "etc/systemd/system/multi-user.target.wants");
      const enabled = existsSync(wanted) ? readdirSync(wanted) : [];
      expect(enabled.filter((unit) => /openvswitch|ovs|nbd/.test(unit))).toEqual([]);
      expect(
        readdirSync(join(machine, "etc/rc2.d")).filter((link_) => /^S.*(openvswitch|nbd)/.test(link_)),
      ).toEqual([]);
      expect(existsSync(join(machine, "usr/sbin/policy-rc.d"))).toBe(false);
    },
    DEADLINE_MS,
  );
});
