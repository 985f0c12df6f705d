// Who is meant by the words of `plinth policy explain`: machines, ports, load balancers and addresses, and what has to be
// asked of the controller about them. Pure.
//
//   web1, shop/web1                       a machine, else a load balancer, else a port
//   vm/web1, shop/nf/web, port/web1-eth0  of that kind
//   shop/web1[VirtualMachine]@back        as plans and lists print it; @back: only its interface on that network
//   10.10.0.5, fd00::5                    whoever has the address; of a load balancer, too; else one outside
import { PlinthError } from "../../base/errors/index.js";
import type { Explanation } from "../../sdn-controller/index.js";
import {
  findKindByWord,
  type NetworkFunction,
  type Port,
  parseAddress,
  type VirtualMachine,
} from "../resources/index.js";

/** Everything that there is, of all namespaces. */
export interface Inventory {
  readonly machines: readonly VirtualMachine[];
  readonly ports: readonly Port[];
  readonly functions: readonly NetworkFunction[];
}

export type Protocol = "TCP" | "UDP" | "SCTP" | "ICMP";

/** One interface of an end, or an address outside. */
interface Place {
  /** "namespace/port" or an address, as the controller is asked. */
  readonly key: string;
  /** "namespace/name"; undefined outside. */
  readonly network?: string;
  /** The machine, for names of its ports. */
  readonly machine?: VirtualMachine;
  readonly draining?: boolean;
}

export interface End {
  /** As it was asked for. */
  readonly text: string;
  readonly places: readonly Place[];
  /** The load balancer that the places stand behind. */
  readonly balancer?: NetworkFunction;
  /** The end is the address that the health checks of `balancer` come from. */
  readonly probes?: boolean;
}

export interface Question {
  readonly source: string;
  readonly destination: string;
  readonly protocol: Protocol;
  readonly port?: number;
}

/** One pair of interfaces: what to ask about it, or what is known without asking. */
export interface Pair {
  /** "namespace/name" of the network, or "outside". */
  readonly network: string;
  readonly source: string;
  readonly destination: string;
  /** What a load balancer does on the way. */
  readonly through?: string;
  readonly ask: Question | Explanation;
}

const CANDIDATES_MAX = 10;
const KINDS = ["VirtualMachine", "NetworkFunction", "Port"] as const;
type Kind = (typeof KINDS)[number];

interface Found {
  readonly kind: Kind;
  readonly object: VirtualMachine | NetworkFunction | Port;
}

/** Throws PlinthError NOT_FOUND or NAME_AMBIGUOUS, naming what there is, or NAME_INVALID. */
export function resolveEnd(text: string, inventory: Inventory, namespace: string): End {
  const plain = text.replace(/^\[([\da-fA-F:.]+)\]/, "$1");
  const [, body = "", kindName, network] = /^([^[\]@]*)(?:\[([^[\]@]*)\])?(?:@(.*))?$/.exec(plain) ?? [];
  const asked = kindName === undefined || kindName === "External" ? undefined : kindOf(kindName);
  if (kindName !== undefined && kindName !== "External" && asked === undefined)
    throw invalid(text, `there is no ${kindName} to connect; expected ${KINDS.join(", ")} or External`);
  if (parseAddress(body) !== undefined) return onNetwork(atAddress(body, inventory), network);
  if (/^[\d.]+[/-][\d.]+$/.test(body) || kindName === "External")
    throw invalid(text, "expected one address, such as 198.51.100.7");
  const candidates = named(body, inventory, namespace).filter(({ kind }) => (asked ?? kind) === kind);
  const [first, second] = candidates;
  if (first === undefined) throw notFound(text, body, inventory, namespace);
  if (second !== undefined) {
    const names = candidates.map(fullName).join(", ");
    throw new PlinthError("NAME_AMBIGUOUS", `${text} may be any of ${names}: say which`);
  }
  return onNetwork({ ...endOf(first, inventory), text }, network);
}

/** Every pair of interfaces on one network. Throws PORT_UNKNOWN. */
export function pairsOf(
  source: End,
  destination: End,
  { protocol, port }: { readonly protocol: Protocol; readonly port: string | undefined },
): Pair[] {
  if (source.balancer !== undefined && source.probes !== true) {
    const behind = source.places.map(({ key }) => key).join(", ");
    const remedy = behind === "" ? {} : { remedy: `ask about what is behind it: ${behind}` };
    const why = `${source.text} is a load balancer, which opens no connections of its own`;
    throw new PlinthError("NAME_INVALID", why, remedy);
  }
  const pairs = source.places.flatMap((from) =>
    destination.places
      .filter(({ network }) => [from.network, undefined].includes(network) || from.network === undefined)
      .map((to) => [from, to] as const),
  );
  return pairs.map(([from, to]): Pair => {
    const network = from.network ?? to.network ?? "outside";
    const pair = { network, source: from.key, destination: to.key };
    if (source.probes === true) return { ...pair, ask: probed(source, destination, to) };
    if (destination.probes === true)
      return { ...pair, ask: denied(`only answers to health checks reach ${destination.text}`) };
    if (destination.balancer !== undefined)
      return { ...pair, ...balanced(destination, from, to, protocol, port) };
    if (from.key === to.key) return { ...pair, ask: allowed("a machine reaches itself without a network") };
    const number = protocol === "ICMP" ? undefined : portNumber(port, to, protocol);
    return { ...pair, ask: question(from, to, protocol, number) };
  });
}

