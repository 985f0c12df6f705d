// "May A reach B on this port, and why?": the compiled rules' verdict, and the flows that the first packet would hit.
// Pure; runs the flow model, so it asks no switch.
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_ICMPV6 } from "../apps/ethertypes.js";
import type { Compiler } from "../compiler.js";
import { type IpAddress, ipv4, ipv6, tryParseIpAddress } from "../network/ip-address.js";
import { ipv6AddressesOf, type PortView } from "../network/views.js";
import type { Flow } from "../pipeline/flow.js";
import type { DropReason } from "../pipeline/tables.js";
import type { CompiledRule } from "../policy/compile.js";
import { IDENTITY_WORLD } from "../policy/identity.js";
import type { PolicySet } from "../policy/policy-set.js";
import { type ConnectionEnd, type DirectionVerdict, verdictOf } from "../policy/verdict.js";
import { type Fields, FlowModel } from "./flow-model.js";

export interface ExplainQuestion {
  /** "namespace/port" of both ends; one of them may be an address that no machine has. */
  readonly source: string;
  readonly destination: string;
  /** Which of the machines' addresses talk; without it their first ones of the family. */
  readonly addresses?: { readonly source: IpAddress; readonly destination: IpAddress };
  /** Of the packets; 4 unless given, or an end is an address of IPv6. */
  readonly family?: 4 | 6;
  readonly protocol: "TCP" | "UDP" | "SCTP" | "ICMP";
  /** Destination port; absent for ICMP. */
  readonly port?: number;
}

export interface ExplainStep {
  readonly table: string;
  readonly priority: number;
  readonly cookie: string;
  /** The resource that the flow comes from. */
  readonly resource: string;
  /** Which of its rules, such as "ingress[2]", where it has some. */
  readonly rule?: string;
  readonly reason?: string;
}

export interface Explanation {
  readonly allowed: boolean;
  /** One sentence per direction, for people. */
  readonly text: readonly string[];
  /** What would have to change so that it is allowed: a sentence for each direction that denies. */
  readonly remedies: readonly string[];
  /** Why nothing passes all the same, whatever policies allow: one end is an address that no machine has. */
  readonly undelivered?: string;
  /** What the first packet hits; empty while one of the ends is not plugged in. */
  readonly path: readonly ExplainStep[];
}

/** Of rules that allow the same. */
const RULES_SHOWN = 5;
const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1 } as const;

/** An end of the question: a machine's port, or an address outside. */
interface AskedEnd extends ConnectionEnd {
  readonly key: string;
  readonly port?: PortView;
}

export function explain(compiler: Compiler, question: ExplainQuestion): Explanation {
  const [from6, to6] = [question.source, question.destination].map((text) => text.includes(":"));
  const family = question.family ?? (from6 || to6 ? 6 : 4);
  const source = endOf(compiler, question.source, family, question.addresses?.source);
  const destination = endOf(compiler, question.destination, family, question.addresses?.destination);
  if (source === undefined) return unknown(question.source);
  if (destination === undefined) return unknown(question.destination);
  const [from, to] = [source.port?.network.key, destination.port?.network.key];
  if (from === undefined && to === undefined)
    return refused("neither end is a machine's, so no policy speaks of them", []);
  if (from !== undefined && to !== undefined && from !== to)
    return refused(`${from} and ${to} are different networks with no router`, [
      "both machines need an interface on one network",
    ]);
  if (source.address.family !== destination.address.family)
    return refused("an address of IPv4 and one of IPv6 do not talk to each other", []);
  const lost = undelivered(source, destination);
  const verdict = verdictOf(compiler.policies, {
    source,
    destination,
    protocol: protocolNumber(question.protocol, source.address.family),
    ...(question.port === undefined ? {} : { port: question.port }),
  });
  const ruleName = ({ policy, ruleId }: CompiledRule): string =>
    `${rulePlace(compiler.policies, policy, ruleId) ?? "a rule"} of ${policyName(policy)}`;
  return {
    allowed: verdict.allowed,
    text: [sentence(verdict.egress, source, ruleName), sentence(verdict.ingress, destination, ruleName)],
    remedies: [
      ...remediesOf(verdict.egress, question, `to ${question.destination}`, ruleName),
      ...remediesOf(verdict.ingress, question, `from ${question.source}`, ruleName),
    ],
    ...(lost === undefined ? {} : { undelivered: lost }),
    path:
      source.port === undefined || destination.port === undefined
        ? []
        : pathOf(compiler, { source, destination, from: source.port, to: destination.port }, question),
  };
}

/** Nothing routes: packets stay among the machines of one network. */
function undelivered(source: AskedEnd, destination: AskedEnd): string | undefined {
  const dropped = (reason: DropReason): string => `the switch drops it (${reason})`;
  if (destination.port === undefined)
    return `no machine on ${source.port?.network.key} has ${destination.key}, and no router leads on: ${dropped("unknown-destination")}`;
  if (source.port === undefined)
    return `no machine on ${destination.port.network.key} may send from ${source.key}: ${dropped("spoofed-ip")}`;
  return undefined;
}

function unknown(key: string): Explanation {
  return refused(`there is no allocated port ${key}`, []);
}

function refused(text: string, remedies: readonly string[]): Explanation {
  return { allowed: false, text: [text], remedies, path: [] };
}

