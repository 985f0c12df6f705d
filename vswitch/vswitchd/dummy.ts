// What --enable-dummy changes: ports and datapaths without devices, as Open vSwitch's own tests want them. Pure.
// Source: ovs-vswitchd --enable-dummy: "dummy" types beside the others, in place of "system", or in place of all.

export type DummyMode = "off" | "beside" | "system" | "override";

/** Interface types that there are because of the mode. */
export function dummyTypes(mode: DummyMode): readonly string[] {
  return mode === "off" ? [] : ["dummy", "dummy-internal", "dummy-pmd"];
}

/** Whether an Interface of this type is a dummy port. */
export function isDummyPort(type: string, mode: DummyMode): boolean {
  if (mode === "off") return false;
  if (type === "internal" || dummyTypes(mode).includes(type)) return true;
  if (type === "" || type === "system") return mode !== "beside";
  return type === "tap" && mode === "override";
}

/** The type of a port as dpif/show has it. */
export function shownType(type: string, isDummy: boolean): string {
  if (type === "internal" && isDummy) return "dummy-internal";
  return type === "" ? "system" : type;
}

/** Addresses of dummy ports, in the order in which they are asked for: aa:55:aa:55:00:00 and on. A row keeps its own. */
export class DummyAddresses {
  readonly #numbers = new Map<string, number>();

  of(uuid: string): string {
    const number = this.#numbers.get(uuid) ?? this.#numbers.size;
    this.#numbers.set(uuid, number);
    const hex = (byte: number): string => (byte & 0xff).toString(16).padStart(2, "0");
    return `aa:55:aa:55:${hex(number >> 8)}:${hex(number)}`;
  }
}

/** Whether `word` means this datapath: "TYPE@NAME" or its name alone. */
export function isNamed(datapath: string, word: string): boolean {
  return datapath === word || datapath.split("@")[1] === word;
}

/** The one datapath that carries all bridges, where there are no dummies. */
export const DATAPATH = "netdev@plinth";

/** The datapath that a bridge with this `datapath_type` is on, as "TYPE@NAME"; undefined when there is no such type. */
export function datapathOf(type: string, mode: DummyMode): string | undefined {
  const known = type === "" || type === "netdev" || type === "system" || (type === "dummy" && mode !== "off");
  if (!known) return undefined;
  if (mode === "off") return DATAPATH;
  const shown = type === "" ? "system" : type;
  return `${shown}@ovs-${shown}`;
}