function balanced(
  { balancer, text }: End,
  from: Place,
  to: Place,
  protocol: Protocol,
  port: string | undefined,
): Pick<Pair, "through" | "ask"> {
  const name = fullName({ kind: "NetworkFunction", object: balancer as NetworkFunction });
  const ports = balancer?.spec.loadBalancer?.ports ?? [];
  const served = ports.find(
    (each) => each.protocol === protocol && (String(each.port) === port || (each.name ?? "") === port),
  );
  if (served === undefined) {
    const all = ports.map((each) => `${each.protocol} ${each.port}`).join(", ");
    const what = protocol === "ICMP" ? protocol : `${protocol} ${port ?? "without a port"}`;
    return { ask: denied(`${text} balances ${all}; nothing answers to ${what}`) };
  }
  const target = served.targetPort ?? served.port;
  const through = `${name} to ${to.key} ${protocol} ${target}${to.draining ? " (draining: no new connections)" : ""}`;
  if (from.key === to.key)
    return {
      through,
      ask: allowed("a machine reaches itself through a load balancer, whatever policies say"),
    };
  return { through, ask: question(from, to, protocol, target) };
}

/** Health checks go to what is balanced, whatever policies say; nothing else comes from their address. */
function probed({ balancer, text }: End, destination: End, to: Place): Explanation {
  const name = fullName({ kind: "NetworkFunction", object: balancer as NetworkFunction });
  const isServed =
    destination.balancer === undefined &&
    (balancer?.status?.endpoints ?? []).some(({ name: machine }) => machine === to.machine?.metadata.name);
  if (isServed) return allowed(`health checks of ${name} reach what it balances, whatever policies say`);
  return denied(`only the health checks of ${name} come from ${text}, and only to what it balances`);
}

function question(from: Place, to: Place, protocol: Protocol, port: number | undefined): Question {
  const ends = { source: from.key, destination: to.key, protocol };
  return port === undefined ? ends : { ...ends, port };
}

const allowed = (why: string): Explanation => ({ allowed: true, text: [why], remedies: [], path: [] });
const denied = (why: string): Explanation => ({ allowed: false, text: [why], remedies: [], path: [] });

/** A number, or the name that the destination's machine gives to one. */
function portNumber(text: string | undefined, { key, machine }: Place, protocol: Protocol): number {
  if (text === undefined)
    throw new PlinthError(
      "PORT_UNKNOWN",
      `say to which ${protocol} port, as in NAME:80 (or --protocol ICMP)`,
    );
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number >= 1 && number <= 65_535) return number;
    throw new PlinthError("PORT_UNKNOWN", `expected a port number from 1 to 65535, found ${text}`);
  }
  const ports = machine?.spec.ports ?? [];
  const found = ports.find(({ name, protocol: of }) => name === text && of === protocol);
  if (found !== undefined) return found.port;
  const all = ports.map(({ name, port, protocol: of }) => `${name} (${of} ${port})`).join(", ");
  const has = all === "" ? "names no ports" : `names ${all}`;
  throw new PlinthError("PORT_UNKNOWN", `${key} has no ${protocol} port ${text}: its machine ${has}`);
}

function atAddress(text: string, inventory: Inventory): End {
  const wanted = parseAddress(text);
  const isIt = (other: string | undefined): boolean => {
    const address = other === undefined ? undefined : parseAddress(other);
    return address !== undefined && address.bits === wanted?.bits && address.value === wanted.value;
  };
  const ports = inventory.ports.filter(({ status }) => status?.addresses?.some(isIt));
  if (ports.length > 0) return { text, places: ports.map((port) => placeOf(port, inventory)) };
  const functions = inventory.functions;
  const balancer = functions.find(({ status, spec }) => isIt(status?.address ?? spec.loadBalancer?.address));
  if (balancer !== undefined) return behind(balancer, inventory, text);
  const prober = functions.find(({ status }) => isIt(status?.probeAddress));
  if (prober === undefined) return { text, places: [{ key: text }] };
  return { text, places: [{ key: text, network: networkOf(prober) }], balancer: prober, probes: true };
}

/** What a name without kind and network may mean. */
function named(body: string, inventory: Inventory, namespace: string): Found[] {
  const words = body.split("/");
  const [a = "", b = "", c = ""] = words;
  if (words.some((word) => word === "") || words.length > 3) return [];
  const all = everything(inventory);
  const find = (space: string, name: string, kind?: Kind): Found[] =>
    all.filter(
      (each) =>
        each.object.metadata.namespace === space &&
        each.object.metadata.name === name &&
        (kind ?? each.kind) === each.kind,
    );
  // A port is often named like nothing else, but never meant where a machine or balancer has the name.
  const untyped = (space: string, name: string): Found[] => {
    const found = find(space, name);
    const others = found.filter(({ kind }) => kind !== "Port");
    return others.length > 0 ? others : found;
  };
  if (words.length === 1) return untyped(namespace, a);
  const kind = kindOf(words.length === 2 ? a : b);
  if (words.length === 3) return kind === undefined ? [] : find(a, c, kind);
  const inNamespace = untyped(a, b);
  return kind === undefined || inNamespace.length > 0 ? inNamespace : find(namespace, b, kind);
}

