// `plinth up`: the whole data centre of one machine, from nothing to a proved example, and down again.
// Stages: directory and lock → guest image → daemons → example → proofs → stay. Each can be left by Ctrl-C.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describeError, PlinthError } from "../../../base/errors/index.js";
import { createControlServer } from "../../../base/jsonrpc/index.js";
import { lockFile, lockHolder } from "../../../base/linux/index.js";
import { createLogger } from "../../../base/log/index.js";
import { ensureGuestImage, findQemu } from "../../../hypervisor-core/index.js";
import { probePort } from "../../api/port.js";
import { GREETING_PROOFS, PROOFS, type Proof } from "../../proofs/index.js";
import { connectWorld, type LiveWorld } from "../../proofs/live-world.js";
import { cacheDirectory, type DirectoryLayout, directoryLayout, openDirectory } from "../directory.js";
import { type DaemonSpec, daemonSet } from "./daemon-set.js";
import { stopEverything } from "./down.js";
import { createProgress, type Progress } from "./progress.js";
import { Supervisor } from "./supervisor.js";

export const DEFAULT_API_PORT = 6443;
const MACHINES_DEADLINE_MS = 120_000;

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
  if (!options.check) await checkPort(options);
  const dir = options.check ? mkdtempSync("/tmp/plinth-check-") : options.dir;
  const layout = openDirectory(dir);
  const lock = lockFile(join(layout.run, "up.lock"));
  const log = createLogger({ name: "up", file: join(layout.log, "up.log") });
  const interrupted = new Interrupt();
  const specs = daemonSet(layout, {
    apiPort: await choosePort(options),
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
  try {
    failed = await interrupted.race(bringUp(options, layout, specs, supervisor, progress));
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
  await supervisor.stop(() => stopEverything(layout, specs, (text) => progress.step(text)));
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
    example: readFileSync(
      fileURLToPath(new URL("../../../../examples/three-tier.yaml", import.meta.url)),
      "utf8",
    ),
    say: (text) => progress.say(`    ${text}`),
  });
  try {
    progress.step("applying examples/three-tier.yaml");
    await world.applyExample();
    progress.done("examples/three-tier.yaml is applied");
    await world.untilMachinesRun(MACHINES_DEADLINE_MS, (text) => progress.step(text));
    progress.done("the VMs run");
    return await prove(options, world, progress);
  } finally {
    world.close();
  }
}

/** Runs the proofs in order and returns how many did not hold. A later one may rest on an earlier, so the first failure ends it. */
async function prove(options: UpOptions, world: LiveWorld, progress: Progress): Promise<number> {
  const chosen = (options.check ? PROOFS : GREETING_PROOFS).filter(
    (proof: Proof) => options.only === undefined || proof.name.includes(options.only),
  );
  if (chosen.length === 0)
    throw new PlinthError("NO_SUCH_PROOF", `no proof's name contains "${options.only}"`, { field: "--only" });
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

/** Port 0 must become a number now: a controller that is started again has to come back at the same place. */
async function choosePort(options: UpOptions): Promise<number> {
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

function howToLookAround(layout: DirectoryLayout, example: boolean): string {
  const plinth = existsSync("/usr/local/bin/plinth") ? "plinth" : "npx plinth";
  const dir = `--dir ${layout.dir}`;
  const lines = [
    "",
    "Look around from another terminal:",
    `  export KUBECONFIG=${layout.kubeconfig}`,
    "  kubectl get virtualmachines,networks,volumes,networkpolicies --all-namespaces",
    `  ${plinth} get vm -A ${dir}`,
  ];
  if (example) {
    lines.push(
      `  ${plinth} vm exec client -n shop ${dir} -- wget -q -O - http://10.10.0.100/`,
      `  ${plinth} vm console client -n shop ${dir}`,
    );
  }
  lines.push(
    `  ${plinth} ofctl dump-flows br-int --dir ${layout.switch}`,
    `  ${plinth} volume list --dir ${layout.storage}`,
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
