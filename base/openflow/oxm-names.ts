// Every name that people and Open vSwitch's programs give a match field, for the text of flows and actions.
// Source: ovs-fields(7). Invariant: no two fields share a name, but for in_port, which means the 32-bit field in a
// match and the 16-bit one in actions; fieldNamed() there decides.
import {
  OFPXMC_ERICSSON,
  OFPXMC_EXPERIMENTER,
  OFPXMC_NXM_0,
  OFPXMC_NXM_1,
  OFPXMC_OPENFLOW_BASIC,
  OFPXMC_PACKET_REGS,
  OXM_FIELDS,
  type OxmField,
  type OxmFieldName,
} from "./oxm-fields.js";

export interface FieldNames {
  /** The heading in ovs-fields(7); what set_field prints. */
  readonly manual: string;
  /** What dump-flows prints in a match. */
  readonly dump: string;
  /** Of the header that Nicira actions use: "NXM_OF_ETH_DST". */
  readonly header: string;
  /** Names that are also understood. */
  readonly others: readonly string[];
}

/** Where the manual's name is neither ours nor that of a match. */
const MANUAL: Partial<Record<OxmFieldName, string>> = {
  in_port: "in_port_oxm",
  nxm_in_port: "in_port",
  eth_dst: "eth_dst",
  eth_src: "eth_src",
  eth_type: "eth_type",
  ipv4_src: "ip_src",
  ipv4_dst: "ip_dst",
  ip_frag: "ip_frag",
};

/** Where the header's name is not made of the manual's. */
const HEADER: Partial<Record<OxmFieldName, string>> = {
  nxm_in_port: "NXM_OF_IN_PORT",
  ip_proto: "NXM_OF_IP_PROTO",
  ip_ecn: "NXM_NX_IP_ECN",
  ip_tos: "NXM_OF_IP_TOS",
  nw_ttl: "NXM_NX_IP_TTL",
  tun_src: "NXM_NX_TUN_IPV4_SRC",
  tun_dst: "NXM_NX_TUN_IPV4_DST",
  nd_reserved: "ERICOXM_OF_ICMPV6_ND_RESERVED",
  nd_options_type: "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE",
  ...nicira("tun_erspan_idx", "tun_erspan_ver", "tun_erspan_dir", "tun_erspan_hwid"),
  ...nicira("tun_gtpu_flags", "tun_gtpu_msgtype"),
};

/** Those of experimenter Nicira leave out that they are of tunnels. */
function nicira(...fields: readonly OxmFieldName[]): Partial<Record<OxmFieldName, string>> {
  return Object.fromEntries(fields.map((field) => [field, `NXOXM_ET_${field.slice(4).toUpperCase()}`]));
}

const ALSO: Partial<Record<OxmFieldName, readonly string[]>> = {
  tunnel_id: ["tunnel_id"],
  ip_frag: ["nw_frag"],
  ip_ecn: ["ip_ecn"],
  ip_proto: ["ip_proto"],
  nsh_spi: ["nsp"],
  nsh_si: ["nsi"],
  nsh_c1: ["nshc1"],
  nsh_c2: ["nshc2"],
  nsh_c3: ["nshc3"],
  nsh_c4: ["nshc4"],
};

const PREFIXES: Readonly<Record<number, string>> = {
  [OFPXMC_NXM_0]: "NXM_OF_",
  [OFPXMC_NXM_1]: "NXM_NX_",
  [OFPXMC_OPENFLOW_BASIC]: "OXM_OF_",
  [OFPXMC_EXPERIMENTER]: "ONFOXM_ET_",
  [OFPXMC_ERICSSON]: "ERICOXM_OF_",
};

function namesOf(field: OxmField): FieldNames {
  const manual = MANUAL[field.name] ?? field.ovsName;
  const oxm =
    field.oxmClass === OFPXMC_PACKET_REGS
      ? `OXM_OF_PKT_REG${field.number}`
      : field.name.startsWith("nsh_")
        ? `NXOXM_${field.name.toUpperCase()}`
        : `${PREFIXES[field.oxmClass]}${field.name.toUpperCase()}`;
  const [alias] = field.aliases;
  const made = alias === undefined ? oxm : `${PREFIXES[alias[0]]}${manual.toUpperCase()}`;
  const header = HEADER[field.name] ?? (field.oxmClass <= OFPXMC_NXM_1 ? headerOf(field, manual) : made);
  const dump = field.name === "in_port" ? "in_port" : field.name === "ip_frag" ? "nw_frag" : field.ovsName;
  const others = [field.name, oxm, ...(ALSO[field.name] ?? [])];
  return { manual, dump, header, others };
}

function headerOf(field: OxmField, manual: string): string {
  return `${PREFIXES[field.oxmClass]}${manual.toUpperCase()}`;
}

export const OXM_NAMES: Readonly<Record<OxmFieldName, FieldNames>> = Object.fromEntries(
  Object.values(OXM_FIELDS).map((field) => [field.name, namesOf(field)]),
) as Record<OxmFieldName, FieldNames>;
