// Everything has a maximum; reaching it is ordinary, counted and tested.

/** A segment number is also the connection-tracking zone, which has 16 bits. */
export const SEGMENT_ID_MAX = 65535;
export const VLAN_MAX = 4094;
/** Packets that one port may send to the controller: burst, and refill per second. */
export const PACKET_IN_BURST = 20;
export const PACKET_IN_PER_SECOND = 5;
/** Time that the switch has to answer a barrier or a statistics request. */
export const SWITCH_REPLY_TIMEOUT_MS = 10_000;
/** How often a switch is asked whether this controller is still its master, and how soon again after no answer. */
export const ROLE_CHECK_MS = 15_000;
export const ROLE_RETRY_MS = 1_000;
/** Newer generations that one election takes before it is put off. */
export const ELECTION_ATTEMPTS_MAX = 4;
/** Time that a controller which does not share our store is left the switch; doubled each time, up to the second. */
export const RIVAL_RETRY_MS = 60_000;
export const RIVAL_RETRY_MS_MAX = 3_600_000;
/** Flow-mods in one bundle: a change of up to so many flows takes effect at once. Keeps a bundle within 16 MiB. */
export const BUNDLE_FLOWS_MAX = 50_000;
/** Bundles that are tried without what the switch refused of them, before each flow-mod goes by itself. */
export const BUNDLE_ATTEMPTS_MAX = 4;
/** Flow-mods between two barriers where there are no bundles, so that a change cannot outgrow socket buffers. */
export const FLOW_MODS_PER_BARRIER = 1000;
/** Period of the comparison of installed with intended flows. */
export const AUDIT_INTERVAL_MS = 15_000;
/** Flows that one comparison reads, about: of more it reads a part, and another part the next time. */
export const AUDIT_FLOWS_MAX = 8_192;
/** Conjunctions about one subject and direction: a clause that all of them share is a message of 16 KiB. */
export const CONJUNCTIONS_MAX = 1_000;
/** DHCP lease and maximum accepted hostname. Long: renewal needs the controller, forwarding does not. */
export const DHCP_LEASE_SECONDS = 86_400;
/** Pairs of ports whose dropped packets are counted one by one. */
export const POLICY_PAIRS_MAX = 1024;
/** Logged decisions and cut connections that are remembered. */
export const POLICY_NEWS_MAX = 512;
/** Policies that went whose names are remembered, so that what they dropped last is told with them. */
export const GONE_POLICIES_MAX = 256;
/** Changes remembered for inspection. */
export const CHANGE_RECORDS_MAX = 256;
/** Groups of ports that policies cannot tell apart, pairs of them, and distinct address blocks, up to which a change is worked out. */
export const PLAN_GROUPS_MAX = 512;
export const PLAN_GROUP_PAIRS_MAX = 4_096;
export const PLAN_BLOCKS_MAX = 512;
/** Pairs of groups that a plan of everything compares: some seconds of work, in which the controller does nothing else. */
export const PLAN_PAIRS_COMPARED_MAX = 32_768;
/** Lines that it has at most with every port named. */
export const PLAN_LINES_MAX = 250_000;
/** Pairs that a plan by groups names one by one. */
export const PLAN_PAIRS_NAMED_MAX = 100;
