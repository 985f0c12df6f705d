// Commands of vsctl about controllers, managers, TLS and automatic attachments, and emer-reset. Source: ovs-vsctl(8).
import { defaultDatum, mapOf, type OvsdbRow, pairsOf } from "../../base/ovsdb/index.js";
import { commandError } from "./errors.js";
import { command, print, root, type VsctlCommand, type VsctlContext } from "./vsctl-context.js";
import { mustFindBridge, mustFindRealBridge, viewOf } from "./vsctl-view.js";

const MANY = Number.POSITIVE_INFINITY;
type Arguments = readonly string[];

export const CONTROL_COMMANDS: readonly (readonly [string, VsctlCommand])[] = [
  [
    "get-controller",
    command("BRIDGE", 1, 1, [], (context, [name = ""]) =>
      printTargets(context, mustFindBridge(viewOf(context), name).row, "controller", "Controller"),
    ),
  ],
  [
    "del-controller",
    command("BRIDGE", 1, 1, [], (context, [name = ""]) =>
      replace(context, mustFindRealBridge(viewOf(context), name).row, "controller", "Controller"),
    ),
  ],
  ["set-controller", command("BRIDGE TARGET...", 1, MANY, ["--inactivity-probe="], setController)],
  ["get-fail-mode", command("BRIDGE", 1, 1, [], getFailMode)],
  [
    "del-fail-mode",
    command(
      "BRIDGE",
      1,
      1,
      [],
      (context, [name = ""]) =>
        context.draft.setAtoms(mustFindRealBridge(viewOf(context), name).row, "fail_mode") as undefined,
    ),
  ],
  ["set-fail-mode", command("BRIDGE MODE", 2, 2, [], setFailMode)],
  [
    "get-manager",
    command("", 0, 0, [], (context) => printTargets(context, root(context), "manager_options", "Manager")),
  ],
  [
    "del-manager",
    command("", 0, 0, [], (context) => replace(context, root(context), "manager_options", "Manager")),
  ],
  ["set-manager", command("TARGET...", 1, MANY, ["--inactivity-probe="], setManager)],
  ["get-ssl", command("", 0, 0, [], getSsl)],
  ["del-ssl", command("", 0, 0, [], (context) => replace(context, root(context), "ssl", "SSL"))],
  ["set-ssl", command("PRIVATE-KEY CERTIFICATE CA-CERT", 3, 3, ["--bootstrap"], setSsl)],
  ["add-aa-mapping", command("BRIDGE I-SID VLAN", 3, 3, [], addAttachment)],
  ["del-aa-mapping", command("BRIDGE I-SID VLAN", 3, 3, [], deleteAttachment)],
  ["get-aa-mapping", command("BRIDGE", 1, 1, [], getAttachments)],
  ["emer-reset", command("", 0, 0, [], emergencyReset)],
];

// --- Controllers, managers, TLS

function printTargets(context: VsctlContext, row: OvsdbRow, column: string, table: string): undefined {
  print(
    context,
    row.strings(column).flatMap((uuid) => context.draft.row(table, uuid)?.string("target") ?? []),
  );
}

const KNOWN_TARGET = /^p?(tcp|unix|ssl):/;

function setTargets(
  context: VsctlContext,
  row: OvsdbRow,
  column: string,
  table: string,
  targets: Arguments,
): undefined {
  const probe = context.options.get("--inactivity-probe");
  for (const target of targets) {
    if (!KNOWN_TARGET.test(target)) context.warn(`target type "${target}" is possibly erroneous`, "vsctl");
  }
  const uuids = targets.map((target) => {
    const made = context.draft.insert(table);
    context.draft.setAtoms(made, "target", target);
    // As the original reads it: what is no number is 0.
    if (probe !== undefined)
      context.draft.setAtoms(made, "inactivity_probe", Number.parseInt(probe, 10) || 0);
    return made.uuid;
  });
  replace(context, row, column, table, ...uuids);
}

/** References to rows that take the place of those that are there, which no other command of the line sees any more. */
function replace(
  { draft }: VsctlContext,
  row: OvsdbRow,
  column: string,
  table: string,
  ...uuids: Arguments
): undefined {
  for (const uuid of row.strings(column)) {
    const before = draft.row(table, uuid);
    if (before !== undefined) draft.remove(before);
  }
  draft.setAtoms(row, column, ...uuids);
}

function setController(context: VsctlContext, [name = "", ...targets]: Arguments): undefined {
  setTargets(context, mustFindRealBridge(viewOf(context), name).row, "controller", "Controller", targets);
}

function setManager(context: VsctlContext, targets: Arguments): undefined {
  setTargets(context, root(context), "manager_options", "Manager", targets);
}

function getFailMode(context: VsctlContext, [name = ""]: Arguments): undefined {
  const mode = mustFindBridge(viewOf(context), name).row.string("fail_mode");
  context.data(mode === "" ? null : mode);
  if (mode !== "") context.out(mode);
}

