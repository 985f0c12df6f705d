// Protocol headers: one file each, offsets for in-place work, parse and encode for control planes. Pure.
export * from "./address.js";
export * from "./arp.js";
export * from "./checksum.js";
export * from "./dhcp.js";
export * from "./dns.js";
export { needBytes, viewOf, WireError } from "./errors.js";
export * from "./ethernet.js";
export * from "./icmp.js";
export * from "./ipv4.js";
export * from "./ipv6.js";
export * from "./sctp.js";
export * from "./tcp.js";
export { type AddressPair, transportChecksum } from "./transport.js";
export * from "./udp.js";
export * from "./vlan.js";
