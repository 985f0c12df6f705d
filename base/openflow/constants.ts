// Numbers of OpenFlow 1.3, spelled as the specification spells them.
// Source: OpenFlow Switch Specification 1.3.5 (ONF TS-023), clause 7 and appendix A; Nicira numbers as Open vSwitch documents them.

export const OFP11_VERSION = 0x02;
export const OFP12_VERSION = 0x03;
export const OFP13_VERSION = 0x04;
export const OFP14_VERSION = 0x05;
export const OFP15_VERSION = 0x06;
export const OFP_HEADER_SIZE = 8;
export const OFP_DEFAULT_MISS_SEND_LEN = 128;
export const OFP_NO_BUFFER = 0xffffffff;
export const OFPCML_NO_BUFFER = 0xffff;

/** Message types by name (7.1): the name is the `type` of a message value. */
export const OFPT = {
  hello: 0,
  error: 1,
  echo_request: 2,
  echo_reply: 3,
  experimenter: 4,
  features_request: 5,
  features_reply: 6,
  get_config_request: 7,
  get_config_reply: 8,
  set_config: 9,
  packet_in: 10,
  flow_removed: 11,
  port_status: 12,
  packet_out: 13,
  flow_mod: 14,
  group_mod: 15,
  port_mod: 16,
  table_mod: 17,
  multipart_request: 18,
  multipart_reply: 19,
  barrier_request: 20,
  barrier_reply: 21,
  queue_get_config_request: 22,
  queue_get_config_reply: 23,
  role_request: 24,
  role_reply: 25,
  get_async_request: 26,
  get_async_reply: 27,
  set_async: 28,
  meter_mod: 29,
} as const;

/** Multipart types by name (7.3.5): the name is the `kind` of a multipart body. */
export const OFPMP = {
  desc: 0,
  flow: 1,
  aggregate: 2,
  table: 3,
  port_stats: 4,
  queue: 5,
  group: 6,
  group_desc: 7,
  group_features: 8,
  meter: 9,
  meter_config: 10,
  meter_features: 11,
  table_features: 12,
  port_desc: 13,
  experimenter: 0xffff,
} as const;

export const OFPMPF_REQ_MORE = 1;
export const OFPMPF_REPLY_MORE = 1;

// Port numbers (7.2.1)
export const OFPP_MAX = 0xffffff00;
export const OFPP_IN_PORT = 0xfffffff8;
export const OFPP_TABLE = 0xfffffff9;
export const OFPP_NORMAL = 0xfffffffa;
export const OFPP_FLOOD = 0xfffffffb;
export const OFPP_ALL = 0xfffffffc;
export const OFPP_CONTROLLER = 0xfffffffd;
export const OFPP_LOCAL = 0xfffffffe;
export const OFPP_ANY = 0xffffffff;

// Groups (7.3.4.2)
export const OFPG_MAX = 0xffffff00;
export const OFPG_ALL = 0xfffffffc;
export const OFPG_ANY = 0xffffffff;

// Meters (7.3.4.4)
/** Buckets of a group by place instead of number (OpenFlow 1.5). */
export const OFPG_BUCKET_FIRST = 0xfffffffd;
export const OFPG_BUCKET_LAST = 0xfffffffe;
export const OFPG_BUCKET_ALL = 0xffffffff;
export const OFPM_MAX = 0xffff0000;
/** Virtual meters: of packets that a slow path handles, and of what controllers are told. */
export const OFPM_SLOWPATH = 0xfffffffd;
export const OFPM_CONTROLLER = 0xfffffffe;
export const OFPM_ALL = 0xffffffff;

// Queues (7.2.2)
export const OFPQ_ALL = 0xffffffff;

// Tables (7.3.3)
export const OFPTT_MAX = 0xfe;
export const OFPTT_ALL = 0xff;
/** Of a table's configuration: what earlier versions said there about misses. 1.3 gives it no meaning. */
export const OFPTC_DEPRECATED_MASK = 3;

// Port configuration, state and features (7.2.1)
export const OFPPC_PORT_DOWN = 1 << 0;
export const OFPPC_NO_RECV = 1 << 2;
/** OpenFlow 1.0 only. */
export const OFPPC_NO_FLOOD = 1 << 4;
export const OFPPC_NO_FWD = 1 << 5;
export const OFPPC_NO_PACKET_IN = 1 << 6;
export const OFPPS_LINK_DOWN = 1 << 0;
export const OFPPS_LIVE = 1 << 2;
export const OFPPF_10GB_FD = 1 << 6;

// Switch capabilities (7.3.1)
export const OFPC_FLOW_STATS = 1 << 0;
export const OFPC_TABLE_STATS = 1 << 1;
export const OFPC_PORT_STATS = 1 << 2;
export const OFPC_GROUP_STATS = 1 << 3;
export const OFPC_IP_REASM = 1 << 5;
export const OFPC_QUEUE_STATS = 1 << 6;

// Fragment handling (7.3.2)
export const OFPC_FRAG_NORMAL = 0;
export const OFPC_FRAG_DROP = 1;
export const OFPC_FRAG_REASM = 2;
/** Nicira's: as NORMAL, and first fragments show their transport header. */
export const OFPC_FRAG_NX_MATCH = 3;
export const OFPC_FRAG_MASK = 3;
/** Before OpenFlow 1.3 only, where asynchronous configuration does its work. */
export const OFPC_INVALID_TTL_TO_CONTROLLER = 1 << 2;

// Flow-mod flags (7.3.4.1)
export const OFPFF_SEND_FLOW_REM = 1 << 0;
export const OFPFF_CHECK_OVERLAP = 1 << 1;
export const OFPFF_RESET_COUNTS = 1 << 2;
export const OFPFF_NO_PKT_COUNTS = 1 << 3;
export const OFPFF_NO_BYT_COUNTS = 1 << 4;

// Group capabilities (7.3.5.10), meter flags (7.3.4.4)
export const OFPGFC_SELECT_WEIGHT = 1 << 0;
export const OFPGFC_SELECT_LIVENESS = 1 << 1;
export const OFPGFC_CHAINING = 1 << 2;
export const OFPGFC_CHAINING_CHECKS = 1 << 3;
export const OFPMF_KBPS = 1 << 0;
export const OFPMF_PKTPS = 1 << 1;
export const OFPMF_BURST = 1 << 2;
export const OFPMF_STATS = 1 << 3;

/** A packet's VLAN is present (7.2.3.7): set in the value of the vlan_vid field. */
export const OFPVID_PRESENT = 0x1000;

// Experimenters
export const NX_EXPERIMENTER = 0x00002320;
export const ONF_EXPERIMENTER = 0x4f4e4600;

// Bundle flags (ONF extension 230)
export const OFPBF_ATOMIC = 1 << 0;
export const OFPBF_ORDERED = 1 << 1;

// Bits of ct_state (ovs-fields(7))
export const CT_STATE_NEW = 1 << 0;
export const CT_STATE_EST = 1 << 1;
export const CT_STATE_REL = 1 << 2;
export const CT_STATE_RPL = 1 << 3;
export const CT_STATE_INV = 1 << 4;
export const CT_STATE_TRK = 1 << 5;
export const CT_STATE_SNAT = 1 << 6;
export const CT_STATE_DNAT = 1 << 7;
