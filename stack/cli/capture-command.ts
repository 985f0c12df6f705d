// `plinth capture`: frames of a running switch as pcapng, into a file, a ring of files, or a pipe.
import { type Command, InvalidArgumentError, Option } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { type CaptureOutcome, DROP_REASONS, FileSink, runCapture, StreamSink } from "../../vswitch/index.js";
import { parseQuantity } from "../resources/index.js";
import { seconds, wholeNumber, withPartDir } from "./options.js";
import { switchSocket } from "./tool-command.js";

const DAY = 86_400;
const SNAP_LENGTH_MAX = 262_144;
const RATE_DEFAULT = 100_000;

interface CaptureFlags {
  readonly dir?: string;
  readonly write?: string;
  readonly direction?: string;
  readonly flow?: string;
  readonly drops?: string | true;
  readonly match?: string;
  readonly snaplen?: number;
  readonly count?: number;
  readonly duration?: number;
  readonly rotate?: number;
  readonly files?: number;
  readonly rate: number;
  readonly buffer?: number;
}

export function register(program: Command): void {
  const command = program
    .command("capture")
    .description("write frames of a running switch as pcapng, for tshark, wireshark and the like")
    .argument("[where...]", "a bridge, or ports of it: NAME, BRIDGE/NAME, BRIDGE/NUMBER, BRIDGE/LOCAL");
  withPartDir(command, "vswitchd")
    .option("-w, --write <file>", "where to; - is standard output (default: standard output, if no terminal)")
    .addOption(
      new Option("-Q, --direction <direction>", "of ports: what comes in, leaves, or both")
        .choices(["in", "out", "both"])
        .conflicts(["flow", "drops"]),
    )
    .option("--flow <flow>", "instead: packets as they meet a flow that dump-flows would select by this")
    .addOption(
      new Option(
        "--drops [reasons]",
        "instead: packets as they are dropped, for these reasons or any",
      ).conflicts("flow"),
    )
    .option("-f, --match <flow>", "only packets that match this, as ovs-ofctl writes it: tcp,tp_dst=80")
    .option("-s, --snaplen <bytes>", "of each frame, at most", wholeNumber(1, SNAP_LENGTH_MAX))
    .option("-c, --count <frames>", "end after so many", wholeNumber(1, 999_999_999))
    .option("-a, --duration <seconds>", "end after so long", seconds(DAY * 365))
    .option("--rotate <size>", "begin a new file FILE_00001 … after so many bytes, e.g. 10MiB", parseSize)
    .option("--files <number>", "with --rotate: keep the newest so many", wholeNumber(1, 100_000))
    .option(
      "--rate <frames>",
      "a second, at most; what is over it is left out and counted; 0 = no bound",
      wholeNumber(0, 999_999_999),
      RATE_DEFAULT,
    )
    .option(
      "--buffer <size>",
      "of the ring between switch and capture, 256KiB to 64MiB (default: 8MiB)",
      parseBuffer,
    )
    .addHelpText("after", HELP)
    .action(capture);
}

const HELP = `
Reasons of --drops: ${DROP_REASONS.join(", ")}.

Each frame is marked as inbound or outbound; a port is an interface of the file. With --flow and --drops a comment
tells table, cookie, priority and reason, and the interface is the port that the packet came in by.

Examples:
  plinth capture br-int -w trace.pcapng -c 100
  plinth capture p1 --match icmp | tshark -r -
  plinth capture --drops table-miss,no-output -w - | wireshark -k -i -
  plinth capture br-int --flow 'table=3,cookie=0x10/-1' -w hits.pcapng --rotate 10MiB --files 5
`;

async function capture(where: readonly string[], flags: CaptureFlags): Promise<void> {
  if (flags.files !== undefined && flags.rotate === undefined)
    throw new PlinthError("CAPTURE_INVALID", "--files needs --rotate");
  const toOutput = flags.write === undefined || flags.write === "-";
  if (flags.rotate !== undefined && toOutput)
    throw new PlinthError("CAPTURE_INVALID", "--rotate needs --write FILE");
  if (flags.write === undefined && process.stdout.isTTY)
    throw new PlinthError(
      "CAPTURE_INVALID",
      "a capture is nothing for a terminal: say --write FILE, or pipe",
    );
  const sink = toOutput
    ? new StreamSink(process.stdout)
    : new FileSink(flags.write as string, { sizeMax: flags.rotate, filesMax: flags.files });
  const outcome = await runCapture({
    socket: switchSocket(flags.dir, "capture.sock"),
    request: requestOf(where, flags),
    sink,
    durationMs: flags.duration === undefined ? undefined : flags.duration * 1000,
    interrupted: new Promise((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve());
    }),
  });
  process.stderr.write(summary(outcome));
}

function requestOf(where: readonly string[], flags: CaptureFlags): Record<string, unknown> {
  const { direction, flow, drops, match, snaplen, count, rate, buffer } = flags;
  const reasons = drops === true ? [] : drops?.split(",").map((reason) => reason.trim());
  const given = { where, direction, flow, drops: reasons, match, snapLength: snaplen, count, rate, buffer };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function summary({ frames, matched, lost }: CaptureOutcome): string {
  const losses =
    lost === 0
      ? "none lost"
      : `${lost} of ${matched} lost: the capture was too slow, or they came faster than --rate`;
  return `${frames} frames captured, ${losses}\n`;
}

function parseSize(text: string): number {
  const bytes = parseQuantity(text);
  if (bytes === undefined || bytes < 1) throw new InvalidArgumentError("expected a size such as 10MiB");
  return Math.ceil(bytes);
}

/** The ring's size is a power of two. */
function parseBuffer(text: string): number {
  return 2 ** Math.ceil(Math.log2(parseSize(text)));
}
