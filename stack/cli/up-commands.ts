// `plinth up`, `plinth down` and `plinth logs`: one machine's data centre as a whole.
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { defaultDirectory, directoryLayout } from "../daemons/directory.js";
import { down } from "../daemons/up/down.js";
import { up } from "../daemons/up/up.js";
import { withApiPort, withDir, withKernel } from "./options.js";

const TAIL_BYTES = 64 * 1024;
const FOLLOW_INTERVAL_MS = 250;

export function register(program: Command): void {
  const upCommand = program
    .command("up")
    .description("start the data centre of this machine with the example, and stay until Ctrl-C");
  withKernel(withApiPort(withDir(upCommand)))
    .option("--no-example", "start without applying examples/three-tier.yaml")
    .option("--check", "prove everything in a temporary directory, stop, exit 0 or 1", false)
    .option("--only <text>", "with --check: only the proofs whose name contains TEXT")
    .action(
      async (options: {
        dir?: string;
        port: number;
        kernel?: string;
        example: boolean;
        check: boolean;
        only?: string;
      }) => {
        process.exit(
          await up({
            dir: defaultDirectory(options.dir),
            apiPort: options.port,
            kernel: options.kernel,
            check: options.check,
            example: options.example,
            only: options.only,
          }),
        );
      },
    );

  withDir(program.command("down").description("stop the VMs and daemons of this machine; state is kept"))
    .option("--purge", "remove the data directory too, with every volume in it", false)
    .action(async (options: { dir?: string; purge: boolean }) => {
      const dir = defaultDirectory(options.dir);
      if (!existsSync(directoryLayout(dir).format)) {
        throw new PlinthError("NO_DIRECTORY", `there is no data centre in ${dir}`, { field: "--dir" });
      }
      await down({ dir, purge: options.purge }, (text) => process.stdout.write(`${text}\n`));
    });

  withDir(
    program
      .command("logs [daemon]")
      .description("show a daemon's log (without a name: which logs there are)"),
  )
    .option("-f, --follow", "go on as the log grows", false)
    .action(async (daemon: string | undefined, options: { dir?: string; follow: boolean }) => {
      await showLog(directoryLayout(defaultDirectory(options.dir)).log, daemon, options.follow);
    });
}

async function showLog(folder: string, daemon: string | undefined, follow: boolean): Promise<void> {
  const names = existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name.endsWith(".log"))
        .map((name) => name.slice(0, -4))
        .sort()
    : [];
  if (daemon === undefined) {
    process.stdout.write(names.length === 0 ? `no logs in ${folder}\n` : `${names.join("\n")}\n`);
    return;
  }
  if (!names.includes(daemon)) {
    throw new PlinthError("NO_SUCH_LOG", `there is no log of ${daemon} in ${folder}`, {
      field: "daemon",
      remedy: names.length === 0 ? "nothing has run there yet" : `there are: ${names.join(", ")}`,
    });
  }
  const path = join(folder, `${daemon}.log`);
  let offset = Math.max(0, statSync(path).size - TAIL_BYTES);
  for (;;) {
    offset = copyFrom(path, offset);
    if (!follow) return;
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_INTERVAL_MS));
    // A rotated log is shorter than what was read of the one before.
    if (statSync(path).size < offset) offset = 0;
  }
}

function copyFrom(path: string, offset: number): number {
  const fd = openSync(path, "r");
  const chunk = Buffer.alloc(64 * 1024);
  try {
    for (;;) {
      const count = readSync(fd, chunk, 0, chunk.length, offset);
      if (count === 0) return offset;
      process.stdout.write(chunk.subarray(0, count));
      offset += count;
    }
  } finally {
    closeSync(fd);
  }
}
