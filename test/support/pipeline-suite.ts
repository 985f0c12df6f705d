// What the controller's pipeline promises, shown on a switch that really forwards: frames go in at one port and the
// test watches where they come out. The same suite runs on every switch that the controller drives.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import {
  DHCP_OPTION,
  type DhcpMessage,
  dhcpAddresses,
  ETHERTYPE_IPV6,
  ETHERTYPE_VLAN,
  encodeEthernet,
  encodeVlan,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  parseArp,
  parseDhcp,
  parseEthernet,
  parseIpv4,
  parseUdp,
  TCP_ACK,
  TCP_PSH,
  TCP_SYN,
} from "../../base/wire/index.js";
import type { SdnController } from "../../sdn-controller/index.js";
import { bytesOf } from "../../sdn-controller/pipeline/flow.js";
import { OFPORTS, POLICIES, policyChange, portInput } from "../../sdn-controller/testing/shop.js";
import { ipv6Suite } from "./ipv6-suite.js";
import { isolationSuite } from "./isolation-suite.js";
import {
  arpFrame,
  arpSender,
  dhcpFrame,
  type End,
  icmpFrame,
  tcpFrame,
  udpFrame,
} from "./pipeline-frames.js";
import { policySuite } from "./policy-suite.js";
import { randomPolicySuite } from "./random-policy-suite.js";
import { disturbances, restored } from "./shop-disturbances.js";
import { underTraffic } from "./steady-traffic.js";

/** A switch with the shop example's ports, driven by a controller that has the whole example. */
export interface PipelineBench {
  readonly controller: SdnController;
  inject(ofport: number, frame: Uint8Array): Promise<void>;
  /** Every frame the switch has sent out of the port so far, in order. */
  sentBy(ofport: number): Uint8Array[];
  /** Packets of a stream that the switch may lose while a bundle is put in force; 0 unless given. */
  readonly lostMax?: number;
  /** Resolves when the switch has counted all that has passed; absent: it has at once. */
  counted?(): Promise<void>;
  close(): Promise<void>;
}

const DEADLINE_MS = 10_000;
const ALL_PORTS = [...OFPORTS.values()];
const CLIENT = 1;
const WEB1 = 2;
const WEB2 = 3;
const APP = 4;
const DB = 5;
const BALANCER = 9;

interface Arrival {
  readonly port: number;
  readonly frame: Uint8Array;
}

