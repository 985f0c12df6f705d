// The pipelines of a data plane bench, as OpenFlow that both switches read. Ports are numbered from 1; an odd port and
// the even one behind it are a pair. Pure.
import { type Addressing, macOf, ROUTER_MAC, SERVER, SERVICE } from "./traffic.js";

export interface PipelineKind {
  readonly title: string;
  readonly addressing: Addressing;
  /** Connections are to be opened from one side. */
  readonly leads: boolean;
  readonly flows: (ports: number) => readonly string[];
}

const ACL_RULES = 10_000;
const CLIENT_NETWORKS = 512;
const SERVER_NETWORKS = 16;

const pairs = (ports: number): readonly (readonly [number, number])[] =>
  Array.from({ length: ports / 2 }, (_, i) => [2 * i + 1, 2 * i + 2] as const);

const directions = (ports: number): readonly (readonly [number, number])[] =>
  pairs(ports).flatMap(([a, b]) => [
    [a, b],
    [b, a],
  ]);

export const PIPELINES = {
  port: {
    title: "port to port",
    addressing: "plain",
    leads: false,
    flows: (ports) => directions(ports).map(([from, to]) => `in_port=${from},actions=output:${to}`),
  },
  normal: {
    title: "NORMAL",
    addressing: "plain",
    leads: false,
    flows: () => ["priority=0,actions=NORMAL"],
  },
  acl: {
    title: "ACL of 10,000 rules",
    addressing: "plain",
    leads: false,
    flows: (ports) => [
      ...accessList(),
      ...directions(ports).map(([from, to]) => `priority=1,ip,in_port=${from},actions=output:${to}`),
    ],
  },
  routed: {
    title: "routed, 528 networks",
    addressing: "routed",
    leads: false,
    flows: (ports) => directions(ports).flatMap(([from, to]) => routes(from, to)),
  },
  translated: {
    title: "NAT",
    addressing: "translated",
    leads: true,
    flows: (ports) => pairs(ports).flatMap(([a, b]) => translation(a, b)),
  },
  tracked: {
    title: "established connections",
    addressing: "plain",
    leads: true,
    flows: (ports) => ["ip,actions=ct(zone=1,table=1)", ...directions(ports).flatMap(track)],
  },
} as const satisfies Record<string, PipelineKind>;

export type PipelineName = keyof typeof PIPELINES;

/** Denials of several shapes, none of which is meant for the traffic. */
function accessList(): string[] {
  return Array.from({ length: ACL_RULES }, (_, n) => {
    const network = `11.${n >> 8}.${n & 255}`;
    const rule = [
      `ip,nw_src=${network}.0/24`,
      `udp,nw_src=${network}.7,tp_dst=${1 + (n % 1000)}`,
      `tcp,nw_dst=${network}.0/25,tp_dst=${1 + (n % 1000)}`,
      `ip,nw_src=${network}.128/25,nw_dst=192.168.${n & 255}.0/24`,
    ][n % 4];
    return `priority=${100 + (n % 4)},${rule},actions=drop`;
  });
}

function routes(from: number, to: number): string[] {
  const mac = (bytes: readonly number[]) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  const rewrite = `dec_ttl,mod_dl_src:${mac(ROUTER_MAC)},mod_dl_dst:${mac(macOf(to - 1))},output:${to}`;
  const isToServers = from % 2 === 1;
  return Array.from({ length: isToServers ? SERVER_NETWORKS : CLIENT_NETWORKS }, (_, n) => {
    const network = isToServers ? `172.16.${n}.0/24` : `10.${n >> 8}.${n & 255}.0/24`;
    return `ip,in_port=${from},nw_dst=${network},actions=${rewrite}`;
  });
}

function translation(clients: number, servers: number): string[] {
  const zone = clients;
  return [
    `ip,in_port=${clients},actions=ct(nat,zone=${zone},table=1)`,
    `ip,in_port=${servers},actions=ct(nat,zone=${zone},table=1)`,
    `table=1,ip,in_port=${clients},ct_state=+new,nw_dst=${SERVICE},actions=ct(commit,nat(dst=${SERVER}),zone=${zone}),output:${servers}`,
    `table=1,ip,in_port=${clients},ct_state=+est,actions=output:${servers}`,
    `table=1,ip,in_port=${servers},ct_state=+est,actions=output:${clients}`,
  ];
}

function track([from, to]: readonly [number, number]): string[] {
  return [
    `table=1,priority=10,ip,ct_state=+trk+new,in_port=${from},actions=ct(commit,zone=1),output:${to}`,
    `table=1,ip,ct_state=+trk+est,in_port=${from},actions=output:${to}`,
  ];
}
