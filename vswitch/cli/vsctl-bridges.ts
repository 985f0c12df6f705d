// Commands of vsctl about bridges, ports and interfaces. Source: ovs-vsctl(8).
import { mapOf, type OvsdbRow, pairsOf } from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import {
  type BridgeView,
  bridges,
  command,
  findBridge,
  findPort,
  mustFindBridge,
  ownPorts,
  portsOf,
  print,
  root,
  type VsctlCommand,
  type VsctlContext,
} from "./vsctl-context.js";
import { applySetting } from "./vsctl-database.js";

const MANY = Number.POSITIVE_INFINITY;
type Arguments = readonly string[];

export const BRIDGE_COMMANDS: readonly (readonly [string, VsctlCommand])[] = [
  ["init", command("", 0, 0, [], (context) => void root(context))],
  ["add-br", command("NEW-BRIDGE [PARENT NEW-VLAN]", 1, 3, ["--may-exist"], addBridge)],
  ["del-br", command("BRIDGE", 1, 1, ["--if-exists"], deleteBridge)],
  ["list-br", command("", 0, 0, ["--real", "--fake"], listBridges)],
  [
    "br-exists",
    command("BRIDGE", 1, 1, [], (context, [name = ""]) =>
      findBridge(context, name) === undefined ? 2 : undefined,
    ),
  ],
  [
    "br-to-vlan",
    command("BRIDGE", 1, 1, [], (context, [name = ""]) => {
      const { vlan } = mustFindBridge(context, name);
      context.data(vlan);
      context.out(String(vlan));
      return undefined;
    }),
  ],
  [
    "br-to-parent",
    command(
      "BRIDGE",
      1,
      1,
      [],
      (context, [name = ""]) => context.out(mustFindBridge(context, name).row.string("name")) as undefined,
    ),
  ],
  ["br-set-external-id", command("BRIDGE KEY [VALUE]", 2, 3, [], setExternalId)],
  ["br-get-external-id", command("BRIDGE [KEY]", 1, 2, [], getExternalId)],
  ["list-ports", command("BRIDGE", 1, 1, [], listPorts)],
  ["add-port", command("BRIDGE NEW-PORT [COLUMN[:KEY]=VALUE]...", 2, MANY, ["--may-exist"], addPort)],
  [
    "add-bond",
    command(
      "BRIDGE BOND IFACE... [COLUMN[:KEY]=VALUE]...",
      4,
      MANY,
      ["--may-exist", "--fake-iface"],
      addBond,
    ),
  ],
  ["del-port", command("[BRIDGE] PORT|IFACE", 1, 2, ["--if-exists", "--with-iface"], deletePort)],
  ["add-bond-iface", command("BOND IFACE", 2, 2, ["--may-exist"], addBondInterface)],
  ["del-bond-iface", command("[BOND] IFACE", 1, 2, ["--if-exists"], deleteBondInterface)],
  ["port-to-br", command("PORT", 1, 1, [], portToBridge)],
  ["list-ifaces", command("BRIDGE", 1, 1, [], listInterfaces)],
  ["iface-to-br", command("IFACE", 1, 1, [], interfaceToBridge)],
];

// --- Bridges

