// `plinth volume rewind|set|undelete|schedule|rename …`: what concerns a volume's past and future. Thread: main.
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import type { VolumeView } from "../../storage-pool/index.js";
import { formatBytes } from "../resources/quantity.js";
import { describeDuration, parseDuration, parseMoment } from "./moment.js";
import { wholeNumber } from "./options.js";
import { show } from "./output.js";
import { call, type Flags, type Params, parseRate, showProgress, withFlags } from "./storage-call.js";

/** Looking through a long history takes its time. */
const REWIND_TIMEOUT_MS = 3_600_000;
const POLL_MS = 200;

interface LimitFlags {
  readonly iops?: number;
  readonly bandwidth?: number;
  readonly burst?: number;
}

export function limitParams({ iops, bandwidth, burst }: LimitFlags): Params {
  return {
    ...(iops === undefined ? {} : { iops }),
    ...(bandwidth === undefined ? {} : { bytesPerSecond: bandwidth }),
    ...(burst === undefined ? {} : { burstSeconds: burst }),
  };
}

export function limitsText({ limits }: VolumeView): string {
  if (limits === undefined) return "no limits";
  const { iops, bytesPerSecond, burstSeconds } = limits;
  const rates = [
    ...(iops === 0 ? [] : [`${iops} requests/s`]),
    ...(bytesPerSecond === 0 ? [] : [`${formatBytes(bytesPerSecond)}/s`]),
  ];
  return `at most ${rates.join(" and ")}, ${describeDuration(burstSeconds)} saved up`;
}

