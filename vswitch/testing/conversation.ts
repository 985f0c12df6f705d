// Who talks to whom in the tests of connection tracking, what tracking says of it, and reading what came out.
import {
  CT_STATE_EST,
  CT_STATE_INV,
  CT_STATE_NEW,
  CT_STATE_RPL,
  CT_STATE_TRK,
  type CtAction,
} from "../../base/openflow/index.js";
import {
  formatIpv4Address,
  formatIpv6Address,
  ipv4Bytes,
  parseEthernet,
  parseIpv4,
  parseIpv4Address,
  parseIpv6,
  parseIpv6Address,
  parseTcp,
  type TcpSegment,
} from "../../base/wire/index.js";
import type { Ends } from "./frames.js";

export const [FIN, SYN, RST, PSH, ACK] = [1, 2, 4, 8, 16] as const;
export const NEW = CT_STATE_TRK | CT_STATE_NEW;
export const EST = CT_STATE_TRK | CT_STATE_EST;
export const REPLY = EST | CT_STATE_RPL;
export const INVALID = CT_STATE_TRK | CT_STATE_INV;

/** The same two hosts by IPv4 and by IPv6. */
export const A: Required<Ends> = {
  source: "10.0.0.1",
  destination: "10.0.0.2",
  sourcePort: 40000,
  destinationPort: 80,
};
export const A6: Required<Ends> = { ...A, source: "fd00::1", destination: "fd00::2" };

/** The other direction. */
export const turn = (ends: Required<Ends>): Required<Ends> => ({
  source: ends.destination,
  destination: ends.source,
  sourcePort: ends.destinationPort,
  destinationPort: ends.sourcePort,
});

/** nat() to one address, and to a port when one is given. */
export function natTo(
  direction: "source" | "destination",
  address: string,
  port?: number,
): CtAction["actions"] {
  const addressMin = address.includes(":") ? parseIpv6Address(address) : ipv4Bytes(parseIpv4Address(address));
  const ports = port === undefined ? {} : { portMin: port };
  return [{ type: "nat", direction, persistent: false, selection: "auto", addressMin, ...ports }];
}

/** nat without arguments. */
export const NAT_EXISTING: CtAction["actions"] = [
  { type: "nat", direction: "existing", persistent: false, selection: "auto" },
];

export interface TcpRead {
  readonly ends: Required<Ends>;
  readonly segment: TcpSegment;
}

/** A TCP frame, its lengths and checksums checked. Throws when there is none or it is broken. */
export function readTcp(frame: Uint8Array | undefined): TcpRead {
  if (frame === undefined) throw new Error("no frame");
  const { etherType, payload } = parseEthernet(frame);
  if (etherType === 0x0800) {
    const ip = parseIpv4(payload);
    const { source, destination } = ip;
    return tcpRead(parseTcp(ip.payload, { source, destination }), [
      formatIpv4Address(source),
      formatIpv4Address(destination),
    ]);
  }
  const ip = parseIpv6(payload);
  const { source, destination } = ip;
  return tcpRead(parseTcp(ip.payload, { source, destination }), [
    formatIpv6Address(source),
    formatIpv6Address(destination),
  ]);
}

function tcpRead(segment: TcpSegment, [source, destination]: readonly [string, string]): TcpRead {
  const { sourcePort, destinationPort } = segment;
  return { segment, ends: { source, destination, sourcePort, destinationPort } };
}