function addBridge(context: VsctlContext, [name = "", parent, vlanText]: Arguments): undefined {
  const there = findBridge(context, name);
  if (parent !== undefined && vlanText === undefined)
    throw commandError("'add-br' command takes exactly 1 or 3 arguments");
  // As the original reads it: the digits in front count.
  const vlan = Number.parseInt(vlanText ?? "0", 10) || 0;
  if (vlan < 0 || vlan > 4095) throw commandError("add-br: vlan must be between 0 and 4095");
  if (there !== undefined && context.options.has("--may-exist")) {
    if (parent === undefined && there.fake !== undefined)
      throw commandError(`"${context.typed}" but ${name} is a VLAN bridge for VLAN ${there.vlan}`);
    if (parent !== undefined && there.fake === undefined)
      throw commandError(`"${context.typed}" but ${name} is not a VLAN bridge`);
    if (parent !== undefined && there.row.string("name") !== parent)
      throw commandError(`"${context.typed}" but ${name} has the wrong parent ${there.row.string("name")}`);
    if (parent !== undefined && there.vlan !== vlan)
      throw commandError(`"${context.typed}" but ${name} is a VLAN bridge for the wrong VLAN ${there.vlan}`);
    return;
  }
  checkFree(context, name, `cannot create a bridge named ${name}`);
  if (parent !== undefined) {
    const owner = findBridge(context, parent);
    if (owner === undefined) throw commandError(`parent bridge ${parent} does not exist`);
    if (owner.fake !== undefined) throw commandError("cannot create bridge with fake bridge as parent");
    const child = bridges(context).find(
      (one) => one.fake !== undefined && one.row.uuid === owner.row.uuid && one.vlan === vlan,
    );
    if (child !== undefined)
      throw commandError(`bridge ${parent} already has a child VLAN bridge ${child.name} on VLAN ${vlan}`);
    const port = insertPort(context, owner.row, name, [name], "internal");
    context.draft.setAtoms(port, "fake_bridge", true);
    context.draft.setAtoms(port, "tag", vlan);
    return;
  }
  const bridge = context.draft.insert("Bridge");
  context.draft.setAtoms(bridge, "name", name);
  context.draft.addTo(root(context), "bridges", bridge.uuid);
  insertPort(context, bridge, name, [name], "internal");
}

function checkFree(context: VsctlContext, name: string, prefix: string): void {
  if (findBridge(context, name) !== undefined)
    throw commandError(`${prefix} because a bridge named ${name} already exists`);
  const port = findPort(context, name);
  if (port !== undefined)
    throw commandError(`${prefix} because a port named ${name} already exists on bridge ${port.bridge.name}`);
}

function checkInterfaceFree(context: VsctlContext, name: string): void {
  const prefix = `cannot create an interface named ${name}`;
  const found = portOfInterface(context, name);
  if (found !== undefined)
    throw commandError(
      `${prefix} because an interface named ${name} already exists on bridge ${found.bridge.name}`,
    );
}

function insertPort(
  context: VsctlContext,
  bridge: OvsdbRow,
  name: string,
  interfaces: readonly string[],
  type: string,
): OvsdbRow {
  const { draft } = context;
  const port = draft.insert("Port");
  draft.setAtoms(port, "name", name);
  for (const one of interfaces) {
    const row = draft.insert("Interface");
    draft.setAtoms(row, "name", one);
    if (type !== "") draft.setAtoms(row, "type", type);
    draft.addTo(port, "interfaces", row.uuid);
  }
  draft.addTo(bridge, "ports", port.uuid);
  return port;
}

function deleteBridge(context: VsctlContext, [name = ""]: Arguments): undefined {
  const found = findBridge(context, name);
  if (found === undefined) {
    if (context.options.has("--if-exists")) return;
    throw commandError(`no bridge named ${name}`);
  }
  if (found.fake === undefined) {
    context.draft.takeFrom(root(context), "bridges", found.row.uuid);
    for (const port of portsOf(context.draft, found.row)) removePort(context, found.row, port);
    context.draft.remove(found.row);
    return;
  }
  for (const port of ownPorts(context, found)) removePort(context, found.row, port);
  removePort(context, found.row, found.fake);
}

function removePort({ draft }: VsctlContext, bridge: OvsdbRow, port: OvsdbRow): void {
  draft.takeFrom(bridge, "ports", port.uuid);
  for (const uuid of port.strings("interfaces")) {
    const row = draft.row("Interface", uuid);
    if (row !== undefined) draft.remove(row);
  }
  draft.remove(port);
}

function listBridges(context: VsctlContext): undefined {
  const [real, fake] = [context.options.has("--real"), context.options.has("--fake")];
  print(
    context,
    bridges(context)
      .filter((one) => (real ? one.fake === undefined : fake ? one.fake !== undefined : true))
      .map(({ name }) => name),
  );
}

