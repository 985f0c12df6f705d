// Tables track, connection, commit and denied: what connection tracking contributes. Each segment is a zone. Pure.
import {
  type Action,
  CT_STATE_EST,
  CT_STATE_INV,
  CT_STATE_NEW,
  CT_STATE_REL,
  CT_STATE_RPL,
  CT_STATE_TRK,
} from "../../../base/openflow/index.js";
import { hasIpv6, type LoadBalancerView, type NetworkView } from "../../network/views.js";
import { commit, load, loadBits, output, toController, track } from "../../pipeline/actions.js";
import { buildFlow, type Flow, type MaskedValue } from "../../pipeline/flow.js";
import { FLAG_EXEMPT, FLAG_LOGGED, MARK_CUT, MARK_FUNCTION_MASK, MARK_KNOWN } from "../../pipeline/tables.js";
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_TCP } from "../ethertypes.js";

const PIPELINE = { resource: "Pipeline" } as const;
const NEW = ctState(CT_STATE_TRK | CT_STATE_NEW);
const ESTABLISHED = ctState(CT_STATE_TRK | CT_STATE_EST);
const REPLY = ctState(CT_STATE_TRK | CT_STATE_EST | CT_STATE_RPL);
const RELATED = ctState(CT_STATE_TRK | CT_STATE_REL);
const INVALID = ctState(CT_STATE_TRK | CT_STATE_INV);
const CUT = { value: MARK_CUT, mask: MARK_CUT };
const UNKNOWN: MaskedValue = { value: 0, mask: MARK_KNOWN };
const LOGGED: MaskedValue = { value: FLAG_LOGGED, mask: FLAG_LOGGED };
const NOT_CUT = { value: 0, mask: MARK_CUT };
/** Of a connection that was allowed and committed before, which its first packets do not show otherwise. */
const KNOWN_NOT_CUT = { value: MARK_KNOWN, mask: MARK_KNOWN + MARK_CUT };
const IPV4 = { eth_type: ETHERTYPE_IPV4 } as const;

/**
 * The mark of a new connection, made by a network function or (0) by the machine itself. A connection stays new until
 * it is answered: one that was cut before that is whole again.
 */
function markOf(functionNumber: number): Action {
  return loadBits("ct_mark", 0, 32, functionNumber + MARK_KNOWN);
}

/** All of `bits` set, whatever the others are. */
function ctState(bits: number): MaskedValue {
  return { value: bits, mask: bits };
}

export function connectionBaseFlows(): Flow[] {
  const exempt = { actions: [load("reg6", FLAG_EXEMPT)], next: "destination", origin: PIPELINE } as const;
  const cut = { resource: "Pipeline", reason: "connection-cut" } as const;
  return [
    buildFlow({
      table: "track",
      priority: 0,
      match: {},
      origin: { resource: "Pipeline", reason: "unknown-segment" },
    }),
    buildFlow({
      table: "connection",
      priority: 100,
      match: { ct_state: INVALID },
      origin: { resource: "Pipeline", reason: "invalid-connection" },
    }),
    buildFlow({ table: "connection", priority: 90, match: { ct_state: REPLY, ct_mark: CUT }, origin: cut }),
    buildFlow({ table: "connection", priority: 90, match: { ct_state: RELATED, ct_mark: CUT }, origin: cut }),
    buildFlow({ table: "connection", priority: 70, match: { ct_state: REPLY }, ...exempt }),
    buildFlow({ table: "connection", priority: 70, match: { ct_state: RELATED }, ...exempt }),
    buildFlow({ table: "connection", priority: 0, match: {}, next: "destination", origin: PIPELINE }),
    buildFlow({ table: "commit", priority: 0, match: {}, next: "output", origin: PIPELINE }),
    buildFlow({
      table: "denied",
      priority: 0,
      match: {},
      next: "dropped",
      origin: PIPELINE,
    }),
  ];
}

/** The zone of one segment. */
export function connectionNetworkFlows(network: NetworkView): Flow[] {
  const families = hasIpv6(network) ? [ETHERTYPE_IPV4, ETHERTYPE_IPV6] : [ETHERTYPE_IPV4];
  return families.flatMap((family) => zoneFlows(network, family));
}

