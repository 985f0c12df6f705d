// `plinth up`: the whole data centre of one machine, from nothing to a proved example, and down again.
// Stages: directory and lock → guest image → daemons → example → proofs → stay. Each can be left by Ctrl-C.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describeError, PlinthError } from "../../../base/errors/index.js";
import { createControlServer } from "../../../base/jsonrpc/index.js";
import { lockFile, lockHolder } from "../../../base/linux/index.js";
import { createLogger } from "../../../base/log/index.js";
import { ensureGuestImage, findQemu } from "../../../hypervisor-core/index.js";
import { readKubeconfig } from "../../api/index.js";
import { probePort } from "../../api/port.js";
import { GREETING_PROOFS, PROOFS, type Proof } from "../../proofs/index.js";
import { connectWorld, type LiveWorld } from "../../proofs/live-world.js";
import {
  cacheDirectory,
  type DirectoryLayout,
  defaultDirectory,
  directoryLayout,
  openDirectory,
} from "../directory.js";
import { type DaemonSpec, daemonSet } from "./daemon-set.js";
import { stopEverything } from "./down.js";
import { createProgress, mutable, type Progress } from "./progress.js";
import { Supervisor } from "./supervisor.js";

const MACHINES_DEADLINE_MS = 120_000;
/** Of the repository; this file runs from dist/. */
const ROOT = fileURLToPath(new URL("../../../..", import.meta.url)).replace(/\/$/, "");

export interface UpOptions {
  readonly dir: string;
  readonly apiPort: number;
  readonly kernel?: string | undefined;
  /** Prove everything in a temporary directory, stop, and answer with the exit code. */
  readonly check: boolean;
  readonly example: boolean;
  /** With `check`: only proofs whose name contains this text. */
  readonly only?: string | undefined;
}

/**
 * Runs until Ctrl-C, `plinth down`, or the end of the check. Returns the exit code; throws what stopped it early.
 * A missing program or a port in use is told before anything is made.
 */
export async function up(options: UpOptions): Promise<number> {
  const progress = createProgress(process.stdout, process.stderr);
  findQemu();
  const proofs = chooseProofs(options);
  if (!options.check) await checkPort(options);
  const dir = options.check ? mkdtempSync("/tmp/plinth-check-") : options.dir;
  const layout = openDirectory(dir);
  const lock = lockFile(join(layout.run, "up.lock"));
  const log = createLogger({ name: "up", file: join(layout.log, "up.log") });
  const interrupted = new Interrupt();
  const specs = daemonSet(layout, {
    apiPort: await choosePort(options, layout, progress),
    ...(options.kernel === undefined ? {} : { kernel: options.kernel }),
  });
  const supervisor = new Supervisor(specs, {
    logDir: layout.log,
    log,
    report: (event) => {
      log.info(event, "daemon");
      if (event.kind === "died") progress.say(`! ${event.daemon} died and is started again: ${event.detail}`);
    },
  });
  const control = await createControlServer(
    join(layout.run, "up.sock"),
    {},
    { name: "up", shutdown: () => interrupted.raise("plinth down") },
  );
  let failed = 0;
  if (options.check) progress.say(`proving in ${dir}, which is removed when everything held`);
  try {
    const told = mutable(progress, () => interrupted.raised);
    failed = await interrupted.race(bringUp(options, layout, specs, proofs, supervisor, told));
    if (!options.check) {
      progress.say(howToLookAround(layout, options.example));
      await interrupted.happened;
    }
  } catch (thrown) {
    if (!(thrown instanceof Interrupted)) {
      failed++;
      progress.failed(describeError(thrown));
      log.error({ err: thrown }, "could not come up");
    }
  }
  progress.step("stopping");
  await supervisor.stop(async () => {
    await stopEverything(layout, specs, (text) => progress.step(text));
  });
  progress.done("stopped");
  await control.close();
  lock.close();
  if (options.check) {
    if (failed === 0 && !interrupted.raised) rmSync(dir, { recursive: true, force: true });
    else progress.say(`the directory is kept: ${dir} (logs in ${layout.log})`);
    if (interrupted.raised) return 130;
  }
  return failed === 0 ? 0 : 1;
}

async function bringUp(
  options: UpOptions,
  layout: DirectoryLayout,
  specs: readonly DaemonSpec[],
  proofs: readonly Proof[],
  supervisor: Supervisor,
  progress: Progress,
): Promise<number> {
  progress.step("guest image");
  const image = await ensureGuestImage({
    cacheDir: join(cacheDirectory(), "images"),
    kernelFile: options.kernel,
    progress: (text) => progress.step(text),
  });
  progress.done(`guest image ready: Linux ${image.release}`);

  progress.step("starting the daemons");
  await supervisor.start();
  progress.done(`${specs.map(({ name }) => name).join(", ")} are ready`);

  if (!options.example) return 0;
  const world = await connectWorld(layout, specs, {
    namespace: "shop",
    example: readFileSync(join(ROOT, "examples", "three-tier.yaml"), "utf8"),
    say: (text) => progress.say(`    ${text}`),
  });
  try {
    progress.step("applying examples/three-tier.yaml");
    await world.applyExample();
    progress.done("examples/three-tier.yaml is applied");
    await world.untilMachinesRun(MACHINES_DEADLINE_MS, (text) => progress.step(text));
    progress.done("the VMs run");
    return await prove(proofs, world, progress);
  } finally {
    world.close();
  }
}

