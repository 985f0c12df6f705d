// Names of options of tunnels. Pure. Thread: any.
const PREFIX = "tun_metadata";

/** N of "tun_metadataN"; −1 for any other field. */
export function optionNumber(name: string): number {
  return name.startsWith(PREFIX) ? Number(name.slice(PREFIX.length)) : -1;
}
