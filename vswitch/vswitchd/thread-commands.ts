// What ovs-appctl can ask of the thread that forwards: dpif-netdev/pmd-stats-show, pmd-perf-show, pmd-rxq-show and
// pmd-stats-clear. The first thread is the one
// that forwards, the others serve ports for it; their cycles are nanoseconds.
// The compact keys and known connections stand where Open vSwitch has its exact match cache, whole keys where it has its
// signature match cache, masked keys where it has its megaflows; what goes through the tables is what it calls a miss. Source: ovs-vswitchd(8), dpif-netdev(7).
import { PlinthError } from "../../base/errors/index.js";
import type { UnixctlAnswer, UnixctlCommand } from "../cli/unixctl-server.js";
import type { CoreStatus, DatapathHandle, ThreadCounters, ThreadStatus } from "../datapath/index.js";
import { command } from "./commands.js";
import { DATAPATH } from "./dummy.js";

export function threadCommands(
  datapath: Pick<DatapathHandle, "threads" | "rebalancePorts">,
): Record<string, UnixctlCommand> {
  /** By core, what had been counted when somebody cleared it. */
  const cleared = new Map<number, ThreadCounters>();
  /** Of the threads that are asked for, what was counted since. */
  const counted = async (args: readonly string[]): Promise<Counted[]> =>
    (await asked(args)).map(({ core, status }) => ({ core, data: since(status, cleared.get(core)) }));
  const asked = async (words: readonly string[]): Promise<readonly CoreStatus[]> => {
    const core = coreAsked(words);
    const all = await datapath.threads();
    return core === undefined ? all : all.filter((one) => one.core === core);
  };
  return {
    "dpif-netdev/pmd-stats-show": command("[-pmd core] [dp]", 0, 3, async (args): Promise<UnixctlAnswer> => {
      const all = await counted(args);
      return { text: all.map(formatStats).join(""), data: dataOf(all) };
    }),
    "dpif-netdev/pmd-perf-show": command(
      "[-nh] [-it iter-history-len] [-ms ms-history-len] [-pmd core] [dp]",
      0,
      8,
      async (args): Promise<UnixctlAnswer> => {
        const all = await counted(
          args.filter((word, i) => word !== "-nh" && !isHistory(word) && !isHistory(args[i - 1])),
        );
        const now = new Date();
        return { text: all.map((one) => formatPerformance(one, now)).join(""), data: dataOf(all) };
      },
    ),
    "dpif-netdev/pmd-rxq-show": command(
      "[-pmd core] [-secs secs] [dp]",
      0,
      5,
      async (args): Promise<UnixctlAnswer> => {
        const all = await asked(args.filter((word, i) => word !== "-secs" && args[i - 1] !== "-secs"));
        const data = all.map(({ core, isIsolated, status: { windowMs, ports } }) => ({
          ...{ core, isIsolated, windowMs, ports },
        }));
        return { text: formatQueues(all), data: data.length === 1 ? data[0] : data };
      },
    ),
    "dpif-netdev/pmd-rxq-rebalance": command("[dp]", 0, 1, async (args) => {
      coreAsked(args);
      await datapath.rebalancePorts();
      return "pmd rxq rebalance requested.\n";
    }),
    "dpif-netdev/pmd-stats-clear": command("[-pmd core] [dp]", 0, 3, async (args) => {
      for (const { core, status } of await asked(args)) cleared.set(core, status);
      return "";
    }),
  };
}

interface Counted {
  readonly core: number;
  readonly data: ThreadCounters;
}

/** One thread as itself, several by their cores. */
function dataOf(all: readonly Counted[]): unknown {
  return all.length === 1 ? all[0]!.data : all.map(({ core, data }) => ({ core, ...data }));
}

function headOf(core: number): string {
  return `pmd thread numa_id 0 core_id ${core}:`;
}

function isHistory(word: string | undefined): boolean {
  return word === "-it" || word === "-ms";
}

/** The core that the words, "-pmd core" and the name of a datapath, ask for; undefined: all. Throws DATAPATH_UNKNOWN. */
function coreAsked(words: readonly string[]): number | undefined {
  const at = words.indexOf("-pmd");
  const rest = words.filter((_, i) => at < 0 || (i !== at && i !== at + 1));
  if (rest.some((word) => word !== DATAPATH))
    throw new PlinthError("DATAPATH_UNKNOWN", "please specify an existing datapath");
  return at < 0 ? undefined : Number(words[at + 1]);
}

/** What was counted since `before`. */
function since(now: ThreadStatus, before: ThreadCounters | undefined): ThreadCounters {
  if (before === undefined) return now;
  const entries = Object.entries(before).filter(([, value]) => typeof value === "number");
  const changed = entries.map(([name, value]) => [
    name,
    Math.max(0, (now[name as keyof ThreadCounters] as number) - (value as number)),
  ]);
  return Object.fromEntries(changed) as unknown as ThreadCounters;
}