export function registerTimeVerbs(volume: Command): void {
  withFlags(
    volume
      .command("rewind <name>")
      .description(
        "put a detached volume back to any second of its rewind window, or look at it as it was then",
      )
      .requiredOption(
        "--to <time>",
        'e.g. 2026-03-01T12:00:05Z, "2026-03-01 12:00:05", 12:00:05, "5m ago"',
        (text) => parseMoment(text, Date.now()),
      )
      .option("--into <volume>", "leave the volume as it is, and make a new one as it was then"),
  ).action(async (name: string, flags: Flags & { to: string; into?: string }) => {
    const into = flags.into === undefined ? {} : { into: flags.into };
    const made = await withProgress(
      flags,
      name,
      call(flags, "volume.rewind", { name, to: flags.to, ...into }, REWIND_TIMEOUT_MS),
    );
    show(flags, made, () => `volume ${(made as VolumeView).name} is as ${name} was at ${flags.to}`);
  });
  withFlags(
    volume
      .command("set <name>")
      .description("change how a volume is kept, and how much of the pool's time it may take")
      .option("--rewind <window>", "how far back it can be rewound, e.g. 1h, 7d; off", parseDuration)
      .option("--iops <n>", "at most so many requests each second; 0: any", wholeNumber(0, 100_000_000))
      .option("--bandwidth <size>", "at most so many bytes each second, e.g. 100MiB; 0: any", parseRate)
      .option("--burst <time>", "how much is saved up while less is used, e.g. 10s", parseDuration)
      .option("--compression <how>", "how what was not written for a while is packed: none, deflate"),
  ).action(async (name: string, flags: Flags & LimitFlags & { rewind?: number; compression?: string }) => {
    const rewind = flags.rewind === undefined ? {} : { rewindSeconds: flags.rewind };
    const packing = flags.compression === undefined ? {} : { compression: flags.compression };
    const params = { ...rewind, ...packing, ...limitParams(flags) };
    if (Object.keys(params).length === 0) {
      throw new PlinthError("PARAMETER_INVALID", "nothing to change was given", {
        remedy: "give --rewind, --iops, --bandwidth, --burst or --compression",
      });
    }
    const made = (await call(flags, "volume.set", { name, ...params })) as VolumeView;
    const window =
      made.rewindSeconds === 0
        ? "cannot be rewound"
        : `can be rewound ${describeDuration(made.rewindSeconds)}`;
    const packed = made.compression === "none" ? "" : `; compression ${made.compression}`;
    show(flags, made, () => `volume ${made.name} ${window}; ${limitsText(made)}${packed}`);
  });
  withFlags(
    volume
      .command("undelete <name>")
      .description(
        "bring a deleted volume back with its snapshots; `plinth volume list --deleted` shows them",
      )
      .option("--as <volume>", "under another name")
      .option("--id <number>", "which one, when several had the name", wholeNumber(1, 2 ** 32 - 1)),
  ).action(async (name: string, flags: Flags & { as?: string; id?: number }) => {
    const which = flags.id === undefined ? {} : { id: flags.id };
    const params = { name, ...which, ...(flags.as === undefined ? {} : { as: flags.as }) };
    const back = (await call(flags, "volume.undelete", params)) as VolumeView;
    show(flags, back, () => `volume ${back.name} is back`);
  });
  withFlags(
    volume
      .command("accept <name>")
      .description(
        "take what is left of a volume whose log may have ended on a disk that was given up: what was flushed last may be missing",
      ),
  ).action(async (name: string, flags: Flags) => {
    const taken = (await call(flags, "volume.accept", { name }, REWIND_TIMEOUT_MS)) as VolumeView;
    show(
      flags,
      taken,
      () => `volume ${taken.name} is served as it was at some moment before the disk was lost`,
    );
  });
  withFlags(
    volume
      .command("rename <name> <to>")
      .description("give a detached volume another name")
      .option("--force", "though a Volume of the API would make one of the old name anew, empty", false),
  ).action(async (name: string, to: string, flags: Flags & { force: boolean }) => {
    const made = (await call(flags, "volume.rename", { name, to, force: flags.force })) as VolumeView;
    show(flags, made, () => `volume ${name} is ${made.name} now`);
  });
  withFlags(
    volume
      .command("schedule <name> <schedule>")
      .description(
        "make snapshots by the clock (UTC): hourly, daily, weekly, monthly, or one of your own with --cron",
      )
      .option("--cron <fields>", 'five fields, e.g. "30 2 * * *"')
      .option(
        "--keep <count>",
        "how many of its snapshots are kept (default: hourly 24, daily 7, weekly 4, monthly 12, others 10)",
        wholeNumber(1, 1023),
      )
      .option("--remove", "no more of them; those that are there stay", false),
  ).action(
    async (
      name: string,
      schedule: string,
      flags: Flags & { cron?: string; keep?: number; remove: boolean },
    ) => {
      const { cron, keep, remove } = flags;
      if (remove) await refuseUnknown(flags, name, schedule);
      const given = { ...(cron === undefined ? {} : { cron }), ...(keep === undefined ? {} : { keep }) };
      const made = (await call(flags, "volume.schedule", { name, schedule, remove, ...given })) as VolumeView;
      const set = made.schedules.find((each) => each.name === schedule);
      const text =
        set === undefined
          ? `no ${schedule} snapshots any more`
          : `${schedule} snapshots: "${set.cron}", keeps ${set.keep}`;
      show(flags, made, () => `volume ${made.name}: ${text}`);
    },
  );
}

/** A name with a slip in it would leave the schedule that was meant going on. */
async function refuseUnknown(flags: Flags, name: string, schedule: string): Promise<void> {
  const { schedules } = (await call(flags, "volume.get", { name })) as VolumeView;
  if (schedules.some((each) => each.name === schedule)) return;
  throw new PlinthError("SCHEDULE_NOT_FOUND", `volume ${name} has no schedule ${schedule}`, {
    remedy: `its schedules: ${schedules.map((each) => each.name).join(", ") || "none"}`,
  });
}

async function withProgress(flags: Flags, name: string, work: Promise<unknown>): Promise<unknown> {
  let ended = false;
  const ends = work.finally(() => {
    ended = true;
  });
  ends.catch(() => undefined);
  while (!ended) {
    await Promise.race([ends.catch(() => undefined), sleep(POLL_MS)]);
    if (ended) break;
    const progress = (await call(flags, "volume.rewindProgress", { name }).catch(() => ({}))) as {
      doneBytes?: number;
      totalBytes?: number;
    };
    if (progress.totalBytes !== undefined)
      showProgress(flags, `rewind ${name}`, progress.doneBytes ?? 0, progress.totalBytes);
  }
  showProgress(flags, "", 0, 0);
  return ends;
}
