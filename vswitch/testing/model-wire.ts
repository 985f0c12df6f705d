// The packets of the reference model as frames, and frames as its tuples.
import {
  formatIpv4Address,
  formatIpv6Address,
  parseEthernet,
  parseIpv4,
  parseIpv6,
} from "../../base/wire/index.js";
import { icmpFrame, tcpFrame, udpFrame } from "./frames.js";
import type { ModelPacket, Tuple } from "./reference-tracker.js";

const WINDOW = 60_000;

export class Wire {
  readonly #ipv6: boolean;

  constructor(ipv6: boolean) {
    this.#ipv6 = ipv6;
  }

  /** "h3" for the host 3, "o2" for the outside address 2. */
  address(name: string): string {
    const [net4, net6] = name.startsWith("h") ? ["10.0.0.", "fd00::"] : ["192.0.2.", "fd01::"];
    return (this.#ipv6 ? net6 : net4) + name.slice(1);
  }

  name(address: string): string {
    const inside = address.startsWith("10.") || address.startsWith("fd00");
    return (inside ? "h" : "o") + address.split(/[.:]/).at(-1);
  }

  frame({ tuple, tcp, quoted }: ModelPacket): Uint8Array {
    const { protocol, sourcePort, destinationPort } = tuple;
    const ends = {
      source: this.address(tuple.source),
      destination: this.address(tuple.destination),
      sourcePort,
      destinationPort,
    };
    if (quoted !== undefined) return icmpFrame(ends, this.#ipv6 ? 1 : 3, 0, this.frame(quoted).slice(14));
    if (protocol === "icmp") {
      const types = this.#ipv6 ? [128, 129] : [8, 0];
      return icmpFrame(ends, types[destinationPort - 1] as number, sourcePort * 0x10000 + 1);
    }
    if (tcp === undefined) return udpFrame(ends);
    const flags =
      (tcp.fin === true ? 1 : 0) |
      (tcp.syn === true ? 2 : 0) |
      (tcp.rst === true ? 4 : 0) |
      (tcp.ack === true ? 16 : 0);
    const wrap = (number: number): number => ((number % 2 ** 32) + 2 ** 32) % 2 ** 32;
    return tcpFrame(ends, flags, new Uint8Array(tcp.size).fill(0x41), {
      sequence: wrap(tcp.sequence),
      acknowledgment: wrap(tcp.acknowledgment),
      window: WINDOW,
    });
  }

  /** The tuple of a frame that is no ICMP error. */
  tuple(frame: Uint8Array): Tuple {
    const { payload } = parseEthernet(frame);
    const [ip, text] = this.#ipv6
      ? [parseIpv6(payload), formatIpv6Address]
      : [parseIpv4(payload), formatIpv4Address];
    const show = text as (address: unknown) => string;
    const protocol = "nextHeader" in ip ? ip.nextHeader : ip.protocol;
    const view = new DataView(ip.payload.buffer, ip.payload.byteOffset);
    const isIcmp = protocol === 1 || protocol === 58;
    const type = view.getUint8(0);
    return {
      protocol: isIcmp ? "icmp" : protocol === 6 ? "tcp" : "udp",
      source: this.name(show(ip.source)),
      destination: this.name(show(ip.destination)),
      sourcePort: view.getUint16(isIcmp ? 4 : 0),
      destinationPort: isIcmp ? (type === 8 || type === 128 ? 1 : 2) : view.getUint16(2),
    };
  }
}
