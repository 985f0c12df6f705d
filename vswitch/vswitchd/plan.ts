// What must be done to make the switch as the model asks: a difference as a list of actions. Pure.
// Invariant: after all actions were carried out, planning again gives none.
import {
  type BridgeConfig,
  type NumberedPort,
  OFPORT_LOCAL,
  OFPORT_MAX,
  type PortConfig,
  type SwitchConfig,
} from "./model.js";

/** A bridge as it was carried out. */
export interface AppliedBridge {
  readonly config: BridgeConfig;
  readonly ports: ReadonlyMap<string, NumberedPort>;
}

export type AppliedSwitch = ReadonlyMap<string, AppliedBridge>;

export type Action =
  | { readonly kind: "retireBridge"; readonly name: string }
  | { readonly kind: "removePort"; readonly bridge: string; readonly name: string }
  | { readonly kind: "removeBridge"; readonly name: string }
  | { readonly kind: "addBridge"; readonly config: BridgeConfig }
  | { readonly kind: "setBridge"; readonly config: BridgeConfig }
  | { readonly kind: "addPort"; readonly bridge: string; readonly port: NumberedPort }
  | { readonly kind: "setPort"; readonly bridge: string; readonly port: NumberedPort };

/** Removals come first, so that names, numbers and sockets are free for what follows. */
export function plan(applied: AppliedSwitch, model: SwitchConfig): Action[] {
  const removals: Action[] = [];
  const bridges: Action[] = [];
  const ports: Action[] = [];
  const wanted = new Map(
    model.bridges.filter(({ error }) => error === undefined).map((bridge) => [bridge.config.name, bridge]),
  );
  for (const [name, bridge] of applied) {
    if (isSameBridge(wanted.get(name)?.config, bridge.config)) continue;
    removals.push({ kind: "retireBridge", name });
    for (const port of bridge.ports.keys()) removals.push({ kind: "removePort", bridge: name, name: port });
    removals.push({ kind: "removeBridge", name });
  }
  for (const [name, { config, ports: wantedPorts }] of wanted) {
    const before = applied.get(name);
    const same = isSameBridge(before?.config, config) ? before : undefined;
    if (same === undefined) bridges.push({ kind: "addBridge", config });
    else if (!equal(same.config, config)) bridges.push({ kind: "setBridge", config });
    planPorts(
      name,
      same?.ports ?? new Map(),
      numberPorts(name, wantedPorts, same?.ports ?? new Map()),
      removals,
      ports,
    );
  }
  return [...removals, ...bridges, ...ports];
}

/** On another datapath it is another bridge. */
function isSameBridge(a: BridgeConfig | undefined, b: BridgeConfig): boolean {
  return a?.uuid === b.uuid && a.datapath === b.datapath;
}

function planPorts(
  bridge: string,
  applied: ReadonlyMap<string, NumberedPort>,
  wanted: ReadonlyMap<string, NumberedPort>,
  removals: Action[],
  changes: Action[],
): void {
  for (const [name, before] of applied) {
    const after = wanted.get(name);
    if (after === undefined || !sameDevice(before, after))
      removals.push({ kind: "removePort", bridge, name });
  }
  for (const [name, port] of wanted) {
    const before = applied.get(name);
    if (before === undefined || !sameDevice(before, port)) changes.push({ kind: "addPort", bridge, port });
    else if (!equal(changeable(before), changeable(port))) changes.push({ kind: "setPort", bridge, port });
  }
}

/** The number of each port that can be made: as requested, as it is, as it was before a restart, or the next free. */
function numberPorts(
  bridge: string,
  ports: readonly PortConfig[],
  applied: ReadonlyMap<string, NumberedPort>,
): Map<string, NumberedPort> {
  const numbers = new Map<string, number>();
  const taken = new Set<number>();
  const usable = ports.filter(({ error }) => error === undefined);
  const claim = (name: string, ofport: number | undefined): void => {
    if (ofport === undefined || numbers.has(name) || taken.has(ofport)) return;
    numbers.set(name, ofport);
    taken.add(ofport);
  };
  const ordinary = (ofport: number | undefined): number | undefined =>
    ofport !== undefined && ofport >= 1 && ofport <= OFPORT_MAX ? ofport : undefined;
  for (const { name } of usable) if (name === bridge) claim(name, OFPORT_LOCAL);
  for (const { name, ofportRequest } of usable) claim(name, ordinary(ofportRequest));
  for (const { name } of usable) claim(name, ordinary(applied.get(name)?.ofport));
  for (const { name, ofportBefore } of usable) claim(name, ordinary(ofportBefore));
  let next = 1;
  for (const { name } of usable) {
    while (taken.has(next) && next <= OFPORT_MAX) next++;
    if (next <= OFPORT_MAX) claim(name, next);
  }
  const numbered = new Map<string, NumberedPort>();
  for (const port of usable) {
    const ofport = numbers.get(port.name);
    if (ofport !== undefined) numbered.set(port.name, { ...port, ofport });
  }
  return numbered;
}

/** What makes a port another one, and what says why it has its number, or has none. */
type DeviceField =
  | ("uuid" | "name" | "type" | "isDummy" | "options")
  | ("ofport" | "ofportRequest" | "ofportBefore" | "error");

/** What can be changed while the port stays. */
function changeable({
  vlan,
  isProtected,
  policing,
  qos,
  unsupported,
  affinity,
  macAddress,
  mtu,
}: NumberedPort): Omit<NumberedPort, DeviceField> {
  const more = affinity === undefined ? {} : { affinity };
  return { vlan, isProtected, policing, qos, unsupported, macAddress, mtu, ...more };
}

/** True when only what is changeable may differ. */
function sameDevice(a: NumberedPort, b: NumberedPort): boolean {
  return (
    a.uuid === b.uuid &&
    a.type === b.type &&
    a.ofport === b.ofport &&
    equal(sorted(a.options), sorted(b.options))
  );
}

function sorted(options: Readonly<Record<string, string>>): [string, string][] {
  return Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1));
}

function equal(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
