// The actions of connection tracking as people write them: ct(…) with its exec(…) and nat(…). Pure.
// Source: ovs-actions(7). Invariant: what is formatted parses to the same value.
import type { Action, CtAction, NatAction } from "../../base/openflow/index.js";
import { flowTextError } from "./errors.js";
import { formatIpv6, parseIpv4, parseIpv6, parseSmall } from "./field-text.js";
import { splitKeyValues } from "./key-values.js";
import { cNumber, tableNumber } from "./number-text.js";
import { formatRange, parseRange } from "./range-text.js";

const ALGS: Readonly<Record<string, number>> = { ftp: 21, tftp: 69 };

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** `parseNested` parses the actions of exec. Throws FLOW_TEXT_INVALID. */
export function parseCt(argument: string, parseNested: (text: string) => Action[]): CtAction {
  const action: Writable<CtAction> = {
    type: "ct",
    commit: false,
    force: false,
    zone: 0,
    alg: 0,
    actions: [],
  };
  const nats: Action[] = [];
  const execs: Action[] = [];
  for (const { key, value } of splitKeyValues(argument)) {
    if (key === "commit") action.commit = true;
    else if (key === "force") action.force = true;
    else if (key === "zone") action.zone = zoneOf(value);
    else if (key === "table") action.tableId = tableOf(value);
    else if (key === "alg") action.alg = helperOf(value);
    else if (key === "exec") execs.push(...parseNested(value));
    else if (key === "nat") nats.push(parseNat(value));
    else throw flowTextError(`invalid argument to "ct" action: \`${key}'`);
  }
  if (action.force && !action.commit) throw flowTextError('"force" flag requires "commit" flag.');
  action.actions = [...nats, ...execs];
  return action;
}

/** A number, or the field that holds it. */
function zoneOf(text: string): CtAction["zone"] {
  const zone = cNumber(text);
  return zone !== undefined && zone >= 0n && zone <= 0xffffn ? Number(zone) : parseRange(text);
}

function tableOf(text: string): number {
  const table = tableNumber(text, `unknown table ${text}`);
  if (table === 255) throw flowTextError("invalid table 0xff");
  return table;
}

function helperOf(name: string): number {
  const helper = Object.hasOwn(ALGS, name) ? ALGS[name] : undefined;
  if (helper === undefined) throw flowTextError(`invalid conntrack helper "${name}"`);
  return helper;
}

export function parseNat(argument: string): NatAction {
  const nat: Writable<NatAction> = {
    type: "nat",
    direction: "existing",
    persistent: false,
    selection: "auto",
  };
  for (const { key, value } of splitKeyValues(argument)) {
    if (key === "src" || key === "dst") {
      if (nat.direction !== "existing") throw flowTextError('May only specify one of "src" or "dst".');
      nat.direction = key === "src" ? "source" : "destination";
      if (value !== "") Object.assign(nat, checkedRange(parseNatRange(value), value));
    } else if (key === "random" || key === "hash") {
      if (nat.selection !== "auto" && nat.selection !== key)
        throw flowTextError('Both "hash" and "random" are not allowed.');
      nat.selection = key;
    } else if (key === "persistent") nat.persistent = true;
    else throw flowTextError(`invalid key "${key}" in "nat" argument`);
  }
  if (nat.direction === "existing" && (nat.persistent || nat.selection !== "auto"))
    throw flowTextError('Flags allowed only with "src" or "dst".');
  return nat;
}