function everything({ machines, ports, functions }: Inventory): Found[] {
  return [
    ...machines.map((object): Found => ({ kind: "VirtualMachine", object })),
    ...functions.map((object): Found => ({ kind: "NetworkFunction", object })),
    ...ports.map((object): Found => ({ kind: "Port", object })),
  ];
}

function kindOf(word: string): Kind | undefined {
  const name = findKindByWord(word)?.kind;
  return KINDS.find((kind) => kind === name);
}

function fullName({ kind, object }: Found): string {
  return `${object.metadata.namespace}/${object.metadata.name}[${kind}]`;
}

function endOf({ kind, object }: Found, inventory: Inventory): Omit<End, "text"> {
  const { name, namespace } = object.metadata;
  if (kind === "Port") return { places: [placeOf(object as Port, inventory)] };
  if (kind === "NetworkFunction") return behind(object as NetworkFunction, inventory, "");
  const ports = inventory.ports.filter(
    ({ spec, metadata }) => spec.virtualMachine === name && metadata.namespace === namespace,
  );
  if (ports.length === 0) throw new PlinthError("NOT_FOUND", `machine ${namespace}/${name} has no port`);
  return { places: ports.map((port) => placeOf(port, inventory)) };
}

function placeOf(port: Port, { machines }: Inventory): Place {
  const { namespace, name } = port.metadata;
  const machine = machines.find(
    ({ metadata }) => metadata.namespace === namespace && metadata.name === port.spec.virtualMachine,
  );
  const place = { key: `${namespace}/${name}`, network: `${namespace}/${port.spec.network}` };
  return machine === undefined ? place : { ...place, machine };
}

function networkOf({ metadata, spec }: NetworkFunction): string {
  return `${metadata.namespace}/${spec.network}`;
}

/** Throws NOT_FOUND while nothing serves there. */
function behind(balancer: NetworkFunction, inventory: Inventory, text: string): End {
  const { namespace, name } = balancer.metadata;
  const endpoints = balancer.status?.endpoints ?? [];
  const places = endpoints.flatMap(({ name: machine, address, draining }) => {
    const port = inventory.ports.find(
      ({ metadata, spec, status }) =>
        metadata.namespace === namespace &&
        spec.virtualMachine === machine &&
        spec.network === balancer.spec.network &&
        status?.addresses?.includes(address),
    );
    return port === undefined ? [] : [{ ...placeOf(port, inventory), draining }];
  });
  if (places.length === 0)
    throw new PlinthError("NOT_FOUND", `no machine serves behind load balancer ${namespace}/${name}`);
  return { text, places, balancer };
}

/** Throws NOT_FOUND when none of the end's interfaces is on it. */
function onNetwork(end: End, network: string | undefined): End {
  if (network === undefined) return end;
  const places = end.places.filter(
    (place) => place.network?.endsWith(`/${network}`) || place.network === network,
  );
  if (places.length > 0) return { ...end, places };
  const there = [...new Set(end.places.flatMap((place) => place.network ?? []))].join(", ") || "none";
  throw new PlinthError(
    "NOT_FOUND",
    `${end.text} has no interface on network ${network}; its networks: ${there}`,
  );
}

function invalid(text: string, why: string): PlinthError {
  return new PlinthError("NAME_INVALID", `${text}: ${why}`);
}

function notFound(text: string, body: string, inventory: Inventory, namespace: string): PlinthError {
  const name = body.split("/").at(-1);
  const all = everything(inventory);
  const namesakes = all.filter(({ object }) => object.metadata.name === name).map(fullName);
  const [first = "", ...rest] = body.split("/");
  const space = rest.length === 0 || (rest.length === 1 && kindOf(first) !== undefined) ? namespace : first;
  const there = all
    .filter(({ kind, object }) => kind !== "Port" && object.metadata.namespace === space)
    .map(fullName);
  const told = namesakes.length > 0 ? namesakes : there;
  const more = told.length > CANDIDATES_MAX ? ` and ${told.length - CANDIDATES_MAX} more` : "";
  const list = `${told.slice(0, CANDIDATES_MAX).join(", ")}${more}`;
  const message =
    body.includes("/") || namesakes.length === 0
      ? `there is no machine ${text}`
      : `there is no ${text} in namespace ${namespace}`;
  const remedy =
    namesakes.length > 0
      ? `there is ${list}`
      : told.length > 0
        ? `namespace ${space} has ${list}`
        : undefined;
  return new PlinthError("NOT_FOUND", message, remedy === undefined ? {} : { remedy });
}
