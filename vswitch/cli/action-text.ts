// Actions and instructions as people write them: "ct(commit,zone=1),output:2,goto_table:5". Pure.
// Source: ovs-actions(7). Invariant: what is formatted parses to the same value.
import {
  type Action,
  type BitRange,
  type CtAction,
  type Instruction,
  type NatAction,
  OFPP_CONTROLLER,
  OFPP_IN_PORT,
  OXM_FIELDS,
  OXM_NAMES,
} from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import {
  actionFieldNamed,
  formatFieldValue,
  formatHex,
  formatPort,
  parseFieldValue,
  parseIpv4,
  parseNumber,
  parsePort,
  parseSmall,
} from "./field-text.js";

const U32 = 0xffffffff;
const WHOLE_PACKET = 0xffff;
const NESTING_MAX = 4;

/** Splits at commas outside parentheses. Throws FLOW_TEXT_INVALID when those do not pair. */
export function splitList(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let begin = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "(") depth++;
    else if (character === ")") depth--;
    else if (character === "," && depth === 0) {
      parts.push(text.slice(begin, i).trim());
      begin = i + 1;
    }
    if (depth < 0) break;
  }
  if (depth !== 0) throw flowTextError(`the parentheses of "${text.slice(0, 60)}" do not pair`);
  parts.push(text.slice(begin).trim());
  return parts.filter((part) => part !== "");
}

/** The instructions of a flow; plain actions become one apply_actions. "drop" gives none. */
export function parseInstructions(text: string): Instruction[] {
  const applied: Action[] = [];
  const instructions: Instruction[] = [];
  for (const part of splitList(text)) {
    const instruction = parseInstruction(part);
    if (instruction !== undefined) instructions.push(instruction);
    else if (part !== "drop") applied.push(parseAction(part, 0));
  }
  const order = ["meter", "apply_actions", "clear_actions", "write_actions", "write_metadata", "goto_table"];
  if (applied.length > 0) instructions.push({ type: "apply_actions", actions: applied });
  return instructions.sort((a, b) => order.indexOf(a.type) - order.indexOf(b.type));
}

function parseInstruction(text: string): Instruction | undefined {
  const [name, argument] = splitName(text);
  switch (name) {
    case "goto_table":
      return { type: "goto_table", tableId: parseSmall(argument, 254) };
    case "meter":
      return { type: "meter", meterId: parseSmall(argument, U32) };
    case "clear_actions":
      return { type: "clear_actions" };
    case "write_actions":
      return { type: "write_actions", actions: parseActions(argument) };
    case "write_metadata": {
      const { value, mask } = parseFieldValue(OXM_FIELDS.metadata, argument);
      const number = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
      return {
        type: "write_metadata",
        metadata: number(value),
        mask: mask === undefined ? (1n << 64n) - 1n : number(mask),
      };
    }
    default:
      return undefined;
  }
}

/** "name:argument", "name(argument)" or "name". */
function splitName(text: string): [name: string, argument: string] {
  const match = /^([A-Za-z_0-9]+)(?::([\s\S]*)|\(([\s\S]*)\))?$/.exec(text);
  if (match === null) throw flowTextError(`"${text.slice(0, 60)}" is no action`);
  return [match[1] as string, match[2] ?? match[3] ?? ""];
}

function parseActions(text: string, depth = 0): Action[] {
  return splitList(text).flatMap((part) => (part === "drop" ? [] : [parseAction(part, depth)]));
}

function parseAction(text: string, depth: number): Action {
  const [name, argument] = splitName(text);
  if (/^\d+$/.test(name) || /^(IN_PORT|NORMAL|FLOOD|ALL|LOCAL|TABLE)$/i.test(name))
    return outputTo(parsePort(name));
  const build = ACTIONS[name.toLowerCase()];
  if (build === undefined) throw flowTextError(`unknown action ${name.slice(0, 60)}`);
  return build(argument, depth);
}

const outputTo = (port: number): Action => ({
  type: "output",
  port,
  maxLength: port === OFPP_CONTROLLER ? WHOLE_PACKET : 0,
});

function setField(name: string, argument: string): Action {
  const field = actionFieldNamed(name);
  return { type: "set_field", field: field.name, ...parseFieldValue(field, argument) };
}