/** ADDRESS[-ADDRESS][:PORT[-PORT]]; an IPv6 address with ports stands in brackets. */
function parseNatRange(text: string): Partial<NatAction> {
  const address = String.raw`\[[0-9a-fA-F:.]+\]|[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*`;
  const ports = String.raw`:(\d{1,5})(?:-(\d{1,5}))?`;
  const bare = /^[\d.]+(-[\d.]+)?(:|$)|^\[/.test(text) ? `(?:${ports})?` : "()()";
  const match = new RegExp(`^(${address})(?:-(${address}))?${bare}$`).exec(text);
  if (match === null) throw flowTextError(`"${text.slice(0, 60)}" is no range of addresses`);
  const [, first, last, low, high] = match as unknown as [string, string, string?, string?, string?];
  return {
    addressMin: parseAddress(first),
    ...(last === undefined ? {} : { addressMax: parseAddress(last) }),
    ...(low === undefined || low === "" ? {} : { portMin: parseSmall(low, 65535) }),
    ...(high === undefined || high === "" ? {} : { portMax: parseSmall(high, 65535) }),
  };
}

/** Of a range that begins with zeros, what is left without them: they stand for nothing. */
function checkedRange(range: Partial<NatAction>, text: string): Partial<NatAction> {
  const { addressMin, addressMax, portMin, portMax } = range;
  const isBackwards =
    (addressMin && addressMax && Buffer.compare(addressMin, addressMax) > 0) ||
    (portMin !== undefined && portMax !== undefined && portMin > portMax);
  if (isBackwards) throw flowTextError(`invalid nat range "${text}"`);
  const isAddressed = addressMin?.some((byte) => byte !== 0) || addressMax !== undefined;
  if (!isAddressed) return {};
  return {
    ...(addressMin === undefined ? {} : { addressMin }),
    ...(addressMax === undefined ? {} : { addressMax }),
    ...(portMin === undefined || (portMin === 0 && portMax === undefined) ? {} : { portMin }),
    ...(portMax === undefined ? {} : { portMax }),
  };
}

function parseAddress(text: string): Uint8Array {
  const plain = text.replace(/^\[|\]$/g, "");
  return plain.includes(":") ? parseIpv6(plain) : parseIpv4(plain);
}

export function formatCt(
  { commit, force, zone, tableId, alg, actions }: CtAction,
  formatNested: (action: Action) => string,
): string {
  // Translation that comes first stands for itself.
  const [first] = actions;
  const nat = first?.type === "nat" ? first : undefined;
  const others = nat === undefined ? actions : actions.slice(1);
  const parts = [
    ...(commit ? ["commit"] : []),
    ...(force ? ["force"] : []),
    ...(tableId === undefined ? [] : [`table=${tableId}`]),
    ...(zone === 0 ? [] : [`zone=${typeof zone === "number" ? zone : formatRange(zone)}`]),
    ...(nat === undefined ? [] : [formatNat(nat)]),
    ...(others.length === 0 ? [] : [`exec(${others.map(formatNested).join(",")})`]),
    ...(alg === 0 ? [] : [`alg=${Object.keys(ALGS).find((name) => ALGS[name] === alg) ?? alg}`]),
  ];
  return `ct(${parts.join(",")})`;
}

export function formatNat(nat: NatAction): string {
  if (nat.direction === "existing") return "nat";
  const { addressMin, addressMax, portMin, portMax } = nat;
  const bracketed = addressMin?.byteLength === 16 && portMin !== undefined;
  const show = (bytes: Uint8Array): string => {
    const text = bytes.byteLength === 4 ? bytes.join(".") : formatIpv6(bytes);
    return bracketed ? `[${text}]` : text;
  };
  const address = addressMin === undefined ? "" : `=${show(addressMin)}`;
  // A range of one is told as that.
  const isOne = addressMax === undefined || addressMax.every((byte, i) => byte === addressMin?.[i]);
  const last = isOne ? "" : `-${show(addressMax)}`;
  const lastPort = portMax === undefined || portMax === portMin ? "" : `-${portMax}`;
  const ports = portMin === undefined ? "" : `:${portMin}${lastPort}`;
  const flags = [
    ...(nat.persistent ? ["persistent"] : []),
    ...(nat.selection === "auto" ? [] : [nat.selection]),
  ];
  return `nat(${[`${nat.direction === "source" ? "src" : "dst"}${address}${last}${ports}`, ...flags].join(",")})`;
}