/** A VLAN bridge keeps its ids at its port, with a prefix. */
function idsOf({ row, fake }: BridgeView): { readonly holder: OvsdbRow; readonly prefix: string } {
  return fake === undefined ? { holder: row, prefix: "" } : { holder: fake, prefix: "fake-bridge-" };
}

function setExternalId(context: VsctlContext, [name = "", key = "", value]: Arguments): undefined {
  const { holder, prefix } = idsOf(mustFindBridge(context, name));
  const others = pairsOf(holder.datum("external_ids")).filter(([one]) => one !== prefix + key);
  context.draft.set(
    holder,
    "external_ids",
    mapOf(value === undefined ? others : [...others, [prefix + key, value]]),
  );
}

function getExternalId(context: VsctlContext, [name = "", key]: Arguments): undefined {
  const { holder, prefix } = idsOf(mustFindBridge(context, name));
  const all = [...holder.map("external_ids")]
    .filter(([one]) => one.startsWith(prefix))
    .map(([one, value]) => [one.slice(prefix.length), value] as const);
  if (key === undefined) {
    print(
      context,
      all.map(([one, value]) => `${one}=${value}`),
    );
    context.data(Object.fromEntries(all));
    return;
  }
  const value = new Map(all).get(key);
  context.data(value ?? null);
  if (value !== undefined) context.out(value);
}

// --- Ports

function listPorts(context: VsctlContext, [name = ""]: Arguments): undefined {
  print(
    context,
    ownPorts(context, mustFindBridge(context, name)).map((port) => port.string("name")),
  );
}

function addPort(context: VsctlContext, [bridge = "", name = "", ...settings]: Arguments): undefined {
  addPortWith(context, bridge, name, [name], settings);
}

function addBond(context: VsctlContext, [bridge = "", name = "", ...words]: Arguments): undefined {
  const at = words.findIndex((word) => word.includes("="));
  const interfaces = at < 0 ? words : words.slice(0, at);
  if (interfaces.length < 2)
    throw commandError("add-bond requires at least 2 interfaces, but only 1 were specified");
  const port = addPortWith(context, bridge, name, interfaces, at < 0 ? [] : words.slice(at));
  if (port !== undefined && context.options.has("--fake-iface"))
    context.draft.setAtoms(port, "bond_fake_iface", true);
}

function addPortWith(
  context: VsctlContext,
  bridgeName: string,
  name: string,
  interfaces: readonly string[],
  settings: readonly string[],
): OvsdbRow | undefined {
  const there = findPort(context, name);
  if (there !== undefined && context.options.has("--may-exist")) {
    if (there.bridge.name !== bridgeName)
      throw commandError(
        `"${context.typed}" but ${name} is actually attached to bridge ${there.bridge.name}`,
      );
    const wanted = [...interfaces].sort();
    const have = interfaceNames(context, there.port).sort();
    if (wanted.join() !== have.join())
      throw commandError(`"${context.typed}" but ${name} actually has interface(s) ${have.join(", ")}`);
    return undefined;
  }
  checkFree(context, name, `cannot create a port named ${name}`);
  for (const one of interfaces) checkInterfaceFree(context, one);
  const bridge = mustFindBridge(context, bridgeName);
  const port = insertPort(context, bridge.row, name, interfaces, "");
  if (bridge.fake !== undefined) context.draft.setAtoms(port, "tag", bridge.vlan);
  for (const text of settings) applySetting(context, port, text, true);
  return port;
}

