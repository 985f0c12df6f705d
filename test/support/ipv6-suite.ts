// What the pipeline promises of IPv6, on any switch that the controller drives: the example's network back gets a subnet
// of IPv6 for as long as these cases run. Source: RFC 4861, RFC 4862.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import {
  type AddressPair,
  ETHERTYPE_IPV6,
  encodeEthernet,
  encodeIcmpv6,
  encodeIpv6,
  encodeTcp,
  encodeUdp,
  formatIpv6Address,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  parseEthernet,
  parseIcmpv6,
  parseIpv6,
  parseIpv6Address,
  TCP_ACK,
  TCP_SYN,
} from "../../base/wire/index.js";
import type { SdnController } from "../../sdn-controller/index.js";
import { ipv6Bytes } from "../../sdn-controller/network/ip-address.js";
import { ipv6AddressesOf } from "../../sdn-controller/network/views.js";
import { bytesOf } from "../../sdn-controller/pipeline/flow.js";
import { OFPORTS, policyChange } from "../../sdn-controller/testing/shop.js";

export interface Ipv6Tools {
  controller(): SdnController;
  inject(ofport: number, frame: Uint8Array): Promise<void>;
  sentBy(ofport: number): Uint8Array[];
  /** The ports that a frame comes out of. */
  ports(port: number, frame: Uint8Array): Promise<number[]>;
}

const APP = 4;
const DB = 5;
const SUBNET = "fd00:20::/64";
const DEADLINE_MS = 30_000;
const ALL_ROUTERS = parseIpv6Address("ff02::2");
const UNSPECIFIED = new Uint8Array(16);

interface End6 {
  readonly ofport: number;
  readonly mac: Uint8Array;
  readonly linkLocal: Uint8Array;
  readonly address: Uint8Array;
}

