// An Open vSwitch of one's own for a comparison: database and switch in a directory, the switch wherever `launcher` puts it.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../base/time/index.js";
import { run, runOk } from "../../test/support/run.js";
import { guardChild } from "./cleanup.js";

const SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema";
const DEADLINE_MS = 20_000;

export interface OpenVswitchOptions {
  readonly program: string;
  readonly dir: string;
  /** Words that run the switch in another place, as the same process. */
  readonly launcher: readonly string[];
  /** Set in Open_vSwitch.other_config before it starts. */
  readonly config?: readonly string[];
}

/** Resolves with its processes once it answers; rejects with the end of its log. */
export async function startOpenVswitch(options: OpenVswitchOptions): Promise<ChildProcess[]> {
  const { program, dir, launcher, config = [] } = options;
  const env = { ...process.env, OVS_RUNDIR: dir, OVS_LOGDIR: dir, OVS_DBDIR: dir, OVS_SYSCONFDIR: dir };
  const children: ChildProcess[] = [];
  const start = (words: readonly string[]): void => {
    const [first = "", ...rest] = words;
    children.push(guardChild(spawn(first, rest, { env, stdio: "ignore" })));
  };
  await runOk("ovsdb-tool", ["create", join(dir, "conf.db"), SCHEMA], { env });
  const database = [join(dir, "conf.db"), `--remote=punix:${dir}/db.sock`, `--unixctl=${dir}/db.ctl`];
  start(["ovsdb-server", ...database]);
  const vsctl = (...args: string[]) =>
    run("ovs-vsctl", ["--timeout=5", `--db=unix:${dir}/db.sock`, "--no-wait", ...args], { env });
  await waitFor(async () => (await vsctl("init")).code === 0, "ovsdb-server does not start", DEADLINE_MS);
  if (config.length > 0)
    await vsctl(
      "set",
      "Open_vSwitch",
      ".",
      ...config.map((one) => one.replace(/^([^=]+)=(.*)$/, 'other_config:$1="$2"')),
    );
  const log = join(dir, "vs.log");
  start([
    ...launcher,
    program,
    `unix:${dir}/db.sock`,
    `--unixctl=${dir}/vs.ctl`,
    "--no-chdir",
    `--log-file=${log}`,
  ]);
  await waitFor(() => existsSync(join(dir, "vs.ctl")), `${program} does not start; see ${log}`, DEADLINE_MS);
  return children;
}