const ACTIONS: Readonly<Record<string, (argument: string, depth: number) => Action>> = Object.assign(
  Object.create(null),
  {
    output: (argument: string) => outputTo(parsePort(argument)),
    controller: (argument: string) => parseController(argument),
    group: (argument: string) => ({ type: "group", groupId: parseSmall(argument, U32) }),
    set_queue: (argument: string) => ({ type: "set_queue", queueId: parseSmall(argument, U32) }),
    push_vlan: (argument: string) => ({
      type: "push_vlan",
      etherType: parseSmall(argument || "0x8100", 0xffff),
    }),
    push_mpls: (argument: string) => ({ type: "push_mpls", etherType: parseSmall(argument, 0xffff) }),
    pop_mpls: (argument: string) => ({ type: "pop_mpls", etherType: parseSmall(argument, 0xffff) }),
    push_pbb: (argument: string) => ({ type: "push_pbb", etherType: parseSmall(argument, 0xffff) }),
    pop_vlan: () => ({ type: "pop_vlan" }),
    strip_vlan: () => ({ type: "pop_vlan" }),
    pop_pbb: () => ({ type: "pop_pbb" }),
    dec_ttl: () => ({ type: "dec_nw_ttl" }),
    dec_mpls_ttl: () => ({ type: "dec_mpls_ttl" }),
    copy_ttl_out: () => ({ type: "copy_ttl_out" }),
    copy_ttl_in: () => ({ type: "copy_ttl_in" }),
    mod_nw_ttl: (argument: string) => ({ type: "set_nw_ttl", ttl: parseSmall(argument, 255) }),
    set_mpls_ttl: (argument: string) => ({ type: "set_mpls_ttl", ttl: parseSmall(argument, 255) }),
    mod_dl_src: (argument: string) => setField("eth_src", argument),
    mod_dl_dst: (argument: string) => setField("eth_dst", argument),
    mod_nw_src: (argument: string) => setField("ipv4_src", argument),
    mod_nw_dst: (argument: string) => setField("ipv4_dst", argument),
    set_field: (argument: string) => {
      const [value, field] = splitArrow(argument);
      return setField(field, value);
    },
    load: (argument: string) => {
      const [value, range] = splitArrow(argument);
      const destination = parseRange(range);
      return { type: "load", destination, value: parseNumber(value, (1n << BigInt(destination.bits)) - 1n) };
    },
    move: (argument: string) => {
      const [from, to] = splitArrow(argument);
      const [source, destination] = [parseRange(from), parseRange(to)];
      if (source.bits !== destination.bits)
        throw flowTextError(`move between ${source.bits} and ${destination.bits} bits`);
      return { type: "move", source, destination };
    },
    resubmit: (argument: string) => parseResubmit(argument),
    ct: (argument: string, depth: number) => parseCt(argument, depth),
    nat: (argument: string) => parseNat(argument),
    ct_clear: () => ({ type: "ct_clear" }),
  },
);

function splitArrow(text: string): [string, string] {
  const at = text.indexOf("->");
  if (at < 0) throw flowTextError(`"${text.slice(0, 60)}" lacks "->"`);
  return [text.slice(0, at), text.slice(at + 2)];
}

/** FIELD, FIELD[], FIELD[BIT] or FIELD[FIRST..LAST]. */
function parseRange(text: string): BitRange {
  const match = /^([A-Za-z_0-9]+)(?:\[(?:(\d{1,3})(?:\.\.(\d{1,3}))?)?\])?$/.exec(text.trim());
  if (match === null) throw flowTextError(`"${text.slice(0, 60)}" is no part of a field`);
  const field = actionFieldNamed(match[1] as string);
  const offset = Number(match[2] ?? 0);
  const last = match[3] === undefined ? (match[2] === undefined ? field.bits - 1 : offset) : Number(match[3]);
  if (last < offset || last >= field.bits)
    throw flowTextError(`"${text}" is outside the ${field.bits} bits of the field`);
  return { field: field.name, offset, bits: last - offset + 1 };
}

