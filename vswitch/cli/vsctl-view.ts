// Bridges, ports and interfaces as the commands of vsctl name them: one VLAN of a bridge may be a bridge of its own, whose
// ports are those with that tag. Source: ovs-vsctl(8), Bridge Commands.
import type { OvsdbRow } from "../../base/ovsdb/index.js";
import type { Draft } from "./draft.js";
import { commandError } from "./errors.js";
import { root, type VsctlContext } from "./vsctl-context.js";

/** A bridge, real or one VLAN of another. */
export interface BridgeView {
  readonly name: string;
  /** Of the real one. */
  readonly row: OvsdbRow;
  /** The port that makes it, for a VLAN of another. */
  readonly fake: OvsdbRow | undefined;
  readonly vlan: number;
}

export interface PortView {
  readonly name: string;
  readonly row: OvsdbRow;
  readonly bridge: BridgeView;
}

export interface InterfaceView {
  readonly name: string;
  readonly row: OvsdbRow;
  readonly port: PortView;
}

/** By name; of two that are called the same the first counts. Rows that the line has destroyed count while referred to. */
export interface View {
  readonly bridges: ReadonlyMap<string, BridgeView>;
  /** With the local ports, and those that make VLAN bridges. */
  readonly ports: ReadonlyMap<string, PortView>;
  readonly interfaces: ReadonlyMap<string, InterfaceView>;
}

export function viewOf(context: VsctlContext): View {
  const { draft } = context;
  const bridges = new Map<string, BridgeView>();
  const ports = new Map<string, PortView>();
  const interfaces = new Map<string, InterfaceView>();
  const real = root(context)
    .strings("bridges")
    .flatMap((uuid) => draft.referredTo("Bridge", uuid) ?? []);
  for (const row of real) {
    const name = row.string("name");
    if (!bridges.has(name)) bridges.set(name, { name, row, fake: undefined, vlan: 0 });
  }
  for (const row of real) {
    const vlans = new Map<number, BridgeView>();
    for (const port of portsOf(draft, row)) {
      const name = port.string("name");
      const vlan = port.number("tag");
      if (!port.boolean("fake_bridge") || vlan === undefined || bridges.has(name)) continue;
      const fake = { name, row, fake: port, vlan };
      bridges.set(name, fake);
      vlans.set(vlan, fake);
    }
    const own = bridges.get(row.string("name")) as BridgeView;
    for (const port of portsOf(draft, row)) {
      const name = port.string("name");
      if (ports.has(name)) continue;
      const placed = { name, row: port, bridge: vlans.get(port.number("tag") ?? -1) ?? own };
      ports.set(name, placed);
      for (const one of interfacesOf(draft, port)) {
        const called = one.string("name");
        if (!interfaces.has(called)) interfaces.set(called, { name: called, row: one, port: placed });
      }
    }
  }
  return { bridges, ports, interfaces };
}

export function portsOf(draft: Draft, bridge: OvsdbRow): OvsdbRow[] {
  return (draft.referredTo("Bridge", bridge.uuid) ?? bridge)
    .strings("ports")
    .flatMap((uuid) => draft.referredTo("Port", uuid) ?? []);
}

export function interfacesOf(draft: Draft, port: OvsdbRow): OvsdbRow[] {
  return port.strings("interfaces").flatMap((uuid) => draft.referredTo("Interface", uuid) ?? []);
}

/** Throws COMMAND_FAILED where there is none, as all here do. */
export function mustFindBridge({ bridges }: View, name: string): BridgeView {
  const found = bridges.get(name);
  if (found === undefined) throw commandError(`no bridge named ${name}`);
  return found;
}

/** Also throws for a bridge that is a VLAN of another. */
export function mustFindRealBridge(view: View, name: string): BridgeView {
  const found = mustFindBridge(view, name);
  if (found.fake !== undefined) throw commandError(`${name} is a fake bridge`);
  return found;
}

/** No local port, and none that makes a VLAN bridge: those go with their bridge. */
export function findPort({ ports }: View, name: string): PortView | undefined {
  const found = ports.get(name);
  return found?.bridge.name === name ? undefined : found;
}

export function mustFindPort(view: View, name: string): PortView {
  const found = findPort(view, name);
  if (found === undefined) throw commandError(`no port named ${name}`);
  return found;
}

export function findInterface({ interfaces }: View, name: string): InterfaceView | undefined {
  const found = interfaces.get(name);
  return found?.port.bridge.name === name ? undefined : found;
}

export function mustFindInterface(view: View, name: string): InterfaceView {
  const found = findInterface(view, name);
  if (found === undefined) throw commandError(`no interface named ${name}`);
  return found;
}

/** Ports of the bridge but the one that makes it, and the interfaces of all. */
export function membersOf(
  { ports, interfaces }: View,
  bridge: BridgeView,
): { readonly ports: PortView[]; readonly interfaces: InterfaceView[] } {
  return {
    ports: [...ports.values()].filter((one) => one.bridge === bridge && one.name !== bridge.name),
    interfaces: [...interfaces.values()].filter(
      ({ port, name }) => port.bridge === bridge && name !== bridge.name,
    ),
  };
}

/** Refuses a name that a bridge, a port or an interface has. `what` begins the sentence. */
export function checkFree({ bridges, ports, interfaces }: View, name: string, what: string): void {
  const prefix = `cannot create ${what} named ${name}`;
  if (bridges.has(name)) throw commandError(`${prefix} because a bridge named ${name} already exists`);
  const port = ports.get(name);
  if (port !== undefined)
    throw commandError(`${prefix} because a port named ${name} already exists on bridge ${port.bridge.name}`);
  const bridge = interfaces.get(name)?.port.bridge.name;
  if (bridge !== undefined)
    throw commandError(`${prefix} because an interface named ${name} already exists on bridge ${bridge}`);
}
