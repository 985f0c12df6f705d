// Bits of `wildcards` in struct ofp_match: which fields do not count. Source: OpenFlow Switch Specification 1.0.0, 5.2.3.

export const OFPFW_IN_PORT = 1 << 0;
export const OFPFW_DL_VLAN = 1 << 1;
export const OFPFW_DL_SRC = 1 << 2;
export const OFPFW_DL_DST = 1 << 3;
export const OFPFW_DL_TYPE = 1 << 4;
export const OFPFW_NW_PROTO = 1 << 5;
export const OFPFW_TP_SRC = 1 << 6;
export const OFPFW_TP_DST = 1 << 7;
/** Where the number of address bits that do not count stands. */
export const OFPFW_NW_SRC_SHIFT = 8;
export const OFPFW_NW_DST_SHIFT = 14;
export const OFPFW_DL_VLAN_PCP = 1 << 20;
export const OFPFW_NW_TOS = 1 << 21;
export const OFPFW_ALL = 0x3fffff;
/** The same where of each address exactly its 32 bits do not count, as Open vSwitch writes it. */
export const OFPFW_WHOLE_ADDRESSES = 0x3820ff;
