// Destination addresses of control protocols between switches, which NORMAL keeps to itself.
// Source: IEEE 802.1Q-2022 table 8-1; ovs-vswitchd.conf.db(5), Bridge other_config:forward-bpdu. Hot: yes.

/** `high` and `low16` are the address's first 32 and last 16 bits. */
export function isReservedAddress(high: number, low16: number): boolean {
  switch (high) {
    case 0x0180c200 | 0: // Bridge group, pause, LACP, 802.1X, LLDP and the others of this block
      return low16 <= 0x0f;
    case 0x00e02b00 | 0: // Extreme's discovery and ring protection
      return low16 === 0x0000 || low16 === 0x0004 || low16 === 0x0006;
    case 0x01000c00 | 0: // Cisco's inter-switch link
      return low16 === 0x0000;
    case 0x01000ccc | 0: // Cisco's CDP, VTP, PAgP, UDLD (CC-CC-CC), shared spanning tree (CC-CC-CD), CFM (CC-CC-Cx)
      return (low16 & 0xfff0) === 0xccc0;
    case 0x01000ccd | 0: // Cisco's uplink fast
      return low16 === 0xcdcd;
    default:
      return false;
  }
}
