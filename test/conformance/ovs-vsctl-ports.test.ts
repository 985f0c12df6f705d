// What the real ovs-vsctl asks of ports beside VLANs: mirrors, policing, MTU, protection; and what it can read back.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { ethernetFrame, textOf } from "../support/switch.js";

const DEADLINE_MS = 20_000;

let ovs: PlinthSwitch;

beforeAll(async () => {
  ovs = await PlinthSwitch.open();
  await ovs.vsctl("add-br", "br0");
  for (const n of [1, 2, 3]) await ovs.addPort("br0", `p${n}`, n, `vm${n}`);
  await ovs.plugged();
});

afterAll(async () => {
  await ovs?.destroy();
});

const frame = (text: string, vlan?: number): Uint8Array =>
  ethernetFrame({ to: 0xff, from: 1, text, ...(vlan === undefined ? {} : { vlan }) });
const texts = (port: number): string[] => ovs.sentBy(port).map(textOf);

async function seenBy(port: number, text: string): Promise<void> {
  await waitFor(() => texts(port).includes(text), `${text} out of p${port}`, DEADLINE_MS);
}

/** One number of the row's map column. */
async function statistic(table: string, row: string, key: string): Promise<number> {
  return Number(await ovs.vsctl("--if-exists", "get", table, row, `statistics:${key}`));
}