function zoneFlows(network: NetworkView, family: number): Flow[] {
  const origin = { resource: `Network/${network.key}` };
  const zone = network.segmentId;
  const here = { reg0: zone, eth_type: family };
  return [
    buildFlow({
      table: "track",
      priority: 100,
      match: here,
      actions: [track(zone, "connection")],
      origin,
    }),
    buildFlow({
      table: "commit",
      priority: 100,
      match: { ...here, ct_state: NEW },
      actions: [commit(zone, [markOf(0)])],
      next: "output",
      origin,
    }),
    buildFlow({
      table: "commit",
      priority: 120,
      match: { ...here, ct_state: NEW, ct_mark: UNKNOWN, reg5: 0, reg6: LOGGED },
      actions: [toController(), commit(zone, [markOf(0)])],
      next: "output",
      origin,
    }),
    buildFlow({
      table: "commit",
      priority: 90,
      match: { ...here, ct_state: ESTABLISHED, ct_mark: CUT },
      actions: [commit(zone, [loadBits("ct_mark", 31, 1, 0)])],
      next: "output",
      origin,
    }),
    buildFlow({
      table: "denied",
      priority: 100,
      match: { ...here, ct_state: ESTABLISHED, ct_mark: NOT_CUT },
      actions: [toController(), commit(zone, [loadBits("ct_mark", 31, 1, 1)])],
      next: "dropped",
      origin,
    }),
    buildFlow({
      table: "denied",
      priority: 100,
      match: { ...here, ct_state: NEW, ct_mark: KNOWN_NOT_CUT },
      actions: [toController(), commit(zone, [loadBits("ct_mark", 31, 1, 1)])],
      next: "dropped",
      origin,
    }),
  ];
}

/** Connections that a load balancer made: marked when committed, their replies steered back to it. */
export function connectionFunctionFlows(balancer: LoadBalancerView, ofport: number): Flow[] {
  const origin = { resource: `NetworkFunction/${balancer.key}` };
  const segmentId = balancer.network.segmentId;
  const made: MaskedValue = { value: balancer.number, mask: MARK_FUNCTION_MASK };
  return [
    ...pickedUpFlows(balancer, ofport),
    buildFlow({
      table: "connection",
      priority: 80,
      match: { reg0: segmentId, ct_state: REPLY, ct_mark: made },
      actions: [output(ofport)],
      origin,
    }),
    buildFlow({
      table: "commit",
      priority: 110,
      match: { reg0: segmentId, reg5: balancer.number, ...IPV4, ct_state: NEW },
      actions: [commit(segmentId, [markOf(balancer.number)])],
      next: "output",
      origin,
    }),
    buildFlow({
      table: "commit",
      priority: 120,
      match: {
        reg0: segmentId,
        reg5: balancer.number,
        reg6: LOGGED,
        ...IPV4,
        ct_state: NEW,
        ct_mark: UNKNOWN,
      },
      actions: [toController(), commit(segmentId, [markOf(balancer.number)])],
      next: "output",
      origin,
    }),
  ];
}

/**
 * After a switch lost its connections it may let segments of the answering side pass as replies although it knows no
 * connection (no mark). What an endpoint answers from a balanced port then belongs to the balancer: the client knows
 * only the virtual address, and would reset the connection.
 */
function pickedUpFlows(balancer: LoadBalancerView, ofport: number): Flow[] {
  const unknown: MaskedValue = { value: 0, mask: MARK_KNOWN };
  const ports = new Set(balancer.targetPorts);
  return balancer.endpoints.flatMap((endpoint) =>
    [...ports].map((port) =>
      buildFlow({
        table: "connection",
        priority: 75,
        match: {
          reg0: balancer.network.segmentId,
          ct_state: REPLY,
          ct_mark: unknown,
          ...IPV4,
          ip_proto: IPPROTO_TCP,
          ipv4_src: endpoint.address,
          tcp_src: port,
        },
        actions: [output(ofport)],
        origin: { resource: `NetworkFunction/${balancer.key}` },
      }),
    ),
  );
}
