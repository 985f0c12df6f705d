// Every family of ovs-vsctl's commands on our OVSDB server and on a real ovsdb-server, one after the other: the same
// output, the same exit code, the same complaint. No switch runs: what it would answer is told in ovs-vsctl.test.ts.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DatabaseServer, OPEN_VSWITCH_SCHEMA, openStorage, type Storage } from "../../vswitch/index.js";
import { RealOvsdbServer } from "../support/real-ovsdb-server.js";
import { requirePrograms, run } from "../support/run.js";

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

let dir: string;
let storage: Storage;
let server: DatabaseServer;
let real: RealOvsdbServer;

beforeAll(() => requirePrograms("ovs-vsctl", "ovsdb-server"));
beforeEach(async () => {
  dir = mkdtempSync("/tmp/ovv-");
  storage = openStorage(join(dir, "ours"), OPEN_VSWITCH_SCHEMA);
  server = new DatabaseServer([storage]);
  await server.listen(`punix:${join(dir, "ours.sock")}`);
  real = await RealOvsdbServer.start(join(dir, "real"));
});
afterEach(async () => {
  await real?.stop();
  await server?.close();
  await storage?.close();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What ovs-vsctl does with `words` at `endpoint`, with uuids and the server's own wording taken out. */
async function vsctl(endpoint: string, words: readonly string[]): Promise<unknown> {
  const options = ["--no-wait", "--timeout=10", "--no-syslog", `--db=${endpoint}`];
  const { code, stdout, stderr } = await run("ovs-vsctl", [...options, ...words], { deadlineMs: 20_000 });
  const plain = (text: string) =>
    text
      .replace(UUID, "UUID")
      .replace(/"details":"(\\.|[^"\\])*"/g, '"details":…')
      .replace(/^\S+Z\|/gm, "");
  // Two servers that cannot be reached would be alike too.
  expect(stderr).not.toContain("database connection failed");
  return {
    words,
    code,
    stdout: plain(stdout).split("\n").sort(),
    stderr: plain(stderr).replaceAll(endpoint, "DB"),
  };
}

/** Runs each line, its words apart by blanks, on both. */
async function compare(...lines: readonly string[]): Promise<void> {
  for (const line of lines) {
    const words = line.split(" ").map((word) => word.replaceAll("␣", " "));
    const [ours, theirs] = await Promise.all([
      vsctl(`unix:${join(dir, "ours.sock")}`, words),
      vsctl(real.endpoint, words),
    ]);
    expect(ours).toEqual(theirs);
  }
}

describe("ovs-vsctl, on ours as on ovsdb-server", () => {
  it("makes, asks for and removes bridges", () =>
    compare(
      "init",
      "init",
      "show",
      "add-br br0",
      "add-br br0",
      "--may-exist add-br br0",
      "add-br br1 -- set bridge br1 fail_mode=secure",
      "br-exists br0",
      "br-exists nope",
      "list-br",
      "list-ports br0",
      "list-ifaces br0",
      "br-to-vlan br0",
      "br-to-parent br0",
      "br-set-external-id br0 key value",
      "br-set-external-id br0 other a␣b",
      "br-get-external-id br0",
      "br-get-external-id br0 key",
      "br-set-external-id br0 key",
      "br-get-external-id br0",
      "--if-exists del-br nope",
      "del-br nope",
      "del-br br0",
      "del-br br1",
      "list-br",
      "show",
    ));

  it("makes fake bridges, with their VLAN", () =>
    compare(
      "init",
      "add-br br0",
      "add-br br1 br0 10",
      "--may-exist add-br br1 br0 10",
      "--may-exist add-br br1 br0 11",
      "add-br br2 nope 10",
      "add-br br3 br0 5000",
      "list-br",
      "--real list-br",
      "--fake list-br",
      "br-to-vlan br1",
      "br-to-parent br1",
      "add-port br1 p1",
      "add-port br0 p2",
      "list-ports br0",
      "list-ports br1",
      "port-to-br p1",
      "get port p1 tag",
      "get port br1 fake_bridge",
      "br-set-external-id br1 key value",
      "br-get-external-id br1",
      "get port br1 external_ids",
      "--columns=name,tag list port",
      "del-br br1",
      "list-ports br0",
      "add-br br1 br0 10",
      "del-br br0",
      "list-br",
    ));

  it("adds and removes ports and interfaces, bonds among them", () =>
    compare(
      "init",
      "add-br br0",
      "add-port br0 p1",
      "add-port br0 p1",
      "--may-exist add-port br0 p1",
      "add-port nope p2",
      "add-port br0 p2 tag=7 trunks=1,2 other_config:a=b",
      "add-port br0 p3 tag=9999",
      'add-port br0 p3 -- set interface p3 type=internal mac="02:00:00:00:00:01"',
      "add-bond br0 b0 i1 i2 bond_mode=balance-slb",
      "--may-exist add-bond br0 b0 i2 i1",
      "--fake-iface add-bond br0 b1 i3 i4",
      "add-bond br0 b2 i1 i5",
      "list-ports br0",
      "list-ifaces br0",
      "iface-to-br i1",
      "iface-to-br nope",
      "port-to-br b0",
      "port-to-br i1",
      "add-bond-iface b0 i9",
      "del-bond-iface b0 i9",
      "--if-exists del-bond-iface b0 i9",
      "get port p2 tag trunks other_config",
      "del-port br0 p1",
      "del-port br0 p1",
      "--if-exists del-port br0 p1",
      "del-port b0",
      "--with-iface del-port i3",
      "list-ifaces br0",
      "show",
    ));

  it("gets, sets, adds, removes, clears and lists columns", () =>
    compare(
      "init",
      "add-br br0 -- add-port br0 p1 -- add-port br0 p2",
      "set port p1 tag=3 vlan_mode=access",
      "get port p1 tag vlan_mode name",
      "get port p1 nope",
      "--if-exists get port nope tag",
      "get port nope tag",
      "get port p1 external_ids:key",
      "--if-exists get port p1 external_ids:key",
      "set port p1 external_ids:key=value external_ids:other=1",
      "get port p1 external_ids:key external_ids",
      "add port p1 trunks 1 2 3",
      "add port p1 trunks 2 5000",
      "add port p1 external_ids new=x",
      "remove port p1 trunks 2",
      "remove port p1 external_ids key",
      "remove port p1 external_ids other=2",
      "get port p1 trunks external_ids",
      "clear port p1 tag",
      "clear port p1 trunks external_ids",
      "clear port p1 interfaces",
      "clear port nope tag",
      "--if-exists clear port nope tag",
      "list port p1",
      "--columns=name,tag,trunks list port",
      "--format=json --columns=name list port p1",
      "--format=csv --data=bare --columns=name,tag,external_ids list port p1",
      "--format=html --columns=name list port p1",
      "--bare --columns=name find port name=p1",
      "--columns=name find port name!=p1",
      "--columns=name find port tag=[]",
      "--columns=name find interface name{=}[p1,p2]",
      "--columns=name find port trunks{>=}1",
      "--columns=name find port external_ids:a=b",
      "set port p1 tag=abc",
      "set port p1 vlan_mode=sideways",
      "set port p1 name=other",
      "set bridge br0 protocols=OpenFlow13,OpenFlow10 other-config:hwaddr=02:00:00:00:00:02",
      "get bridge br0 protocols other_config",
      "set Open_vSwitch . external_ids:system-id=abc",
      "get Open_vSwitch . external_ids",
      "set . .",
      "list nope",
    ));

  it("creates and destroys records, by name and by reference", () =>
    compare(
      "init",
      "add-br br0 -- add-port br0 p1 -- add-port br0 p2",
      "-- --id=@m create mirror name=m0 select-dst-port=@p1 output-port=@p2 -- --id=@p1 get port p1 -- --id=@p2 get port p2 -- add bridge br0 mirrors @m",
      "--columns=name,select_all list mirror",
      "clear bridge br0 mirrors",
      "list mirror",
      "-- set port p1 qos=@new -- --id=@new create qos type=linux-htb queues=0=@q0,1=@q1 -- --id=@q0 create queue other-config:min-rate=100 -- --id=@q1 create queue dscp=5",
      "--columns=type list qos",
      "--columns=dscp,other_config list queue",
      "destroy queue nope",
      "--all destroy queue",
      "del-port p1 -- --all destroy qos",
      "clear port p1 qos",
      "--all destroy qos -- --all destroy queue",
      "list queue",
      "create queue dscp=64",
      "create queue dscp=7",
      "create nope x=1",
      '-- set bridge br0 netflow=@nf -- --id=@nf create netflow targets="127.0.0.1:5566" active-timeout=30',
      "get netflow . targets",
      '-- --id=@s create sflow targets="127.0.0.1:6343" sampling=64 -- set bridge br0 sflow=@s',
      '-- --id=@i create ipfix targets="127.0.0.1:4739" obs_domain_id=1 -- set bridge br0 ipfix=@i',
      '-- --id=@br get bridge br0 -- --id=@i create ipfix targets="127.0.0.1:4739" -- create Flow_Sample_Collector_Set id=1 bridge=@br ipfix=@i',
      "-- --id=@br get bridge br0 -- create Flow_Sample_Collector_Set id=1 bridge=@br",
      '-- --id=@ft create flow_table flow_limit=100 overflow_policy=evict groups="a" -- set bridge br0 flow_tables:1=@ft',
      "--columns=flow_limit,overflow_policy,groups list flow_table",
      "clear bridge br0 netflow sflow flow_tables",
      "list netflow -- list sflow -- list flow_table",
      "-- --id=@dp create datapath datapath_version=1 -- set Open_vSwitch . datapaths:netdev=@dp",
      "--columns=datapath_version list datapath",
      "wait-until bridge br0 name=br0",
      "--if-exists wait-until bridge br0 -- get bridge br0 name",
    ));

  it("adds zones' timeout policies and automatic attachments", () =>
    compare(
      "init",
      "add-br br0 -- set bridge br0 datapath_type=netdev",
      "-- --id=@dp create datapath -- set Open_vSwitch . datapaths:netdev=@dp",
      "add-zone-tp netdev zone=1 icmp_first=1 icmp_reply=2",
      "add-zone-tp netdev zone=1 icmp_first=1",
      "--may-exist add-zone-tp netdev zone=1 icmp_first=1",
      "add-zone-tp netdev zone=2 bogus=1",
      "list-zone-tp netdev",
      "del-zone-tp netdev zone=1",
      "del-zone-tp netdev zone=1",
      "--if-exists del-zone-tp netdev zone=1",
      "list-zone-tp netdev",
      "list-dp-cap nope",
      "-- --id=@aa create autoattach system_name=x -- set bridge br0 auto_attach=@aa",
      "add-aa-mapping br0 100 5",
      "get-aa-mapping br0",
      "del-aa-mapping br0 100 5",
      "get-aa-mapping br0",
    ));

  it("sets controllers, fail modes, managers, TLS, and resets for an emergency", () =>
    compare(
      "init",
      "add-br br0",
      "get-controller br0",
      "set-controller br0 tcp:127.0.0.1:6653 ssl:127.0.0.1:6653",
      "get-controller br0",
      "--columns=target,max_backoff list controller",
      "set controller br0 max_backoff=500",
      "--inactivity-probe=3000 set-manager ptcp:6640:127.0.0.1 ssl:127.0.0.1:6640",
      "get-manager",
      "--columns=target,inactivity_probe,is_connected list manager",
      "set-manager punix:/tmp/x punix:/tmp/x",
      "del-manager",
      "get-manager",
      "get-fail-mode br0",
      "set-fail-mode br0 secure",
      "get-fail-mode br0",
      "set-fail-mode br0 sideways",
      "del-fail-mode br0",
      "get-fail-mode br0",
      "get-ssl",
      "--bootstrap set-ssl /k /c /ca",
      "get-ssl",
      "set-ssl /k2 /c2 /ca2",
      "get-ssl",
      "del-ssl",
      "get-ssl",
      "set-ssl /k /c /ca -- set-manager ptcp:6640 -- set-fail-mode br0 secure -- set bridge br0 other_config:a=b external_ids:c=d",
      "emer-reset",
      "--columns=name,controller,fail_mode,other_config,external_ids list bridge",
      "get-manager",
      "get-ssl",
      "del-controller br0",
      "get-controller br0",
      "show",
    ));

  it("chains commands in one transaction, all or nothing", () =>
    compare(
      "init",
      "add-br br0 -- add-port br0 p1 -- add-port nope p2",
      "list-br",
      "--oneline add-br br0 -- list-br -- list-ports br0 -- br-to-vlan br0",
      "--dry-run add-br br1 -- list-br",
      "list-br",
      "add-br br1 -- del-br br1 -- list-br",
      "comment hello -- add-br br2",
      "bogus",
      "add-br",
      "set port nope tag=1 -- add-br br3",
      "list-br",
    ));
});
