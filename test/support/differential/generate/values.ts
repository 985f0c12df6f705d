// The few values that random flows and random packets share.
export const MACS = ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:01:03", "01:00:5e:00:00:05"];
export const IPV4_ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.1.3", "192.168.7.9"];
export const IPV6_ADDRESSES = ["fd00::1", "fd00::2", "fd00:0:0:1::3", "fe80::9"];
export const L4_PORTS = [80, 81, 1024, 40_000];
export const VLANS = [1, 10, 4094];
export const MPLS_LABELS = [16, 17, 0xfffff];