describe("ovs-vsctl", () => {
  it("makes a mirror, reads what it sent, and takes it away", async () => {
    await ovs.vsctl(
      ...["--", "--id=@p1", "get", "Port", "p1", "--", "--id=@p3", "get", "Port", "p3"],
      ...["--", "--id=@m", "create", "Mirror", "name=span", "select_src_port=@p1", "output_port=@p3"],
      ...["--", "set", "Bridge", "br0", "mirrors=@m"],
    );
    ovs.inject(1, frame("mirrored"));
    await seenBy(3, "mirrored");
    expect(texts(3)).toEqual(["mirrored"]);
    ovs.inject(2, frame("for others"));
    await seenBy(1, "for others");
    expect(texts(3)).toEqual(["mirrored"]);
    await waitFor(
      async () => (await statistic("Mirror", "span", "tx_packets")) === 1,
      "the mirror's statistics",
      DEADLINE_MS,
    );
    expect(await statistic("Mirror", "span", "tx_bytes")).toBe(60);
    await ovs.vsctl("clear", "Bridge", "br0", "mirrors");
    ovs.inject(2, frame("for all"));
    await seenBy(3, "for all");
    expect(await ovs.vsctl("list", "Mirror")).toBe("");
  });

  it("polices an interface, and finds what was dropped in its statistics", async () => {
    const before = await statistic("Interface", "p2", "rx_dropped");
    await ovs.vsctl(
      ...["set", "Interface", "p2", "ingress_policing_kpkts_rate=1", "ingress_policing_kpkts_burst=1"],
    );
    // A thousand pass at once; the rate adds one a millisecond.
    const last = 20_000;
    for (let n = 0; n < last; n++) ovs.inject(2, frame(`flood ${n}`));
    await waitFor(
      async () => (await statistic("Interface", "p2", "rx_dropped")) > before,
      "policing to drop",
      DEADLINE_MS,
    );
    await ovs.vsctl("set", "Interface", "p2", "ingress_policing_kpkts_rate=0");
    ovs.inject(2, frame("free again"));
    await seenBy(1, "free again");
    const passed = texts(1).filter((text) => text.startsWith("flood")).length;
    expect(passed).toBeGreaterThanOrEqual(1000);
    await waitFor(
      async () => (await statistic("Interface", "p2", "rx_dropped")) === before + last - passed,
      "every drop to be counted",
      DEADLINE_MS,
    );
  });

  it("keeps protected ports apart", async () => {
    await ovs.vsctl("set", "Port", "p1", "protected=true", "--", "set", "Port", "p2", "protected=true");
    ovs.inject(1, frame("between"));
    await seenBy(3, "between");
    expect(texts(2)).not.toContain("between");
    await ovs.vsctl("set", "Port", "p1", "protected=false", "--", "set", "Port", "p2", "protected=false");
  });

  it("lets no longer frames out than mtu_request says", async () => {
    await ovs.vsctl("set", "Interface", "p3", "mtu_request=100");
    await waitFor(
      async () => (await ovs.vsctl("get", "Interface", "p3", "mtu")) === "100",
      "mtu",
      DEADLINE_MS,
    );
    await ovs.plugged();
    const long = new Uint8Array(200);
    long.set(frame("long"));
    ovs.inject(1, long);
    ovs.inject(1, frame("short"));
    await seenBy(3, "short");
    expect(ovs.sentBy(3).every(({ byteLength }) => byteLength <= 114)).toBe(true);
    await waitFor(
      async () => (await statistic("Interface", "p3", "tx_dropped")) >= 1,
      "the drop to be counted",
      DEADLINE_MS,
    );
  });

  it("finds what has no effect named in the status, and nothing pretended", async () => {
    await ovs.vsctl(
      ...["set", "Bridge", "br0", "rstp_enable=true", "mcast_snooping_enable=true"],
      ...["--", "--id=@br", "get", "Bridge", "br0"],
      ...["--", "--id=@ipfix", "create", "IPFIX", 'targets="127.0.0.1:4739"'],
      ...["--", "create", "Flow_Sample_Collector_Set", "id=1", "bridge=@br", "ipfix=@ipfix"],
      ...[
        "--",
        "set",
        "Interface",
        "p1",
        "bfd:enable=true",
        "cfm_mpid=7",
        "--",
        "set",
        "Port",
        "p1",
        "lacp=active",
        "qos=@qos",
      ],
      ...["--", "--id=@qos", "create", "QoS", "type=linux-sfq", "queues:0=@queue"],
      ...["--", "--id=@queue", "create", "Queue", "dscp=10"],
    );
    expect(await ovs.vsctl("get", "Bridge", "br0", "status:unsupported")).toBe(
      '"rstp_enable mcast_snooping_enable Flow_Sample_Collector_Set"',
    );
    expect(await ovs.vsctl("get", "Interface", "p1", "status:unsupported")).toBe(
      '"qos Queue:dscp lacp bfd cfm_mpid"',
    );
    expect(await ovs.vsctl("get", "Interface", "p1", "bfd_status", "cfm_fault")).toBe("{}\n[]");
    await ovs.vsctl(
      ...["set", "Bridge", "br0", "rstp_enable=false", "mcast_snooping_enable=false"],
      ...["--", "clear", "Interface", "p1", "bfd", "cfm_mpid", "--", "clear", "Port", "p1", "lacp", "qos"],
      ...["--", "--all", "destroy", "QoS", "--", "--all", "destroy", "Queue"],
      ...["--", "--all", "destroy", "Flow_Sample_Collector_Set"],
    );
    expect(await ovs.vsctl("get", "Bridge", "br0", "status")).toBe("{}");
  });

  it("sees what a port-mod puts down, and up again", async () => {
    const states = (): Promise<string> => ovs.vsctl("get", "Interface", "p2", "admin_state", "link_state");
    await ovs.ofctl("mod-port", "br0", "2", "down");
    await waitFor(async () => (await states()) === "down\ndown", "p2 to be down", DEADLINE_MS);
    expect(await ovs.ofctl("dump-ports-desc", "br0")).toMatch(
      /2\(p2\)[\s\S]*?PORT_DOWN\s+state:\s+LINK_DOWN/,
    );
    await ovs.ofctl("mod-port", "br0", "2", "up");
    await waitFor(async () => (await states()) === "up\nup", "p2 to be up", DEADLINE_MS);
  });

  it("is told why a port of several interfaces is not made", async () => {
    await ovs.vsctl(
      ...["--no-wait", "--", "add-bond", "br0", "bond0", "b1", "b2"],
      ...["--", "set", "Interface", "b1", "type=stream", "options:path=/tmp/none1"],
      ...["--", "set", "Interface", "b2", "type=stream", "options:path=/tmp/none2"],
    );
    await waitFor(
      async () => (await ovs.vsctl("get", "Interface", "b1", "error")).includes("several interfaces"),
      "the error",
      DEADLINE_MS,
    );
    expect(await ovs.vsctl("get", "Interface", "b1", "ofport")).toBe("-1");
    await ovs.vsctl("del-port", "br0", "bond0");
  });
});