/** Throws NO_SUCH_PROOF. */
function chooseProofs({ check, only }: UpOptions): readonly Proof[] {
  if (!check && only !== undefined)
    throw new PlinthError("ONLY_WITHOUT_CHECK", "--only goes with --check", { field: "--only" });
  const all = check ? PROOFS : GREETING_PROOFS;
  const chosen = all.filter(({ name }) => only === undefined || name.includes(only));
  if (chosen.length === 0) {
    throw new PlinthError("NO_SUCH_PROOF", `no proof's name contains "${only}"`, {
      field: "--only",
      remedy: `there are: ${all.map(({ name }) => name).join("; ")}`,
    });
  }
  return chosen;
}

/** Runs the proofs in order and returns how many did not hold. A later one may rest on an earlier, so the first failure ends it. */
async function prove(chosen: readonly Proof[], world: LiveWorld, progress: Progress): Promise<number> {
  for (const proof of chosen) {
    progress.step(proof.name);
    try {
      const seen = await proof.run(world);
      progress.done(proof.name);
      progress.say(`    ${seen}`);
    } catch (thrown) {
      progress.failed(`${proof.name}: ${describeError(thrown)}`);
      return 1;
    }
  }
  progress.say(`${chosen.length} of ${chosen.length} proofs held`);
  return 0;
}

/** The port must be free, unless our controller has it already. */
async function checkPort(options: UpOptions): Promise<void> {
  try {
    if (lockHolder(join(directoryLayout(options.dir).run, "controller.lock")) !== undefined) return;
  } catch {
    return; // A directory that we may not read is refused when it is opened.
  }
  await probePort(options.apiPort);
}

/**
 * Port 0 must become a number now: a controller that is started again has to come back at the same place. A controller
 * that is adopted keeps the port that it has.
 */
async function choosePort(options: UpOptions, layout: DirectoryLayout, progress: Progress): Promise<number> {
  const adopted = await adoptedPort(layout);
  if (adopted !== undefined) {
    if (options.apiPort !== 0 && options.apiPort !== adopted)
      progress.say(`! the API still runs at port ${adopted}; plinth down, then up, takes it to --port`);
    return adopted;
  }
  if (!options.check && options.apiPort !== 0) return options.apiPort;
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("the system gave no port");
  return address.port;
}

/** The port of the controller that an earlier `plinth up` left running; undefined without one. */
async function adoptedPort(layout: DirectoryLayout): Promise<number | undefined> {
  if (lockHolder(join(layout.run, "controller.lock")) === undefined) return undefined;
  try {
    const port = Number(new URL((await readKubeconfig(layout.kubeconfig)).server).port);
    return port > 0 ? port : undefined;
  } catch {
    return undefined; // It is still on its way up and has written none.
  }
}

function howToLookAround(layout: DirectoryLayout, example: boolean): string {
  const dir = layout.dir === defaultDirectory() ? "" : ` --dir ${layout.dir}`;
  const lines = [
    "",
    `Look around from another terminal, in ${ROOT}:`,
    `  export KUBECONFIG=${layout.kubeconfig}`,
    "  kubectl get virtualmachines,networks,volumes,networkpolicies --all-namespaces",
    `  npx plinth get vm -A${dir}`,
  ];
  if (example) {
    lines.push(
      `  npx plinth vm exec client -n shop${dir} -- wget -q -O - http://10.10.0.100/`,
      `  npx plinth vm console client -n shop${dir}`,
    );
  }
  lines.push(
    `  npx plinth ofctl${dir} dump-flows br-int`,
    `  npx plinth volume list${dir}`,
    "",
    "Ctrl-C stops everything; the next start finds its state again.",
  );
  return lines.join("\n");
}

class Interrupted extends Error {}

/** Ctrl-C, SIGTERM or `plinth down`, whichever comes first. */
class Interrupt {
  raised = false;
  readonly happened: Promise<void>;
  #resolve: () => void = () => {};

  constructor() {
    this.happened = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.on(signal, () => this.raise(signal));
  }

  raise(_reason: string): void {
    this.raised = true;
    this.#resolve();
  }

  /** The outcome of `work`, or Interrupted as soon as somebody wants us to stop. */
  race<T>(work: Promise<T>): Promise<T> {
    work.catch(() => {});
    return Promise.race([
      work,
      this.happened.then(() => {
        throw new Interrupted();
      }),
    ]);
  }
}
