// What a run may have left on the machine: processes and sockets that name its directory, network namespaces.
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Command lines of the processes, other than this one, that mention `text`. */
export function processesMentioning(text: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")];
      } catch {
        return []; // Ended between listing and reading.
      }
    })
    .filter((line) => line.includes(text));
}

/** Paths of the sockets anywhere below `dir`. */
export function socketsBelow(dir: string): string[] {
  return (readdirSync(dir, { recursive: true }) as string[])
    .map((name) => join(dir, name))
    .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true);
}

/** Names of the network namespaces that `ip netns` knows. */
export function networkNamespaces(): string[] {
  return existsSync("/run/netns") ? readdirSync("/run/netns").sort() : [];
}
