// Actions as they are called in OpenFlow 1.0, which our codec reads as those of 1.3 that mean the same. Pure.
// Source: ovs-actions(7), base/openflow/v10/actions-wire.ts.
import type { Action, OxmFieldName, SetFieldAction } from "../../base/openflow/index.js";
import { OXM_FIELDS } from "../../base/openflow/index.js";
import { formatAction, formatOuter } from "./action-text.js";
import { bytesToNumber, formatFieldValue } from "./field-text.js";
import { formatNamedPort, type PortNames } from "./match-text.js";

const VLAN_PRESENT = 0x1000n;

const SETS: Readonly<Partial<Record<OxmFieldName, string>>> = {
  eth_src: "mod_dl_src",
  eth_dst: "mod_dl_dst",
  ipv4_src: "mod_nw_src",
  ipv4_dst: "mod_nw_dst",
  tcp_src: "mod_tp_src",
  tcp_dst: "mod_tp_dst",
  udp_src: "mod_tp_src",
  udp_dst: "mod_tp_dst",
  sctp_src: "mod_tp_src",
  sctp_dst: "mod_tp_dst",
  mpls_label: "set_mpls_label",
  mpls_tc: "set_mpls_tc",
};

const SETS_11: Readonly<Partial<Record<OxmFieldName, string>>> = {
  ...SETS,
  vlan_vid: "set_vlan_vid",
  vlan_pcp: "set_vlan_pcp",
  ip_ecn: "mod_nw_ecn",
};

/** The list with commas, "drop" when it is empty. */
export function formatActions10(
  actions: readonly Action[],
  format: (action: Action) => string,
  names: PortNames | undefined,
): string {
  const parts: string[] = [];
  for (let at = 0; at < actions.length; at++) {
    const [first, second, third] = actions.slice(at, at + 3);
    if (
      first?.type === "set_queue" &&
      second?.type === "output" &&
      third?.type === "set_queue" &&
      third.queueId === 0
    ) {
      parts.push(`enqueue:${formatNamedPort(second.port, names)}:${first.queueId}`);
      at += 2;
    } else parts.push(format(first as Action));
  }
  return parts.length === 0 ? "drop" : parts.join(",");
}

/** One action; `format` is for those inside it. */
export function formatAction10(action: Action, format: (inner: Action) => string, names?: PortNames): string {
  switch (action.type) {
    case "pop_vlan":
      return "strip_vlan";
    case "load": {
      const { field, offset, bits } = action.destination;
      if (field !== "vlan_tci") return formatAction(action);
      if (offset === 0 && bits === 13 && (action.value & VLAN_PRESENT) !== 0n)
        return `mod_vlan_vid:${action.value & 0xfffn}`;
      return offset === 12 && bits === 4 && (action.value & 1n) !== 0n
        ? `mod_vlan_pcp:${action.value >> 1n}`
        : formatAction(action);
    }
    case "set_field":
      return formatSet(action, SETS) ?? formatAction(action);
    case "clone":
      return `clone(${formatActions10(action.actions, format, names)})`;
    case "ct":
      return formatOuter(action, format);
    default:
      return formatAction(action);
  }
}

/** One action as it is called in OpenFlow 1.1; `format` is for those inside it. */
export function formatAction11(action: Action, format: (inner: Action) => string): string {
  switch (action.type) {
    case "set_field":
      return formatSet(action, SETS_11) ?? formatAction(action);
    case "clone":
    case "ct":
      return formatOuter(action, format);
    default:
      return formatAction(action);
  }
}

/** By the word that is older than set_field; undefined where there is none. */
function formatSet(
  action: SetFieldAction,
  words: Readonly<Partial<Record<OxmFieldName, string>>>,
): string | undefined {
  const { field, mask, form, value } = action;
  if (mask !== undefined || form !== undefined) return undefined;
  const number = bytesToNumber(value);
  if (field === "ip_dscp") return `mod_nw_tos:${number << 2n}`;
  const name = words[field];
  if (name === undefined) return undefined;
  if (field === "vlan_vid") return `${name}:${number & 0xfffn}`;
  if (field === "mpls_label" || field === "mpls_tc") return `${name}(${number})`;
  return `${name}:${formatFieldValue(OXM_FIELDS[field], action)}`;
}