function formatRange({ field, offset, bits }: BitRange): string {
  const { header } = OXM_NAMES[field];
  if (bits === OXM_FIELDS[field].bits) return `${header}[]`;
  return bits === 1 ? `${header}[${offset}]` : `${header}[${offset}..${offset + bits - 1}]`;
}

function parseController(argument: string): Action {
  if (argument === "" || /^\d+$/.test(argument)) {
    return {
      type: "output",
      port: OFPP_CONTROLLER,
      maxLength: argument === "" ? WHOLE_PACKET : parseSmall(argument, WHOLE_PACKET),
    };
  }
  const options = new Map(splitList(argument).map((part) => part.split("=", 2) as [string, string]));
  const reason = options.get("reason") ?? "action";
  if (reason !== "no_match" && reason !== "action" && reason !== "invalid_ttl")
    throw flowTextError(`"${reason}" is no reason`);
  return {
    type: "controller",
    maxLength: parseSmall(options.get("max_len") ?? "65535", WHOLE_PACKET),
    controllerId: parseSmall(options.get("id") ?? "0", 0xffff),
    reason,
  };
}

function parseResubmit(argument: string): Action {
  const [port, table, ct] = argument.split(",").map((part) => part.trim());
  return {
    type: "resubmit",
    port: port === undefined || port === "" ? OFPP_IN_PORT : parsePort(port),
    tableId: table === undefined || table === "" ? 255 : parseSmall(table, 255),
    withCt: ct === "ct",
  };
}

function parseCt(argument: string, depth: number): CtAction {
  if (depth >= NESTING_MAX) throw flowTextError("ct within ct within ct");
  const action: { -readonly [K in keyof CtAction]: CtAction[K] } = {
    type: "ct",
    commit: false,
    force: false,
    zone: 0,
    alg: 0,
    actions: [],
  };
  for (const part of splitList(argument)) {
    const [key, value] = part.split(/=(.*)/s, 2) as [string, string | undefined];
    if (key === "commit") action.commit = true;
    else if (key === "force") action.force = true;
    else if (key === "zone")
      action.zone = /^\d/.test(value ?? "") ? parseSmall(value as string, 0xffff) : parseRange(value ?? "");
    else if (key === "table") action.tableId = parseSmall(value ?? "", 254);
    else if (key === "alg" && (value === "ftp" || value === "tftp")) action.alg = value === "ftp" ? 21 : 69;
    else if (part.startsWith("exec("))
      action.actions = [...action.actions, ...parseActions(part.slice(5, -1), depth + 1)];
    else if (key === "nat" || key.startsWith("nat("))
      action.actions = [...action.actions, parseNat(part.slice(4, -1))];
    else throw flowTextError(`ct takes no "${part.slice(0, 60)}"`);
  }
  return action;
}

function parseNat(argument: string): NatAction {
  const nat: { -readonly [K in keyof NatAction]: NatAction[K] } = {
    type: "nat",
    direction: "existing",
    persistent: false,
    selection: "auto",
  };
  for (const part of splitList(argument)) {
    const [key, value] = part.split(/=(.*)/s, 2) as [string, string | undefined];
    if (key === "src" || key === "dst") {
      nat.direction = key === "src" ? "source" : "destination";
      if (value !== undefined) Object.assign(nat, parseNatRange(value));
    } else if (key === "random" || key === "hash") nat.selection = key;
    else if (key === "persistent") nat.persistent = true;
    else throw flowTextError(`nat takes no "${part.slice(0, 60)}"`);
  }
  return nat;
}

/** ADDRESS[-ADDRESS][:PORT[-PORT]], IPv4. */
function parseNatRange(text: string): Partial<NatAction> {
  const match = /^([\d.]+)(?:-([\d.]+))?(?::(\d{1,5})(?:-(\d{1,5}))?)?$/.exec(text);
  if (match === null) throw flowTextError(`"${text.slice(0, 60)}" is no IPv4 range`);
  const [, first, last, low, high] = match as unknown as [string, string, string?, string?, string?];
  return {
    addressMin: parseIpv4(first),
    ...(last === undefined ? {} : { addressMax: parseIpv4(last) }),
    ...(low === undefined ? {} : { portMin: parseSmall(low, 65535) }),
    ...(high === undefined ? {} : { portMax: parseSmall(high, 65535) }),
  };
}