function setFailMode(context: VsctlContext, [name = "", mode = ""]: Arguments): undefined {
  const { row } = mustFindRealBridge(viewOf(context), name);
  if (mode !== "standalone" && mode !== "secure")
    throw commandError('fail-mode must be "standalone" or "secure"');
  context.draft.setAtoms(row, "fail_mode", mode);
}

function getSsl(context: VsctlContext): undefined {
  const row = context.draft.row("SSL", root(context).string("ssl"));
  const columns = ["private_key", "certificate", "ca_cert"];
  context.data(
    row === undefined
      ? null
      : {
          ...Object.fromEntries(columns.map((column) => [column, row.string(column)])),
          bootstrap_ca_cert: row.boolean("bootstrap_ca_cert"),
        },
  );
  if (row === undefined) return;
  context.out(`Private key: ${row.string("private_key")}`);
  context.out(`Certificate: ${row.string("certificate")}`);
  context.out(`CA Certificate: ${row.string("ca_cert")}`);
  context.out(`Bootstrap: ${row.boolean("bootstrap_ca_cert")}`);
}

function setSsl(context: VsctlContext, [key = "", certificate = "", authority = ""]: Arguments): undefined {
  const row = context.draft.insert("SSL");
  context.draft.setAtoms(row, "private_key", key);
  context.draft.setAtoms(row, "certificate", certificate);
  context.draft.setAtoms(row, "ca_cert", authority);
  context.draft.setAtoms(row, "bootstrap_ca_cert", context.options.has("--bootstrap"));
  replace(context, root(context), "ssl", "SSL", row.uuid);
}

// --- Auto Attach

/** As the original reads it: the digits in front count. */
function readNumber(text: string): number {
  const digits = /^\s*[+-]?\d{1,15}/.exec(text)?.[0];
  if (digits === undefined) throw commandError(`Invalid argument ${text}`);
  return Number(digits);
}

/** I-SIDs to VLANs; one that is there stays. */
function addAttachment(context: VsctlContext, [name = "", isid = "", vlan = ""]: Arguments): undefined {
  const pair = [readNumber(isid), readNumber(vlan)] as const;
  const { row } = mustFindBridge(viewOf(context), name);
  const before = context.draft.row("AutoAttach", row.string("auto_attach"));
  const attachment = before ?? context.draft.insert("AutoAttach");
  context.draft.verify(attachment, "mappings");
  context.draft.verify(row, "auto_attach");
  const pairs = pairsOf(attachment.datum("mappings"));
  if (!pairs.some(([key]) => key === pair[0]))
    context.draft.set(attachment, "mappings", mapOf([...pairs, pair]));
  if (before === undefined) context.draft.setAtoms(row, "auto_attach", attachment.uuid);
}

function deleteAttachment(context: VsctlContext, [name = "", isid = "", vlan = ""]: Arguments): undefined {
  const [key, value] = [readNumber(isid), readNumber(vlan)];
  const { row } = mustFindBridge(viewOf(context), name);
  const attachment = context.draft.row("AutoAttach", row.string("auto_attach"));
  if (attachment === undefined) return;
  context.draft.verify(attachment, "mappings");
  const others = pairsOf(attachment.datum("mappings")).filter(([one, two]) => one !== key || two !== value);
  context.draft.set(attachment, "mappings", mapOf(others));
}

function getAttachments(context: VsctlContext, [name = ""]: Arguments): undefined {
  const { row } = mustFindBridge(viewOf(context), name);
  const attachment = context.draft.row("AutoAttach", row.string("auto_attach"));
  const mappings = attachment === undefined ? [] : pairsOf(attachment.datum("mappings"));
  context.data(mappings);
  for (const [isid, vlan] of mappings) context.out(`${isid} ${vlan}`);
}

/** What controllers and managers brought. */
const BROUGHT = ["controller", "fail_mode", "mirrors", "netflow", "sflow", "ipfix", "flood_vlans"];

const BROUGHT_TABLES = [
  ...["Controller", "Manager", "SSL", "Mirror", "NetFlow", "sFlow", "IPFIX"],
  "Flow_Sample_Collector_Set",
];

/** Back to a switch that nobody controls: bridges and ports stay, and the bridges' own addresses. */
function emergencyReset(context: VsctlContext): undefined {
  const { draft } = context;
  const clear = (row: OvsdbRow, ...columns: readonly string[]): void => {
    for (const column of columns) {
      const type = row.schema.columns.get(column)?.type;
      if (type !== undefined) draft.set(row, column, defaultDatum(type));
    }
  };
  clear(root(context), "manager_options", "ssl");
  for (const bridge of draft.rows("Bridge")) {
    clear(bridge, ...BROUGHT);
    const own = pairsOf(bridge.datum("other_config")).filter(([key]) => key === "hwaddr");
    draft.verify(bridge, "other_config");
    draft.set(bridge, "other_config", mapOf(own));
  }
  for (const port of draft.rows("Port")) clear(port, "other_config");
  for (const one of draft.rows("Interface")) clear(one, "ingress_policing_rate", "ingress_policing_burst");
  // Most would go by themselves, but not before the line's other commands.
  for (const table of BROUGHT_TABLES) for (const row of draft.rows(table)) draft.remove(row);
}