function deletePort(context: VsctlContext, args: Arguments): undefined {
  const name = args.at(-1) as string;
  if (findBridge(context, name) !== undefined) {
    if (context.options.has("--if-exists")) return;
    throw commandError(
      `cannot delete port ${name} because it is the local port for bridge ${name} (deleting this port requires deleting the entire bridge)`,
    );
  }
  const found =
    findPort(context, name) ??
    (context.options.has("--with-iface") ? portOfInterface(context, name) : undefined);
  if (found === undefined) {
    if (context.options.has("--if-exists")) return;
    const what = context.options.has("--with-iface") ? "port or interface" : "port";
    throw commandError(`no ${what} named ${name}`);
  }
  const bridge = args.length === 2 ? mustFindBridge(context, args[0] as string) : undefined;
  if (bridge !== undefined && found.bridge.name !== bridge.name) {
    const parent = found.bridge.row.string("name");
    const hint = bridge.name === parent ? ` (although its VLAN bridge ${found.bridge.name} does)` : "";
    throw commandError(`bridge ${bridge.name} does not have a port ${name}${hint}`);
  }
  removePort(context, found.bridge.row, found.port);
}

function portOfInterface(
  context: VsctlContext,
  name: string,
): { readonly port: OvsdbRow; readonly bridge: BridgeView } | undefined {
  for (const bridge of bridges(context)) {
    const port = ownPorts(context, bridge).find((one) => interfaceNames(context, one).includes(name));
    if (port !== undefined) return { port, bridge };
  }
  return undefined;
}

function interfaceNames({ draft }: VsctlContext, port: OvsdbRow): string[] {
  return port.strings("interfaces").flatMap((uuid) => draft.row("Interface", uuid)?.string("name") ?? []);
}

function mustFindPort(
  context: VsctlContext,
  name: string,
): { readonly port: OvsdbRow; readonly bridge: BridgeView } {
  const found = findPort(context, name);
  if (found === undefined) throw commandError(`no port named ${name}`);
  return found;
}

function addBondInterface(context: VsctlContext, [name = "", iface = ""]: Arguments): undefined {
  const { port } = mustFindPort(context, name);
  if (context.options.has("--may-exist")) {
    const owner = portOfInterface(context, iface)?.port.string("name");
    if (owner === name) return;
    if (owner !== undefined)
      throw commandError(`"${context.typed}" but ${iface} is actually attached to port ${owner}`);
  }
  checkInterfaceFree(context, iface);
  const row = context.draft.insert("Interface");
  context.draft.setAtoms(row, "name", iface);
  context.draft.addTo(port, "interfaces", row.uuid);
}

function deleteBondInterface(context: VsctlContext, args: Arguments): undefined {
  const iface = args.at(-1) as string;
  const found = portOfInterface(context, iface);
  if (found === undefined) {
    if (context.options.has("--if-exists")) return;
    throw commandError(`no interface named ${iface}`);
  }
  const bond = args.length === 2 ? mustFindPort(context, args[0] as string) : undefined;
  const { port } = found;
  if (bond !== undefined && bond.port.uuid !== port.uuid)
    throw commandError(`port ${bond.port.string("name")} does not have an interface ${iface}`);
  const uuids = port.strings("interfaces");
  if (uuids.length === 1) throw commandError(`cannot delete last interface from port ${port.string("name")}`);
  for (const uuid of uuids) {
    const row = context.draft.row("Interface", uuid);
    if (row?.string("name") !== iface) continue;
    context.draft.takeFrom(port, "interfaces", uuid);
    context.draft.remove(row);
  }
}

function portToBridge(context: VsctlContext, [name = ""]: Arguments): undefined {
  const found = findPort(context, name);
  if (found === undefined) throw commandError(`no port named ${name}`);
  context.out(found.bridge.name);
}

function listInterfaces(context: VsctlContext, [name = ""]: Arguments): undefined {
  print(
    context,
    ownPorts(context, mustFindBridge(context, name)).flatMap((port) => interfaceNames(context, port)),
  );
}

function interfaceToBridge(context: VsctlContext, [name = ""]: Arguments): undefined {
  const found = portOfInterface(context, name);
  if (found === undefined) throw commandError(`no interface named ${name}`);
  context.out(found.bridge.name);
}