export function formatInstructions(instructions: readonly Instruction[]): string {
  const parts = instructions.flatMap((instruction): string[] => {
    switch (instruction.type) {
      case "apply_actions":
        return instruction.actions.map(formatAction);
      case "write_actions":
        return [`write_actions(${instruction.actions.map(formatAction).join(",")})`];
      case "goto_table":
        return [`goto_table:${instruction.tableId}`];
      case "meter":
        return [`meter:${instruction.meterId}`];
      case "write_metadata":
        return [`write_metadata:0x${instruction.metadata.toString(16)}/0x${instruction.mask.toString(16)}`];
      case "clear_actions":
        return ["clear_actions"];
      default:
        return [`experimenter(${instruction.experimenter.toString(16)})`];
    }
  });
  return parts.length === 0 ? "drop" : parts.join(",");
}

export function formatAction(action: Action): string {
  switch (action.type) {
    case "output":
      if (action.port === OFPP_CONTROLLER) return `CONTROLLER:${action.maxLength}`;
      return action.port > 0xffffff00 ? formatPort(action.port) : `output:${action.port}`;
    case "group":
      return `group:${action.groupId}`;
    case "set_queue":
      return `set_queue:${action.queueId}`;
    case "push_vlan":
    case "push_mpls":
    case "push_pbb":
    case "pop_mpls":
      return `${action.type}:0x${action.etherType.toString(16)}`;
    case "dec_nw_ttl":
      return "dec_ttl";
    case "set_nw_ttl":
      return `mod_nw_ttl:${action.ttl}`;
    case "set_mpls_ttl":
      return `set_mpls_ttl:${action.ttl}`;
    case "set_field":
      return `set_field:${formatFieldValue(OXM_FIELDS[action.field], action)}->${OXM_NAMES[action.field].manual}`;
    case "load":
      return `load:${formatHex(action.value)}->${formatRange(action.destination)}`;
    case "move":
      return `move:${formatRange(action.source)}->${formatRange(action.destination)}`;
    case "resubmit":
      return `resubmit(${action.port === OFPP_IN_PORT ? "" : formatPort(action.port)},${action.tableId === 255 ? "" : action.tableId}${action.withCt ? ",ct" : ""})`;
    case "ct":
      return formatCt(action);
    case "nat":
      return formatNat(action);
    case "controller":
      return `controller(max_len=${action.maxLength},id=${action.controllerId},reason=${action.reason})`;
    case "experimenter":
      return `experimenter(${action.experimenter.toString(16)})`;
    default:
      return action.type;
  }
}

function formatCt({ commit, force, zone, tableId, alg, actions }: CtAction): string {
  const nats = actions.filter((action) => action.type === "nat");
  const others = actions.filter((action) => action.type !== "nat");
  const parts = [
    ...(commit ? ["commit"] : []),
    ...(force ? ["force"] : []),
    ...(tableId === undefined ? [] : [`table=${tableId}`]),
    ...(zone === 0 ? [] : [`zone=${typeof zone === "number" ? zone : formatRange(zone)}`]),
    ...nats.map(formatNat),
    ...(others.length === 0 ? [] : [`exec(${others.map(formatAction).join(",")})`]),
    ...(alg === 0 ? [] : [`alg=${alg === 21 ? "ftp" : "tftp"}`]),
  ];
  return `ct(${parts.join(",")})`;
}

function formatNat(nat: NatAction): string {
  if (nat.direction === "existing") return "nat";
  const address = nat.addressMin === undefined ? "" : `=${nat.addressMin.join(".")}`;
  const last = nat.addressMax === undefined ? "" : `-${nat.addressMax.join(".")}`;
  const ports =
    nat.portMin === undefined ? "" : `:${nat.portMin}${nat.portMax === undefined ? "" : `-${nat.portMax}`}`;
  const flags = [
    ...(nat.selection === "auto" ? [] : [nat.selection]),
    ...(nat.persistent ? ["persistent"] : []),
  ];
  return `nat(${[`${nat.direction === "source" ? "src" : "dst"}${address}${last}${ports}`, ...flags].join(",")})`;
}