export function ipv6Suite(tools: Ipv6Tools): void {
  const back = (subnets: readonly string[]) => ({
    kind: "Network" as const,
    key: "shop/back",
    value: { namespace: "shop", name: "back", vlan: 20, subnets },
  });
  const set = async (...changes: Parameters<SdnController["update"]>[0]): Promise<void> => {
    tools.controller().update(changes);
    await tools.controller().whenSettled();
  };

  describe("IPv6", () => {
    let app: End6;
    let db: End6;
    beforeAll(async () => {
      await set(back(["10.20.0.0/24", SUBNET]));
      [app, db] = ["app", "db"].map(end) as [End6, End6];
    });
    afterAll(() => set(back(["10.20.0.0/24"])));

    function end(name: string): End6 {
      const view = tools.controller().compiler.inventory.port(`shop/${name}`);
      if (view === undefined) throw new Error(`no port ${name}`);
      const [linkLocal, address] = ipv6AddressesOf(view).map(ipv6Bytes) as [Uint8Array, Uint8Array];
      return { ofport: OFPORTS.get(view.key) as number, mac: bytesOf(view.mac, 6), linkLocal, address };
    }

    async function answer(from: End6, frame: Uint8Array) {
      const before = tools.sentBy(from.ofport).length;
      await tools.inject(from.ofport, frame);
      await waitFor(() => tools.sentBy(from.ofport).length > before, "an answer", DEADLINE_MS, 5);
      const ethernet = parseEthernet(tools.sentBy(from.ofport)[before] as Uint8Array);
      const ip = parseIpv6(ethernet.payload);
      return { ethernet, ip, icmp: parseIcmpv6(ip.payload, ip) };
    }

    it("gives a machine the prefix from which it forms exactly its Port's address", async () => {
      const { icmp, ip } = await answer(
        app,
        icmp6(app, { source: UNSPECIFIED, destination: ALL_ROUTERS }, 133),
      );
      expect([icmp.type, ip.hopLimit, formatIpv6Address(ip.destination)]).toEqual([134, 255, "ff02::1"]);
      expect(icmp.rest & 0xffff).toBe(0);
      const option = optionsOf(icmp.payload.subarray(8)).get(3) as Uint8Array;
      expect([...option.subarray(0, 2)]).toEqual([64, 0xc0]);
      const [a, b, c, d, e, f] = app.mac as unknown as number[];
      const formed = [...option.subarray(14, 22), (a as number) ^ 2, b, c, 0xff, 0xfe, d, e, f];
      expect(formed).toEqual([...app.address]);
      const status = tools.controller().compiler.inventory.port("shop/app")?.addresses6.map(ipv6Bytes);
      expect(status?.map(formatIpv6Address)).toEqual([formatIpv6Address(app.address)]);
    });

    it("answers neighbour solicitations for addresses that are there, and no others", async () => {
      for (const target of [db.address, db.linkLocal]) {
        const { ethernet, ip, icmp } = await answer(app, solicitation(app, target));
        expect([icmp.type, ip.hopLimit, icmp.rest]).toEqual([136, 255, 0x60000000]);
        expect([ethernet.source, ethernet.destination]).toEqual([db.mac, app.mac]);
        expect([ip.source, ip.destination]).toEqual([target, app.address]);
        expect(icmp.payload.subarray(0, 16)).toEqual(target);
        expect([...icmp.payload.subarray(16, 24)]).toEqual([2, 1, ...db.mac]);
      }
      const other = parseIpv6Address("fd00:20::99");
      expect(await tools.ports(APP, solicitation(app, other))).toEqual([]);
      expect(await tools.ports(APP, solicitation(app, app.address))).toEqual([]);
      expect(await tools.ports(APP, solicitation({ ...app, address: UNSPECIFIED }, db.address))).toEqual([]);
    });

    it("judges connections as over IPv4, link-local ones too, with their replies", async () => {
      const talk = async (from: End6, to: End6, port: number, source: number) => [
        await tools.ports(from.ofport, tcp6(from, to, source, port, TCP_SYN)),
        await tools.ports(to.ofport, tcp6(to, from, port, source, TCP_SYN | TCP_ACK)),
      ];
      expect(await talk(app, db, 5432, 31_000)).toEqual([[DB], [APP]]);
      expect(await talk(app, db, 5433, 31_001)).toEqual([[], []]);
      const local = (one: End6): End6 => ({ ...one, address: one.linkLocal });
      expect(await talk(local(app), local(db), 5432, 31_002)).toEqual([[DB], [APP]]);
      expect(await talk(local(app), local(db), 22, 31_003)).toEqual([[], []]);
      const pair = { source: app.address, destination: db.address };
      expect(await tools.ports(APP, icmp6(app, pair, 128, db.mac))).toEqual([]);
    });

    it("knows blocks of IPv6 with exceptions", async () => {
      const rule = (except: string[]) => ({
        namespace: "shop",
        name: "v6",
        spec: {
          podSelector: { matchLabels: { tier: "db" } },
          policyTypes: ["Ingress" as const],
          ingress: [{ from: [{ ipBlock: { cidr: "fd00:20::/32", except } }], ports: [{ port: 7000 }] }],
        },
      });
      const out = {
        namespace: "shop",
        name: "out",
        spec: { podSelector: {}, policyTypes: ["Egress" as const], egress: [{}] },
      };
      await set(policyChange(rule([])), policyChange(out));
      expect(await tools.ports(APP, tcp6(app, db, 32_000, 7000, TCP_SYN))).toEqual([DB]);
      await set(policyChange(rule([`${formatIpv6Address(app.address)}/128`])));
      expect(await tools.ports(APP, tcp6(app, db, 32_001, 7000, TCP_SYN))).toEqual([]);
      const local = { ...app, address: app.linkLocal };
      expect(
        await tools.ports(APP, tcp6(local, { ...db, address: db.linkLocal }, 32_002, 7000, TCP_SYN)),
      ).toEqual([]);
      await set(policyChange(rule([]), true), policyChange(out, true));
    });

    it("drops, counts and names what is forged", async () => {
      const pair = { source: app.address, destination: db.address };
      const foreign = { ...app, address: end("web1-back").address };
      const server = encodeUdp({ sourcePort: 547, destinationPort: 546, payload: new Uint8Array(4) }, pair);
      const client = encodeUdp({ sourcePort: 546, destinationPort: 547, payload: new Uint8Array(4) }, pair);
      const groups = { source: app.linkLocal, destination: parseIpv6Address("ff02::16") };
      const attempts: [reason: string, frame: Uint8Array][] = [
        ["spoofed-ip", tcp6(foreign, db, 33_000, 5432, TCP_SYN)],
        ["spoofed-mac", tcp6({ ...app, mac: db.mac }, db, 33_001, 5432, TCP_SYN)],
        ["spoofed-nd", solicitation(foreign, db.address)],
        ["spoofed-nd", solicitation(app, db.address, db.mac)],
        ["spoofed-nd", advertisement(app, db.address, db.mac)],
        ["nd-announcement", advertisement(app, app.address, db.mac)],
        ["router-advertisement-on-access-port", icmp6(app, { ...pair, source: app.linkLocal }, 134, db.mac)],
        ["router-advertisement-on-access-port", icmp6(app, { ...pair, source: app.linkLocal }, 137, db.mac)],
        ["dhcp-server-on-access-port", packet(app, db.mac, pair, IPPROTO_UDP, server)],
        ["dhcpv6-not-served", packet(app, db.mac, pair, IPPROTO_UDP, client)],
        ["multicast-not-enabled", icmp6(app, groups, 143, bytesOf(0x333300000016, 6))],
        ["unknown-destination", tcp6(app, { ...db, mac: end("web1-back").mac }, 33_002, 5432, TCP_SYN)],
      ];
      const counts = async (): Promise<Map<string, number>> => {
        tools.controller().audit();
        await tools.controller().whenSettled();
        const sums = new Map<string, number>();
        for (const { reason, packets } of tools.controller().metrics().drops)
          sums.set(reason, (sums.get(reason) ?? 0) + packets);
        return sums;
      };
      const before = await counts();
      for (const [reason, frame] of attempts)
        expect(`${reason} ${await tools.ports(APP, frame)}`).toBe(`${reason} `);
      const after = await counts();
      for (const reason of new Set(attempts.map(([name]) => name))) {
        const expected = attempts.filter(([name]) => name === reason).length;
        expect(`${reason} ${(after.get(reason) ?? 0) - (before.get(reason) ?? 0)}`).toBe(
          `${reason} ${expected}`,
        );
      }
      for (const reason of ["router-advertisement-on-access-port", "dhcp-server-on-access-port"])
        expect(tools.controller().metrics().drops).toContainEqual(
          expect.objectContaining({ reason, resource: "Port/shop/app" }),
        );
    });
  });
}

