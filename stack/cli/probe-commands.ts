// `plinth probe`: a health check by hand, from this machine. Exit code 0 when anything answered, else 1, as ping does.
import { lookup } from "node:dns/promises";
import { type Command, Option } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { createIcmpAttempt, createTcpAttempt } from "../probe/attempt.js";
import { runProbe } from "../probe/run-probe.js";
import { seconds, wholeNumber } from "./options.js";
import { print } from "./output.js";

interface Flags {
  readonly tcp?: number;
  readonly icmp?: true;
  readonly count: number;
  readonly interval: number;
  readonly timeout: number;
}

export function register(program: Command): void {
  program
    .command("probe <address>")
    .description("check by hand whether an address answers, from this machine")
    .addOption(
      new Option("--tcp <port>", "open a TCP connection to this port")
        .argParser(wholeNumber(1, 65_535, "a port"))
        .conflicts("icmp"),
    )
    .option("--icmp", "send ICMP echo requests (the default); needs the package raw-socket and CAP_NET_RAW")
    .option("--count <n>", "how many checks", wholeNumber(1, 1_000_000), 4)
    .option("--interval <seconds>", "from one check to the next", seconds(3600), 1)
    .option("--timeout <seconds>", "how long an answer may take", seconds(600), 1)
    .addHelpText(
      "after",
      "\nEnds with 0 when at least one check was answered, else with 1. Ctrl-C prints the summary.\n",
    )
    .action(probe);
}

async function probe(name: string, flags: Flags): Promise<void> {
  const { tcp: port } = flags;
  const timeoutMs = flags.timeout * 1000;
  const address = await resolveName(name, port === undefined ? 4 : 0);
  const attempt =
    port === undefined ? createIcmpAttempt(address, timeoutMs) : createTcpAttempt(address, port, timeoutMs);
  const what = port === undefined ? address : `${address} port ${port}`;
  const stop = new AbortController();
  const interrupt = (): void => stop.abort();
  process.once("SIGINT", interrupt);
  try {
    print(`probing ${what} by ${port === undefined ? "ICMP echo" : "TCP"}, every ${flags.interval} s`);
    const { answered } = await runProbe(attempt, {
      what,
      count: flags.count,
      intervalMs: flags.interval * 1000,
      signal: stop.signal,
      print,
    });
    if (answered === 0) process.exitCode = 1;
  } finally {
    process.off("SIGINT", interrupt);
  }
}

/** `family` 0: IPv4 or IPv6, as the system prefers. Throws ADDRESS_UNKNOWN. */
async function resolveName(name: string, family: 0 | 4): Promise<string> {
  const found = await lookup(name, { family }).catch((thrown: unknown) => thrown);
  // An IPv6 address is found whatever family is asked for.
  if (isLookup(found) && (family === 0 || found.family === family)) return found.address;
  const kind = family === 4 ? "an IPv4 address" : "an address";
  throw new PlinthError("ADDRESS_UNKNOWN", `${JSON.stringify(name)} is not ${kind} and no name of one`, {
    cause: found,
  });
}

function isLookup(found: unknown): found is { readonly address: string; readonly family: number } {
  return typeof (found as { address?: unknown } | null)?.address === "string";
}