function endOf(
  compiler: Compiler,
  key: string,
  family: 4 | 6,
  chosen: IpAddress | undefined,
): AskedEnd | undefined {
  const port = compiler.inventory.port(key);
  if (port === undefined) {
    const address = tryParseIpAddress(key);
    return address === undefined ? undefined : { key, address, identity: IDENTITY_WORLD };
  }
  const identity = compiler.policies.identityOf(port.key)?.number ?? IDENTITY_WORLD;
  return { key, port, identity, address: chosen ?? addressOf(port, family) };
}

/** Of IPv6 the first that reaches further than the link. */
function addressOf(port: PortView, family: 4 | 6): IpAddress {
  const [linkLocal, global] = ipv6AddressesOf(port);
  const six = global ?? linkLocal;
  return family === 6 && six !== undefined ? ipv6(six) : ipv4(port.addresses[0] ?? 0);
}

type RuleName = (rule: CompiledRule) => string;

function sentence(verdict: DirectionVerdict, { key, port }: AskedEnd, ruleName: RuleName): string {
  const { direction, allowed, isolatedBy, rule, allowedToo = [], passedBy } = verdict;
  const word = direction === "Egress" ? "leave" : "reach";
  const way = direction.toLowerCase();
  const after = passedBy === undefined ? "" : ` (${ruleName(passedBy)} passes it on)`;
  if (port === undefined) return `may ${word} ${key}: no policy speaks of addresses that no machine has`;
  const may = `${allowed ? "may" : "may not"} ${word} ${key}`;
  if (rule !== undefined) {
    const names = [...new Set([rule, ...allowedToo].map(ruleName))];
    const more = names.length - RULES_SHOWN;
    const all = `${names.slice(0, RULES_SHOWN).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
    if (!allowed) return `${may}: ${all} denies it${after}`;
    return `${may}: ${all} ${names.length === 1 ? "allows" : "allow"} it${after}`;
  }
  if (isolatedBy.length === 0) return `${may}: no policy isolates it for ${way}${after}`;
  return `${may}: no rule of ${isolatedBy.map(policyName).join(", ")} allows it${after}`;
}

function remediesOf(
  verdict: DirectionVerdict,
  question: ExplainQuestion,
  peer: string,
  ruleName: RuleName,
): string[] {
  const { direction, allowed, isolatedBy, rule } = verdict;
  if (allowed) return [];
  const { protocol, port } = question;
  const what = port === undefined ? protocol : `${protocol} ${port}`;
  if (rule === undefined) {
    const policies = isolatedBy.map(policyName).join(" or ");
    return [`${policies} needs an ${direction.toLowerCase()} rule that allows ${what} ${peer}`];
  }
  const instead =
    rule.tier === "Admin"
      ? "an AdminNetworkPolicy of a lower priority number must allow it"
      : "a NetworkPolicy that selects the machine must allow it";
  return [`${ruleName(rule)} must leave out ${what} ${peer}, or ${instead}`];
}

/** Where in its policy the rule of this number stands: "ingress[2]". */
function rulePlace(policies: PolicySet, policy: string, id: number): string | undefined {
  const rule = policies.ruleOf(policy, id);
  return rule && `${rule.direction.toLowerCase()}[${rule.index}]`;
}

/** "policy shop/web", "AdminNetworkPolicy first". */
function policyName(key: string): string {
  const [kind, ...name] = key.split("/");
  return `${kind === "NetworkPolicy" ? "policy" : kind} ${name.join("/")}`;
}

function pathOf(
  compiler: Compiler,
  ends: {
    readonly source: AskedEnd;
    readonly destination: AskedEnd;
    readonly from: PortView;
    readonly to: PortView;
  },
  question: ExplainQuestion,
): ExplainStep[] {
  const { source, destination, from, to } = ends;
  const ofport = compiler.ofportOf(from.key);
  if (ofport === undefined || compiler.ofportOf(to.key) === undefined) return [];
  const protocol = question.protocol.toLowerCase();
  const { family } = source.address;
  const packet: Fields = {
    in_port: ofport,
    eth_src: from.mac,
    eth_dst: to.mac,
    eth_type: family === 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6,
    [`ipv${family}_src`]: source.address.value,
    [`ipv${family}_dst`]: destination.address.value,
    ip_proto: protocolNumber(question.protocol, family),
    ...(question.port === undefined ? {} : { [`${protocol}_dst`]: question.port }),
  };
  const flows = [...compiler.flows.keys()].flatMap((key) => compiler.flows.flow(key) ?? []);
  return new FlowModel(flows).run(packet).path.map((flow) => stepOf(compiler.policies, flow));
}

function protocolNumber(protocol: ExplainQuestion["protocol"], family: 4 | 6): number {
  return protocol === "ICMP" && family === 6 ? IPPROTO_ICMPV6 : PROTOCOLS[protocol];
}

function stepOf(policies: PolicySet, flow: Flow): ExplainStep {
  const { resource, ruleId } = flow.origin;
  const rule = ruleId === undefined ? undefined : rulePlace(policies, resource, ruleId);
  return {
    table: flow.table,
    priority: flow.priority,
    cookie: `0x${flow.cookie.toString(16)}`,
    resource,
    ...(rule === undefined ? {} : { rule }),
    // What ends in "denied" was refused for the reason of the flow before; the table only cuts what lived until then.
    ...(flow.origin.reason === undefined || flow.table === "denied" ? {} : { reason: flow.origin.reason }),
  };
}
