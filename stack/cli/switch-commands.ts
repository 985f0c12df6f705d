// `plinth vswitchd`, the switch's daemon, `plinth vsctl|ofctl|appctl`, the verbs of the ovs tools, and `plinth trace`.
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import {
  appctlHelp,
  askUnixctl,
  ofctlHelp,
  runAppctl,
  runOfctl,
  runVsctl,
  startVswitchd,
  vsctlHelp,
} from "../../vswitch/index.js";
import { runDaemon } from "../daemons/daemon.js";
import { defaultDirectory, directoryLayout } from "../daemons/directory.js";
import { withLogDir, withPartDir, withTimeout } from "./options.js";
import { registerTool, switchSocket } from "./tool-command.js";

const TIMEOUT = { default: 10, max: 3600 };

interface VswitchdFlags {
  readonly dir?: string;
  readonly ovsdb: readonly string[];
  readonly hostDevices: boolean;
  readonly upgrade: boolean;
  readonly metrics?: string;
  readonly enableDummy?: "system" | "override" | true;
  readonly logDir?: string;
}

interface ClientFlags {
  readonly dir?: string;
  readonly timeout: number;
}

export function register(program: Command): void {
  // The verbs have options of their own, which are not ours to parse.
  program.enablePositionalOptions();
  registerVswitchd(program);
  registerVsctl(program);
  registerOfctl(program);
  registerAppctl(program);
  registerTrace(program);
}

function registerVswitchd(program: Command): void {
  const command = program
    .command("vswitchd")
    .description(
      "run the virtual switch: OVSDB at DIR/db.sock, OpenFlow at DIR/<bridge>.mgmt, DIR/vswitchd.ctl",
    );
  withLogDir(command)
    .option("--dir <dir>", "directory of the switch (default: switch/ below the data directory of Plinth)")
    .option(
      "--ovsdb <endpoint>",
      "a further place for OVSDB: punix:PATH, ptcp:PORT[:HOST], pssl:PORT[:HOST], or unix:PATH, tcp:HOST:PORT, ssl:HOST:PORT to dial; may be repeated",
      collect,
      [],
    )
    .option(
      "--upgrade",
      "take over from the switch that runs in DIR, with its open ports and connections, within milliseconds once this one is ready; it goes on if this one cannot. Starts as usual when none runs",
      false,
    )
    .option("--host-devices", "make a TAP device for each internal port (needs CAP_NET_ADMIN)", false)
    .option(
      "--metrics <where>",
      "serve metrics for Prometheus over HTTP, without a login: HOST:PORT or unix:PATH, page /metrics (default: nowhere)",
    )
    .addOption(
      new Option(
        "--enable-dummy [what]",
        "for tests: ports and datapaths of type dummy, without devices; in place of type system, or of all (override); netdev-dummy/* and time/* in ovs-appctl",
      ).choices(["system", "override"]),
    )
    .action(async (flags: VswitchdFlags) => {
      const dir = flags.dir === undefined ? directoryLayout(defaultDirectory()).switch : resolve(flags.dir);
      await runDaemon({ name: "vswitchd", logDir: flags.logDir }, (log) =>
        startVswitchd({
          dir,
          ovsdb: flags.ovsdb,
          hostDevices: flags.hostDevices,
          upgrade: flags.upgrade,
          metrics: flags.metrics,
          dummy: flags.enableDummy === true ? "beside" : (flags.enableDummy ?? "off"),
          log,
        }),
      );
    });
}

function registerVsctl(program: Command): void {
  registerTool(program, {
    name: "vsctl",
    description: "configure a switch through its database",
    help: vsctlHelp,
    run: (words, io) => runVsctl(words, { ...io, database: `unix:${io.socket("db.sock")}` }),
  });
}

function registerOfctl(program: Command): void {
  registerTool(program, {
    name: "ofctl",
    description: "look at and change the flows of a bridge through OpenFlow 1.3",
    help: ofctlHelp,
    run: runOfctl,
  });
}

function registerAppctl(program: Command): void {
  registerTool(program, {
    name: "appctl",
    description: "ask and control a running switch",
    help: appctlHelp,
    run: runAppctl,
  });
}

interface TraceFlags extends ClientFlags {
  readonly target?: string;
  readonly output?: "json";
  readonly ctNext: readonly string[];
}

function registerTrace(program: Command): void {
  client(program, "trace", "tell what would become of a packet: which flows it meets, and where it ends")
    .argument("<port>", "the port it comes in by: its name, or its number where only one bridge has that")
    .argument("[packet]", "a flow as ovs-ofctl writes it (tcp,nw_dst=10.0.0.2,tp_dst=80), or a frame in hex")
    .option("-t, --target <socket>", "path of the daemon's control socket (default: DIR/vswitchd.ctl)")
    .option(
      "--ct-next <flags>",
      "what the next ct() finds, for example est,trk; may be repeated",
      collect,
      [],
    )
    .addOption(new Option("-o, --output <format>", "json instead of a story").choices(["json"]))
    .action(async (port: string, packet: string | undefined, flags: TraceFlags) => {
      const states = flags.ctNext.flatMap((state) => ["--ct-next", state]);
      const target = flags.target ?? switchSocket(flags.dir, "vswitchd.ctl");
      const args = [port, packet ?? "", ...states];
      const request = {
        socket: target,
        timeoutMs: flags.timeout * 1000,
        format: flags.output ?? ("text" as const),
      };
      const answer = await askUnixctl("plinth/trace", args, request).catch((thrown) => {
        throw isUnreachable(thrown) ? withRemedy(thrown) : thrown;
      });
      process.stdout.write(typeof answer === "string" ? answer : `${JSON.stringify(answer, null, 2)}\n`);
    });
}

function isUnreachable(thrown: unknown): thrown is PlinthError {
  return thrown instanceof PlinthError && thrown.code === "RPC_UNREACHABLE";
}

function withRemedy(cause: PlinthError): PlinthError {
  const remedy = "is plinth vswitchd running? --dir names its directory";
  return new PlinthError(cause.code, cause.message, { cause, remedy });
}

function client(program: Command, name: string, description: string): Command {
  return withTimeout(withPartDir(program.command(name).description(description), "vswitchd"), TIMEOUT);
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}
