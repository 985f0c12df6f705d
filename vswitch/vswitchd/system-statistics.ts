// What Open_vSwitch.statistics tells about the machine and this daemon, when other_config:enable-statistics asks for it.
// Source: ovs-vswitchd.conf.db(5), Open_vSwitch, Statistics. The texts of /proc are parsed by pure functions.
import { readFileSync, statfsSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";

const FILE_SYSTEMS_MAX = 64;

/** The column's value now. What the system does not tell is left out. */
export function systemStatistics(name: string): Record<string, string> {
  const memory = memoryOf(readText("/proc/meminfo"));
  const fileSystems = mountPoints(readText("/proc/mounts")).flatMap(describeFileSystem);
  return {
    cpu: String(availableParallelism()),
    load_average: loadavg()
      .map((load) => load.toFixed(2))
      .join(","),
    ...(memory === undefined ? {} : { memory }),
    [`process_${name}`]: describeProcess(),
    ...(fileSystems.length === 0 ? {} : { file_systems: fileSystems.join(" ") }),
  };
}

/** Total, used, disposable, swap, used swap in KiB out of /proc/meminfo. */
export function memoryOf(text: string): string | undefined {
  const fields = new Map(
    [...text.matchAll(/^(\w+):\s+(\d+) kB$/gm)].map(([, name, kib]) => [name as string, Number(kib)]),
  );
  const total = fields.get("MemTotal");
  const free = fields.get("MemFree");
  if (total === undefined || free === undefined) return undefined;
  const disposable = (fields.get("Buffers") ?? 0) + (fields.get("Cached") ?? 0);
  const swap = fields.get("SwapTotal") ?? 0;
  return [total, total - free, disposable, swap, swap - (fields.get("SwapFree") ?? 0)].join(",");
}

/** Where devices are mounted, out of /proc/mounts; each device once. */
export function mountPoints(text: string): string[] {
  const devices = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [device = "", point = ""] = line.split(" ");
    // Blanks come as octal escapes; such a point would break the column's own format.
    if (device.startsWith("/") && !point.includes("\\") && !devices.has(device)) devices.set(device, point);
  }
  return [...devices.values()].slice(0, FILE_SYSTEMS_MAX);
}

/** Mount point, size and use in KiB; none for an empty file system or one that cannot be looked at. */
function describeFileSystem(point: string): string[] {
  try {
    const { bsize, blocks, bfree } = statfsSync(point);
    if (blocks === 0) return [];
    return [
      `${point},${Math.round((blocks * bsize) / 1024)},${Math.round(((blocks - bfree) * bsize) / 1024)}`,
    ];
  } catch {
    return [];
  }
}

/** Virtual and resident size in KiB, CPU time in ms, crashes, and how long it runs in ms (twice: it was booted once). */
function describeProcess(): string {
  const [pages = "0"] = readText("/proc/self/statm").split(" ");
  const { user, system } = process.cpuUsage();
  const uptimeMs = Math.round(process.uptime() * 1000);
  return [
    Number(pages) * 4,
    Math.round(process.memoryUsage.rss() / 1024),
    Math.round((user + system) / 1000),
    0,
    uptimeMs,
    uptimeMs,
  ].join(",");
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
