// Commands of vsctl about bridges, ports and interfaces. Source: ovs-vsctl(8).
import { mapOf, type OvsdbRow, pairsOf } from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import { command, print, root, type VsctlCommand, type VsctlContext } from "./vsctl-context.js";
import { applySetting } from "./vsctl-database.js";
import {
  type BridgeView,
  checkFree,
  findInterface,
  findPort,
  interfacesOf,
  membersOf,
  mustFindBridge,
  mustFindInterface,
  mustFindPort,
  portsOf,
  viewOf,
} from "./vsctl-view.js";

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
      viewOf(context).bridges.has(name) ? undefined : 2,
    ),
  ],
  [
    "br-to-vlan",
    command("BRIDGE", 1, 1, [], (context, [name = ""]) => {
      const { vlan } = mustFindBridge(viewOf(context), name);
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
      (context, [name = ""]) =>
        context.out(mustFindBridge(viewOf(context), name).row.string("name")) as undefined,
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
  if (name === "") throw commandError("bridge name must not be empty string");
  if (parent !== undefined && vlanText === undefined)
    throw commandError("'add-br' command takes exactly 1 or 3 arguments");
  // As the original reads it: the digits in front count.
  const vlan = Number.parseInt(vlanText ?? "0", 10) || 0;
  if (vlan < 0 || vlan > 4095) throw commandError("add-br: vlan must be between 0 and 4095");
  const view = viewOf(context);
  const there = view.bridges.get(name);
  if (there !== undefined && context.options.has("--may-exist")) {
    checkSame(there, name, parent, vlan);
    return;
  }
  checkFree(view, name, "a bridge");
  if (parent !== undefined) {
    const owner = view.bridges.get(parent);
    if (owner === undefined) throw commandError(`parent bridge ${parent} does not exist`);
    if (owner.fake !== undefined) throw commandError("cannot create bridge with fake bridge as parent");
    const child = [...view.bridges.values()].find(
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

/** Of --may-exist: the bridge that is there must be the one that is asked for. */
function checkSame(there: BridgeView, name: string, parent: string | undefined, vlan: number): void {
  const asked = parent === undefined ? name : `${name} ${parent} ${vlan}`;
  const refuse = (what: string) => commandError(`"--may-exist add-br ${asked}" but ${name} ${what}`);
  if (parent === undefined) {
    if (there.fake !== undefined) throw refuse(`is a VLAN bridge for VLAN ${there.vlan}`);
    return;
  }
  if (there.fake === undefined) throw refuse("is not a VLAN bridge");
  const owner = there.row.string("name");
  if (owner !== parent) throw refuse(`has the wrong parent ${owner}`);
  if (there.vlan !== vlan) throw refuse(`is a VLAN bridge for the wrong VLAN ${there.vlan}`);
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
  const { draft } = context;
  const view = viewOf(context);
  const found = context.options.has("--if-exists") ? view.bridges.get(name) : mustFindBridge(view, name);
  if (found === undefined) return;
  const { row, fake } = found;
  if (fake !== undefined) {
    for (const port of [...membersOf(view, found).ports.map((one) => one.row), fake])
      removePort(context, row, port);
    return;
  }
  draft.takeFrom(root(context), "bridges", row.uuid);
  for (const port of portsOf(draft, row)) removePort(context, row, port);
  for (const set of draft.rows("Flow_Sample_Collector_Set"))
    if (set.string("bridge") === row.uuid) draft.remove(set);
  draft.remove(row);
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
    [...viewOf(context).bridges.values()]
      .filter((one) => real === fake || (one.fake !== undefined) === fake)
      .map(({ name }) => name),
  );
}

/** A VLAN bridge keeps its ids at its port, with a prefix. */
function idsOf({ row, fake }: BridgeView): { readonly holder: OvsdbRow; readonly prefix: string } {
  return fake === undefined ? { holder: row, prefix: "" } : { holder: fake, prefix: "fake-bridge-" };
}

function setExternalId(context: VsctlContext, [name = "", key = "", value]: Arguments): undefined {
  const { holder, prefix } = idsOf(mustFindBridge(viewOf(context), name));
  const others = pairsOf(holder.datum("external_ids")).filter(([one]) => one !== prefix + key);
  context.draft.verify(holder, "external_ids");
  context.draft.set(
    holder,
    "external_ids",
    mapOf(value === undefined ? others : [...others, [prefix + key, value]]),
  );
}

function getExternalId(context: VsctlContext, [name = "", key]: Arguments): undefined {
  const { holder, prefix } = idsOf(mustFindBridge(viewOf(context), name));
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
  const view = viewOf(context);
  print(
    context,
    membersOf(view, mustFindBridge(view, name)).ports.map((port) => port.name),
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
  if (name === "") throw commandError("port name must not be empty string");
  if (interfaces.includes("")) throw commandError("interface name must not be empty string");
  const view = viewOf(context);
  const there = findPort(view, name);
  if (there !== undefined && context.options.has("--may-exist")) {
    if (there.bridge.name !== bridgeName)
      throw commandError(
        `"${context.typed}" but ${name} is actually attached to bridge ${there.bridge.name}`,
      );
    const wanted = [...interfaces].sort();
    const have = interfacesOf(context.draft, there.row)
      .map((one) => one.string("name"))
      .sort();
    if (wanted.join() !== have.join())
      throw commandError(`"${context.typed}" but ${name} actually has interface(s) ${have.join(", ")}`);
    return undefined;
  }
  checkFree(view, name, "a port");
  for (const one of interfaces) checkFree(view, one, "an interface");
  const bridge = mustFindBridge(view, bridgeName);
  const port = insertPort(context, bridge.row, name, interfaces, "");
  if (bridge.fake !== undefined) context.draft.setAtoms(port, "tag", bridge.vlan);
  for (const text of settings) applySetting(context, port, text);
  return port;
}

function deletePort(context: VsctlContext, args: Arguments): undefined {
  const name = args.at(-1) as string;
  const view = viewOf(context);
  if (view.bridges.has(name)) {
    if (context.options.has("--if-exists")) return;
    throw commandError(
      `cannot delete port ${name} because it is the local port for bridge ${name} (deleting this port requires deleting the entire bridge)`,
    );
  }
  const withInterface = context.options.has("--with-iface");
  const found = findPort(view, name) ?? (withInterface ? findInterface(view, name)?.port : undefined);
  if (found === undefined) {
    if (context.options.has("--if-exists")) return;
    throw commandError(`no ${withInterface ? "port or interface" : "port"} named ${name}`);
  }
  const bridge = args.length === 2 ? mustFindBridge(view, args[0] as string) : undefined;
  if (bridge !== undefined && found.bridge !== bridge) {
    const parent = found.bridge.fake === undefined ? undefined : found.bridge.row.string("name");
    const hint = bridge.name === parent ? ` (although its child bridge ${found.bridge.name} does)` : "";
    throw commandError(`bridge ${bridge.name} does not have a port ${name}${hint}`);
  }
  removePort(context, found.bridge.row, found.row);
}

function addBondInterface(context: VsctlContext, [name = "", iface = ""]: Arguments): undefined {
  const view = viewOf(context);
  const port = mustFindPort(view, name);
  const there = findInterface(view, iface);
  if (there !== undefined && context.options.has("--may-exist")) {
    if (there.port === port) return;
    throw commandError(`"${context.typed}" but ${iface} is actually attached to port ${there.port.name}`);
  }
  checkFree(view, iface, "an interface");
  const row = context.draft.insert("Interface");
  context.draft.setAtoms(row, "name", iface);
  context.draft.addTo(port.row, "interfaces", row.uuid);
}

function deleteBondInterface(context: VsctlContext, args: Arguments): undefined {
  const name = args.at(-1) as string;
  const view = viewOf(context);
  const found = context.options.has("--if-exists")
    ? findInterface(view, name)
    : mustFindInterface(view, name);
  if (found === undefined) return;
  const { port, row } = found;
  const bond = args.length === 2 ? mustFindPort(view, args[0] as string) : port;
  if (bond !== port) throw commandError(`port ${bond.name} does not have an interface ${name}`);
  if (interfacesOf(context.draft, port.row).length === 1)
    throw commandError(`cannot delete last interface from port ${port.name}`);
  context.draft.takeFrom(port.row, "interfaces", row.uuid);
  context.draft.remove(row);
}

function portToBridge(context: VsctlContext, [name = ""]: Arguments): undefined {
  context.out(mustFindPort(viewOf(context), name).bridge.name);
}

function listInterfaces(context: VsctlContext, [name = ""]: Arguments): undefined {
  const view = viewOf(context);
  print(
    context,
    membersOf(view, mustFindBridge(view, name)).interfaces.map((one) => one.name),
  );
}

function interfaceToBridge(context: VsctlContext, [name = ""]: Arguments): undefined {
  context.out(mustFindInterface(viewOf(context), name).port.bridge.name);
}