function passesOf({ verdictHits, maskedHits, pathHits, misses, received }: ThreadCounters): number {
  return Math.max(received, verdictHits + maskedHits + pathHits + misses);
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

function cycles(ms: number): number {
  return Math.round(ms * 1e6);
}

function formatStats({ core, data: one }: Counted): string {
  const { received, busyMs, idleMs } = one;
  const passes = passesOf(one);
  const used = busyMs + idleMs;
  const share = (ms: number) => `${cycles(ms)} (${(100 * ratio(ms, used)).toFixed(2)}%)`;
  const lines = [
    `packets received: ${received}`,
    `packet recirculations: ${passes - received}`,
    `avg. datapath passes per packet: ${ratio(passes, received).toFixed(2)}`,
    "phwol hits: 0",
    "mfex opt hits: 0",
    "simple match hits: 0",
    `emc hits: ${one.verdictHits}`,
    `smc hits: ${one.pathHits}`,
    `megaflow hits: ${one.maskedHits}`,
    `avg. subtable lookups per megaflow hit: ${ratio(one.maskedLooks, one.maskedHits).toFixed(2)}`,
    `miss with success upcall: ${one.misses}`,
    "miss with failed upcall: 0",
    `avg. packets per output batch: ${ratio(one.sent, one.batches).toFixed(2)}`,
    `idle cycles: ${share(idleMs)}`,
    `processing cycles: ${share(busyMs)}`,
  ];
  if (received > 0) {
    const each = (ms: number) => `${ratio(cycles(ms), received).toFixed(2)} (${cycles(ms)}/${received})`;
    lines.push(`avg cycles per packet: ${each(used)}`, `avg processing cycles per packet: ${each(busyMs)}`);
  }
  return `${headOf(core)}\n${lines.map((line) => `  ${line}\n`).join("")}`;
}

function formatPerformance({ core, data: one }: Counted, now: Date): string {
  const { breaths, busyBreaths, sleeps, received, sent, batches, elapsedMs } = one;
  const used = one.busyMs + one.idleMs;
  const passes = passesOf(one);
  const percent = (part: number, whole: number) => `${(100 * ratio(part, whole)).toFixed(1).padStart(5)} %`;
  const row = (label: string, value: number, more = "") =>
    `  ${label.padEnd(20)}${String(Math.round(value)).padStart(15)}${more === "" ? "" : `  (${more})`}`;
  const thousands = (count: number) => `${Math.round(ratio(count, elapsedMs))} Kpps`;
  const stage = (label: string, ms: number) =>
    row(`- ${label}:`, cycles(ms), `${ratio(cycles(ms), received).toFixed(0)} cycles/pkt`);
  const lines = [
    row("Iterations:", breaths, `${ratio(used * 1000, breaths).toFixed(2)} us/it`),
    row("- Used TSC cycles:", cycles(used), `${percent(used, elapsedMs)} of total cycles`),
    row("- idle iterations:", breaths - busyBreaths, `${percent(one.idleMs, used)} of used cycles`),
    row("- busy iterations:", busyBreaths, `${percent(one.busyMs, used)} of used cycles`),
    row("- sleep iterations:", sleeps, `${percent(sleeps, breaths)} of iterations`),
    row(
      "Sleep time (us):",
      one.sleepMs * 1000,
      `${ratio(one.sleepMs * 1000, sleeps).toFixed(0)} us/iteration avg.`,
    ),
    row(
      "Rx packets:",
      received,
      `${thousands(received)}, ${ratio(cycles(used), received).toFixed(0)} cycles/pkt`,
    ),
  ];
  if (received > 0) {
    lines.push(
      stage("receiving", one.receiveMs),
      stage("forwarding", one.forwardMs),
      stage("transmitting", one.transmitMs),
      row("Datapath passes:", passes, `${ratio(passes, received).toFixed(2)} passes/pkt`),
      row("- EMC hits:", one.verdictHits, percent(one.verdictHits, passes)),
      row("- SMC hits:", one.pathHits, percent(one.pathHits, passes)),
      row(
        "- Megaflow hits:",
        one.maskedHits,
        `${percent(one.maskedHits, passes)}, ${ratio(one.maskedLooks, one.maskedHits).toFixed(2)} subtbl lookups/hit`,
      ),
      row("- Upcalls:", one.misses, percent(one.misses, passes)),
    );
  }
  lines.push(row("Tx packets:", sent, thousands(sent)));
  if (batches > 0) lines.push(row("Tx batches:", batches, `${ratio(sent, batches).toFixed(2)} pkts/batch`));
  const time = now.toISOString().slice(11, 23);
  const seconds = (elapsedMs / 1000).toFixed(3);
  return `\nTime: ${time}\nMeasurement duration: ${seconds} s\n\n${headOf(core)}\n\n${lines.join("\n")}\n`;
}

function formatQueues(all: readonly CoreStatus[]): string {
  const windowMs = Math.max(0, ...all.map(({ status }) => status.windowMs));
  const head = `Displaying last ${Math.max(1, Math.round(windowMs / 1000))} seconds pmd usage %\n`;
  return all.length === 0 ? "" : `${head}${all.map(formatThread).join("")}`;
}

function formatThread({ core, isIsolated, status }: CoreStatus): string {
  const rows = [...status.ports]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name, queues }) =>
      queues.map(({ queue, isEnabled, usage }) => {
        const state = isEnabled ? "(enabled) " : "(disabled)";
        const share = `${Math.round(100 * usage)}`.padStart(2);
        return `  port: ${name.padEnd(16)}  queue-id: ${`${queue}`.padStart(2)} ${state}  pmd usage: ${share} %\n`;
      }),
    );
  return `${headOf(core)}\n  isolated : ${isIsolated}\n${rows.join("")}  overhead:  0 %\n`;
}