function packet(
  from: End6,
  destination: Uint8Array,
  pair: { readonly source: Uint8Array; readonly destination: Uint8Array },
  nextHeader: number,
  payload: Uint8Array,
): Uint8Array {
  const ip = { ...pair, trafficClass: 0, flowLabel: 0, hopLimit: 255, nextHeader, payload };
  return encodeEthernet({
    destination,
    source: from.mac,
    etherType: ETHERTYPE_IPV6,
    payload: encodeIpv6(ip),
  });
}

function icmp6(
  from: End6,
  pair: { readonly source: Uint8Array; readonly destination: Uint8Array },
  type: number,
  destination = bytesOf(0x333300000002, 6),
  payload = new Uint8Array(16),
): Uint8Array {
  const message = encodeIcmpv6({ type, code: 0, rest: 0, payload }, pair as AddressPair);
  return packet(from, destination, pair, IPPROTO_ICMPV6, message);
}

function solicitation(from: End6, target: Uint8Array, mac = from.mac): Uint8Array {
  const destination = parseIpv6Address("ff02::1:ff00:0");
  destination.set(target.subarray(13), 13);
  const payload = Uint8Array.of(...target, 1, 1, ...mac);
  const group = Uint8Array.of(0x33, 0x33, ...destination.subarray(12));
  return icmp6(from, { source: from.address, destination }, 135, group, payload);
}

function advertisement(from: End6, target: Uint8Array, destination: Uint8Array): Uint8Array {
  const payload = Uint8Array.of(...target, 2, 1, ...from.mac);
  const pair = { source: from.address, destination: parseIpv6Address("ff02::1") };
  return icmp6(from, pair, 136, destination, payload);
}

function tcp6(from: End6, to: End6, source: number, destination: number, flags: number): Uint8Array {
  const pair = { source: from.address, destination: to.address };
  const ports = { sourcePort: source, destinationPort: destination };
  const segment = encodeTcp({ ...ports, sequence: 1, acknowledgment: 2, flags }, pair);
  return packet(from, to.mac, pair, IPPROTO_TCP, segment);
}

function optionsOf(bytes: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = 0; at + 2 <= bytes.byteLength && bytes[at + 1] !== 0; at += 8 * (bytes[at + 1] as number))
    options.set(bytes[at] as number, bytes.subarray(at + 2, at + 8 * (bytes[at + 1] as number)));
  return options;
}