export function pipelineSuite(name: string, open: () => Promise<PipelineBench>): void {
  describe(`the pipeline on ${name}`, () => {
    let bench: PipelineBench;
    let serial = 0;
    beforeAll(async () => {
      bench = await open();
    });
    afterAll(async () => {
      await bench?.close();
    });

    function end(port: string): End {
      const view = bench.controller.compiler.inventory.port(`shop/${port}`);
      if (view === undefined) throw new Error(`no port ${port}`);
      const ofport = OFPORTS.get(`shop/${port}`) as number;
      return { ofport, mac: bytesOf(view.mac, 6), address: view.addresses[0] as number };
    }

    function balancer(): { mac: Uint8Array; vip: End; probe: End } {
      const view = bench.controller.compiler.inventory.function("shop/web");
      if (view === undefined) throw new Error("no load balancer");
      const mac = bytesOf(view.mac, 6);
      return {
        mac,
        vip: { ofport: BALANCER, mac, address: view.address },
        probe: { ofport: BALANCER, mac, address: view.probeAddress },
      };
    }

    const dhcpServer = (): number =>
      bench.controller.compiler.inventory.port("shop/db")?.network.dhcpAddresses[0] as number;
    const isFence = (frame: Uint8Array): boolean => arpSender(frame) === dhcpServer();

    /**
     * Resolves when the switch has handled what was put in before: ARP questions behind it tell. Two of them, one after
     * the other, since a switch that polls port by port may see the first before the frame.
     */
    async function fence(): Promise<void> {
      const answers = (): number => bench.sentBy(DB).filter(isFence).length;
      for (let count = 0; count < 2; count++) {
        const before = answers();
        await bench.inject(DB, arpFrame(end("db"), dhcpServer()));
        await waitFor(() => answers() > before, "the switch to have handled the frame", DEADLINE_MS, 2);
      }
    }

    /** Where `frame` comes out, when put in at `port`. */
    async function send(port: number, frame: Uint8Array): Promise<Arrival[]> {
      const before = new Map(ALL_PORTS.map((it) => [it, bench.sentBy(it).length]));
      await bench.inject(port, frame);
      await fence();
      return ALL_PORTS.flatMap((it) =>
        bench
          .sentBy(it)
          .slice(before.get(it))
          .filter((got) => it !== DB || !isFence(got))
          .map((got) => ({ port: it, frame: got })),
      );
    }

    async function ports(port: number, frame: Uint8Array): Promise<number[]> {
      return (await send(port, frame)).map((it) => it.port);
    }

    /** SYN, SYN+ACK, ACK+data; returns the ports that each of them came out of. */
    async function talk(
      from: End,
      to: End,
      port: number,
      sourcePort = 30_000 + serial++,
    ): Promise<number[][]> {
      const there = { source: sourcePort, destination: port };
      const back = { source: port, destination: sourcePort };
      return [
        await ports(from.ofport, tcpFrame(from, to, there, TCP_SYN, 100, 0)),
        await ports(to.ofport, tcpFrame(to, from, back, TCP_SYN | TCP_ACK, 500, 101)),
        await ports(from.ofport, tcpFrame(from, to, there, TCP_ACK | TCP_PSH, 101, 501)),
      ];
    }

    describe("DHCP", () => {
      it("gives a port its address, mask, MTU and lease in a full handshake", async () => {
        const client = end("client");
        const offer = await ask(client, "discover", new Map());
        expect(offer).toMatchObject({ messageType: "offer", yourAddress: client.address });
        const server = offer.options.get(DHCP_OPTION.serverIdentifier) as Uint8Array;
        const options = new Map([
          [DHCP_OPTION.requestedAddress, dhcpAddresses(client.address)],
          [DHCP_OPTION.serverIdentifier, server],
        ]);
        const ack = await ask(client, "request", options);
        expect(ack).toMatchObject({ messageType: "ack", yourAddress: client.address });
        expect([...(ack.options.get(DHCP_OPTION.interfaceMtu) ?? [])]).toEqual([5, 220]);
        expect(ack.options.has(DHCP_OPTION.router)).toBe(false);
        const wrong = new Map([[DHCP_OPTION.requestedAddress, dhcpAddresses(client.address + 1)]]);
        expect(await ask(client, "request", wrong)).toMatchObject({ messageType: "nak" });
      });

      async function ask(
        from: End,
        messageType: DhcpMessage["messageType"],
        options: ReadonlyMap<number, Uint8Array>,
      ): Promise<DhcpMessage> {
        const before = bench.sentBy(from.ofport).length;
        await bench.inject(from.ofport, dhcpFrame(from.mac, messageType, options));
        await waitFor(() => bench.sentBy(from.ofport).length > before, "a DHCP answer", DEADLINE_MS, 5);
        const ip = parseIpv4(parseEthernet(bench.sentBy(from.ofport)[before] as Uint8Array).payload);
        return parseDhcp(parseUdp(ip.payload, ip).payload);
      }
    });

    describe("ARP", () => {
      it("is answered by the switch for machines, the virtual address and the DHCP server", async () => {
        const client = end("client");
        for (const target of [end("web1"), balancer().vip]) {
          const arrivals = await send(CLIENT, arpFrame(client, target.address));
          expect(arrivals.map((it) => it.port)).toEqual([CLIENT]);
          const answer = parseArp(parseEthernet(arrivals[0]?.frame as Uint8Array).payload);
          expect(answer).toMatchObject({ operation: 2, senderAddress: target.address });
          expect(answer.senderMac).toEqual(target.mac);
          expect(answer.targetMac).toEqual(client.mac);
        }
      });

      it("does not cross networks and is not answered in another's name", async () => {
        const client = end("client");
        expect(await ports(CLIENT, arpFrame(client, end("db").address))).toEqual([]);
        expect(
          await ports(CLIENT, arpFrame({ ...client, address: end("web1").address }, end("web2").address)),
        ).toEqual([]);
        expect(await ports(CLIENT, arpFrame(client, client.address))).toEqual([]);
      });
    });

    describe("spoof guard", () => {
      it("drops another's MAC, another's address, tags, IPv6 and unknown protocols", async () => {
        const app = end("app");
        const db = end("db");
        const good = tcpFrame(app, db, { source: 9, destination: 5432 }, TCP_SYN, 1, 0);
        expect(
          await ports(
            APP,
            tcpFrame(
              { ...app, mac: end("web1-back").mac },
              db,
              { source: 10, destination: 5432 },
              TCP_SYN,
              1,
              0,
            ),
          ),
        ).toEqual([]);
        expect(
          await ports(
            APP,
            tcpFrame(
              { ...app, address: end("web1-back").address },
              db,
              { source: 11, destination: 5432 },
              TCP_SYN,
              1,
              0,
            ),
          ),
        ).toEqual([]);
        const { destination, source, etherType, payload } = parseEthernet(good);
        const tagged = encodeVlan({ vid: 20, priority: 0, dropEligible: false, etherType, payload });
        expect(
          await ports(
            APP,
            encodeEthernet({ destination, source, etherType: ETHERTYPE_VLAN, payload: tagged }),
          ),
        ).toEqual([]);
        expect(
          await ports(
            APP,
            encodeEthernet({ destination, source, etherType: ETHERTYPE_IPV6, payload: new Uint8Array(60) }),
          ),
        ).toEqual([]);
        expect(
          await ports(
            APP,
            encodeEthernet({ destination, source, etherType: 0x88cc, payload: new Uint8Array(60) }),
          ),
        ).toEqual([]);
        expect(await ports(APP, good)).toEqual([DB]);
      });

      it("keeps a client out of the other network even with the right MAC and address", async () => {
        const client = end("client");
        expect(
          await ports(CLIENT, tcpFrame(client, end("db"), { source: 12, destination: 5432 }, TCP_SYN, 1, 0)),
        ).toEqual([]);
      });
    });

    describe("policy", () => {
      it("lets the allowed connections through with their replies", async () => {
        expect(await talk(end("app"), end("db"), 5432)).toEqual([[DB], [APP], [DB]]);
        expect(await talk(end("client"), end("web1"), 80)).toEqual([[WEB1], [CLIENT], [WEB1]]);
      });

      it("drops everything else, ICMP and UDP included", async () => {
        expect(await talk(end("app"), end("db"), 5433)).toEqual([[], [], []]);
        expect(await talk(end("db"), end("app"), 8080)).toEqual([[], [], []]);
        expect(await talk(end("client"), end("web1"), 22)).toEqual([[], [], []]);
        expect(await ports(APP, icmpFrame(end("app"), end("db"), ICMP_ECHO_REQUEST))).toEqual([]);
        expect(await ports(APP, udpFrame(end("app"), end("db"), 40, 5432))).toEqual([]);
      });

      it("cuts a live connection when it is no longer allowed and mends it when it is again", async () => {
        const app = end("app");
        const db = end("db");
        const there = { source: 20_000, destination: 5432 };
        const back = { source: 5432, destination: 20_000 };
        expect(await talk(app, db, 5432, 20_000)).toEqual([[DB], [APP], [DB]]);
        const policy = POLICIES.find((it) => it.name === "db");
        if (policy === undefined) throw new Error("no policy");
        bench.controller.update([policyChange(policy, true)]);
        await bench.controller.whenSettled();
        expect(await ports(APP, tcpFrame(app, db, there, TCP_ACK, 101, 501))).toEqual([]);
        expect(await ports(DB, tcpFrame(db, app, back, TCP_ACK, 501, 101))).toEqual([]);
        bench.controller.update([policyChange(policy)]);
        await bench.controller.whenSettled();
        expect(await ports(APP, tcpFrame(app, db, there, TCP_ACK, 101, 501))).toEqual([DB]);
        expect(await ports(DB, tcpFrame(db, app, back, TCP_ACK, 501, 101))).toEqual([APP]);
      });

      it("allows by port range, UDP and ICMP when a rule says so, and replies to each", async () => {
        const spec = {
          podSelector: { matchLabels: { tier: "db" } },
          policyTypes: ["Ingress"],
          ingress: [
            { from: [{ podSelector: { matchLabels: { tier: "ops" } } }] },
            {
              ports: [
                { port: 6000, endPort: 6009 },
                { protocol: "UDP", port: 53 },
              ],
            },
          ],
        };
        const wide = { namespace: "shop", name: "wide", spec };
        const open = {
          namespace: "shop",
          name: "open",
          spec: { podSelector: {}, policyTypes: ["Egress"], egress: [{}] },
        };
        bench.controller.update([policyChange(wide), policyChange(open)]);
        await bench.controller.whenSettled();
        const app = end("app");
        const db = end("db");
        expect((await talk(app, db, 6005))[0]).toEqual([DB]);
        expect((await talk(app, db, 6010))[0]).toEqual([]);
        expect(await ports(APP, udpFrame(app, db, 5353, 53))).toEqual([DB]);
        expect(await ports(DB, udpFrame(db, app, 53, 5353))).toEqual([APP]);
        expect(await ports(APP, icmpFrame(app, db, ICMP_ECHO_REQUEST))).toEqual([]);
        const ops = portInput("app", "back", { tier: "ops" });
        bench.controller.update([{ kind: "Port", key: "shop/app", value: ops }]);
        await bench.controller.whenSettled();
        expect(await ports(APP, icmpFrame(app, db, ICMP_ECHO_REQUEST))).toEqual([DB]);
        expect(await ports(DB, icmpFrame(db, app, ICMP_ECHO_REPLY))).toEqual([APP]);
        const again = portInput("app", "back", { tier: "app" });
        bench.controller.update([
          { kind: "Port", key: "shop/app", value: again },
          policyChange(wide, true),
          policyChange(open, true),
        ]);
        await bench.controller.whenSettled();
      });
    });

    describe("load balancer", () => {
      it("gets its clients' frames, is judged in their name, and gets the replies", async () => {
        const client = end("client");
        const web2 = end("web2");
        const { mac, vip } = balancer();
        const there = { source: 45_000, destination: 80 };
        const back = { source: 80, destination: 45_000 };
        expect(await ports(CLIENT, tcpFrame(client, vip, there, TCP_SYN, 100, 0))).toEqual([BALANCER]);
        const inClientsName = { ...client, ofport: BALANCER, mac };
        expect(await ports(BALANCER, tcpFrame(inClientsName, web2, there, TCP_SYN, 100, 0))).toEqual([WEB2]);
        const reply = tcpFrame(web2, client, back, TCP_SYN | TCP_ACK, 500, 101);
        expect(await ports(WEB2, reply)).toEqual([BALANCER]);
        expect(await ports(BALANCER, tcpFrame(vip, client, back, TCP_SYN | TCP_ACK, 500, 101))).toEqual([
          CLIENT,
        ]);
        expect(await ports(BALANCER, tcpFrame(inClientsName, web2, there, TCP_ACK, 101, 501))).toEqual([
          WEB2,
        ]);
        expect(await ports(WEB2, tcpFrame(web2, client, back, TCP_ACK, 501, 101))).toEqual([BALANCER]);
      });

      it("cannot carry a client to where it may not go", async () => {
        const client = { ...end("client"), ofport: BALANCER, mac: balancer().mac };
        expect(
          await ports(
            BALANCER,
            tcpFrame(client, end("web2"), { source: 45_001, destination: 22 }, TCP_SYN, 1, 0),
          ),
        ).toEqual([]);
        const web1 = { ...end("web1"), ofport: BALANCER, mac: balancer().mac };
        expect(
          await ports(
            BALANCER,
            tcpFrame(web1, end("web2"), { source: 45_002, destination: 80 }, TCP_SYN, 1, 0),
          ),
        ).toEqual([]);
      });

      it("may check its endpoints whatever the policies say, and only they answer its probe address", async () => {
        const { probe } = balancer();
        const web1 = end("web1");
        const check = { source: 50_000, destination: 80 };
        expect(await ports(BALANCER, tcpFrame(probe, web1, check, TCP_SYN, 1, 0))).toEqual([WEB1]);
        const answer = { source: 80, destination: 50_000 };
        expect(await ports(WEB1, tcpFrame(web1, probe, answer, TCP_SYN | TCP_ACK, 1, 2))).toEqual([BALANCER]);
        expect(await ports(CLIENT, tcpFrame(end("client"), probe, check, TCP_SYN, 1, 0))).toEqual([]);
        expect(await ports(BALANCER, icmpFrame(probe, web1, ICMP_ECHO_REQUEST))).toEqual([WEB1]);
        expect(await ports(WEB1, icmpFrame(web1, probe, ICMP_ECHO_REPLY))).toEqual([BALANCER]);
        expect(await ports(CLIENT, icmpFrame(end("client"), probe, ICMP_ECHO_REPLY))).toEqual([]);
      });
    });

    it("loses no packet of what stays allowed while policies, labels and identities change", async () => {
      const [app, db] = [end("app"), end("db")];
      const there = { source: 21_000, destination: 5432 };
      const back = { source: 5432, destination: 21_000 };
      expect(await talk(app, db, 5432, 21_000)).toEqual([[DB], [APP], [DB]]);
      const stream = (name: string, from: End, to: End, frame: Uint8Array) => ({
        name,
        send: () => bench.inject(from.ofport, frame),
        arrived: () => bench.sentBy(to.ofport).length,
      });
      const streams = [
        stream("requests", app, db, tcpFrame(app, db, there, TCP_ACK, 101, 501)),
        stream("replies", db, app, tcpFrame(db, app, back, TCP_ACK, 501, 101)),
      ];
      const { controller } = bench;
      const before = controller.metrics().changes.length;
      const changing = async (): Promise<void> => {
        for (let round = 0; round < 6; round++) {
          for (const change of disturbances(round)) {
            controller.update(change);
            await controller.whenSettled();
          }
        }
        controller.update(restored());
        await controller.whenSettled();
      };
      await underTraffic(streams, 100, changing, bench.lostMax);
      const changes = controller.metrics().changes.slice(before);
      expect(changes.filter(({ bundles }) => bundles === 1).length).toBeGreaterThanOrEqual(18);
      expect(controller.metrics()).toMatchObject({ flowsRefused: 0, flowsRepaired: 0, flowsDisagreed: 0 });
    });

    policySuite({ controller: () => bench.controller, end, ports, counted: async () => bench.counted?.() });

    ipv6Suite({
      controller: () => bench.controller,
      inject: (ofport, frame) => bench.inject(ofport, frame),
      sentBy: (ofport) => bench.sentBy(ofport),
      ports,
    });

    it("counts what it dropped by reason and resource", async () => {
      bench.controller.audit();
      await bench.controller.whenSettled();
      const drops = bench.controller.metrics().drops;
      const packets = (reason: string, resource: string): number =>
        drops.find((it) => it.reason === reason && it.resource === resource)?.packets ?? 0;
      expect(packets("spoofed-mac", "Port/shop/app")).toBeGreaterThanOrEqual(1);
      expect(packets("spoofed-ip", "Port/shop/app")).toBeGreaterThanOrEqual(1);
      expect(packets("ipv6-not-enabled", "Port/shop/app")).toBeGreaterThanOrEqual(1);
      expect(packets("tagged-frame", "Port/shop/app")).toBeGreaterThanOrEqual(1);
      const policies = ["shop/db", "shop/default-deny"];
      expect(drops).toContainEqual(
        expect.objectContaining({ reason: "ingress-policy", machines: ["shop/db"], policies }),
      );
      expect(bench.controller.metrics()).toMatchObject({ flowsRefused: 0, flowsRepaired: 0 });
    });

    randomPolicySuite({
      controller: () => bench.controller,
      end,
      inject: (ofport, frame) => bench.inject(ofport, frame),
      sentBy: (ofport) => bench.sentBy(ofport),
      fence,
    });

    // The last: the ports are other machines' from then on.
    isolationSuite({
      controller: () => bench.controller,
      inject: (ofport, frame) => bench.inject(ofport, frame),
      sentBy: (ofport) => bench.sentBy(ofport),
    });
  });
}
