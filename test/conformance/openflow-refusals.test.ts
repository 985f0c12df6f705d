// Some three hundred messages with something wrong, or at the edge of what is right: which error each deserves, told by
// our switch and by a real Open vSwitch. Both must say the same, but where the specification decides for ours.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { errorName, experimenterErrorName } from "../../base/openflow/error-codes.js";
import { flowMod, groupMod, message, meterMod } from "../support/openflow-bytes.js";
import { CASES } from "../support/openflow-refusals.js";
import { OpenFlowSwitch } from "../support/openflow-switch.js";
import { RawOpenFlow } from "../support/raw-openflow.js";
import { RealOvs } from "../support/real-ovs.js";

/** What ours says, and the real one, by the name of the case. */
const DIFFERENT: Readonly<Record<string, readonly [ours: string, real: string]>> = {
  // Open vSwitch does not have it: the specification does.
  "copy_ttl_in any": ["ok", "OFPBAC_BAD_TYPE"],
  "copy_ttl_out any": ["ok", "OFPBAC_BAD_TYPE"],
  "push_pbb 0x88e7": ["ok", "OFPBAC_BAD_TYPE"],
  "push_pbb 0x800": ["OFPBAC_BAD_ARGUMENT", "OFPBAC_BAD_TYPE"],
  "pop_pbb without": ["ok", "OFPBAC_BAD_TYPE"],
  "oxm ipv6_exthdr": ["ok", "OFPBMC_BAD_FIELD"],
  "oxm ipv6_exthdr 0x200": ["OFPBMC_BAD_VALUE", "OFPBMC_BAD_FIELD"],
  "oxm pbb_isid": ["ok", "OFPBMC_BAD_FIELD"],
  "set_field pbb_isid": ["ok", "OFPBAC_BAD_SET_LEN"],
  "set_field eth_type": ["ok", "OFPBAC_BAD_SET_ARGUMENT"],
  "set_field ip_proto": ["ok", "OFPBAC_BAD_SET_ARGUMENT"],
  "oxm in_phy_port alone": ["OFPBMC_BAD_PREREQ", "OFPBMC_BAD_FIELD"],
  "meter dscp": ["ok", "OFPMMFC_BAD_BAND"],
  "meter dscp 0": ["ok", "OFPMMFC_BAD_BAND"],
  "meter dscp 9": ["ok", "OFPMMFC_BAD_BAND"],
  "meter two bands one rate": ["ok", "OFPMMFC_BAD_BAND"],
  // Only what the match says the packet lacks is refused; an action that does not apply changes nothing (5.12).
  "dec_mpls_ttl without": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  "dec_nw_ttl without ip": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  "set_mpls_ttl without": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  "set_nw_ttl without ip": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  "pop_mpls without mpls": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  "pop_vlan without vlan": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  // set_vlan_vid of OpenFlow 1.1.
  "action type 1": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  "set_field vlan_vid without vlan": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  "po set_field no ip": ["ok", "OFPBAC_MATCH_INCONSISTENT"],
  // Groups are checked for loops and for groups that are not there (6.5, OFPGFC_CHAINING_CHECKS).
  "group self loop": ["OFPGMFC_LOOP", "ok"],
  "group modify loop": ["OFPGMFC_LOOP", "ok"],
  "group chain unknown": ["OFPBAC_BAD_OUT_GROUP", "ok"],
  // No port, queue or table has this number (7.2.1, 7.3.5.8, 7.3.4.1).
  "output port 0": ["OFPBAC_BAD_OUT_PORT", "ok"],
  "group output 0": ["OFPBAC_BAD_OUT_PORT", "ok"],
  "po output 0": ["OFPBAC_BAD_OUT_PORT", "ok"],
  "po in_port 0": ["OFPBRC_BAD_PORT", "ok"],
  "set_queue all": ["OFPBAC_BAD_QUEUE", "ok"],
  "fm add table 254": ["OFPFMFC_BAD_TABLE_ID", "OFPBRC_EPERM"],
  "goto 254": ["OFPBIC_BAD_TABLE_ID", "ok"],
  "goto 255": ["OFPBIC_BAD_TABLE_ID", "ok"],
  "table_mod bad table 254": ["OFPTMFC_BAD_TABLE", "OFPTMFC_EPERM"],
  "port stats 99": ["OFPBRC_BAD_PORT", "type 19"],
  "port stats controller": ["OFPBRC_BAD_PORT", "type 19"],
  // This is OFPP_MAX, the largest port number (7.2.1); what is not there matches nothing.
  "output 0xffffff00": ["ok", "OFPBAC_BAD_OUT_PORT"],
  "oxm in_port 77777": ["ok", "OFPBMC_BAD_VALUE"],
  // The whole field counts (7.2.3.7).
  "oxm arp_op 256": ["ok", "OFPBMC_BAD_VALUE"],
  "set_field arp_op 256": ["ok", "OFPBAC_BAD_SET_ARGUMENT"],
  "oxm vlan_vid 5 without present": ["OFPBMC_BAD_VALUE", "ok"],
  // These fields take no mask (7.2.3.7, table 12).
  "oxm mask on ip_proto": ["OFPBMC_BAD_MASK", "ok"],
  "oxm exact mask on in_port": ["OFPBMC_BAD_MASK", "ok"],
  "oxm zero mask in_port": ["OFPBMC_BAD_MASK", "ok"],
  // The code that 7.4.4 has for it; Open vSwitch says another.
  "match type 0": ["OFPBMC_BAD_TYPE", "OFPBMC_BAD_LEN"],
  "oxm truncated": ["OFPBMC_BAD_LEN", "OFPBRC_BAD_LEN"],
  "oxm wrong length": ["OFPBMC_BAD_LEN", "OFPBMC_BAD_FIELD"],
  "inst apply twice": ["OFPBIC_DUP_INST", "4f4e4600:2600"],
  "inst twice": ["OFPBIC_DUP_INST", "4f4e4600:2600"],
  "meter unknown": ["OFPMMFC_UNKNOWN_METER", "OFPMMFC_INVALID_METER"],
  "po actions_len odd": ["OFPBAC_BAD_LEN", "OFPBRC_BAD_LEN"],
  "port_mod config bit": ["OFPPMFC_BAD_CONFIG", "OFPPMFC_BAD_HW_ADDR"],
  "port_mod config unknown bit": ["OFPPMFC_BAD_CONFIG", "OFPPMFC_BAD_HW_ADDR"],
  "set_field in_phy_port": ["OFPBAC_BAD_SET_TYPE", "OFPBAC_BAD_SET_LEN"],
  "set_field in_port": ["OFPBAC_BAD_SET_TYPE", "OFPBAC_BAD_SET_ARGUMENT"],
  "set_field ipv6_exthdr": ["OFPBAC_BAD_SET_TYPE", "OFPBAC_BAD_SET_LEN"],
  "set_field masked": ["OFPBAC_BAD_SET_TYPE", "4f4e4600:4250"],
  "set_field two oxm": ["OFPBAC_BAD_SET_LEN", "OFPBAC_BAD_SET_ARGUMENT"],
  "set_field unknown": ["OFPBAC_BAD_SET_TYPE", "OFPBAC_BAD_SET_LEN"],
  "po 13 bytes": ["OFPBRC_BAD_PACKET", "ok"],
  "po no data": ["OFPBRC_BAD_PACKET", "ok"],
  "fm overlap identical": ["OFPFMFC_OVERLAP", "ok"],
  "table_mod config 4": ["OFPTMFC_BAD_CONFIG", "ok"],
  // Nothing forbids it.
  "error from controller": ["ok", "OFPBRC_BAD_TYPE"],
  "hello again": ["ok", "OFPBRC_BAD_TYPE"],
  "group delete with buckets": ["ok", "OFPGMFC_INVALID_GROUP"],
  "meter flags 0": ["ok", "OFPMMFC_BAD_FLAGS"],
  "meter no bands": ["ok", "OFPMMFC_OUT_OF_BANDS"],
};

const CLEAN = [flowMod({ command: 3, table: 255 }), groupMod(2, 0, 0xfffffffc), meterMod(2, 0, 0xffffffff)];

let directory: string;
let ours: OpenFlowSwitch;
let real: RealOvs;
let peers: RawOpenFlow[] = [];

beforeAll(async () => {
  directory = mkdtempSync("/tmp/of-refusals-");
  ours = await OpenFlowSwitch.open(directory);
  real = await RealOvs.start();
  await real.vsctl("add-br", "br0", "--", "set-fail-mode", "br0", "secure");
  await real.vsctl("set", "bridge", "br0", "protocols=OpenFlow13");
  for (const n of [1, 2]) await real.addPort("br0", `p${n}`, n, `vm${n}`);
  peers = [join(directory, "br0.mgmt"), real.path("br0.mgmt")].map((path) => new RawOpenFlow(path, 4));
});

afterAll(async () => {
  for (const peer of peers) peer.close();
  await ours.close();
  await real.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** The error by its name, or which message else came. */
function nameOf(answer: Buffer): string {
  const [type, code] = [answer.readUInt16BE(8), answer.readUInt16BE(10)];
  if (answer[1] !== 1) return `type ${answer[1]}`;
  const experimenter = type === 0xffff ? answer.readUInt32BE(12) : 0;
  const name = type === 0xffff ? experimenterErrorName(experimenter, code) : errorName(type, code);
  return name ?? `${type === 0xffff ? experimenter.toString(16) : type}:${code}`;
}

it("each gets the error that it deserves, and is told which message deserved it", async () => {
  const different: Record<string, readonly string[]> = {};
  for (const { name, before, bytes } of CASES) {
    const [ofOurs, ofReal] = await Promise.all(
      peers.map(async (peer) => {
        expect((await peer.ask(...CLEAN, ...before)).map(nameOf), `before "${name}"`).toEqual([]);
        const answers = await peer.ask(bytes);
        for (const answer of answers.filter((one) => one[1] === 1)) {
          expect(answer.readUInt32BE(4), "xid").toBe(0x1234);
          const data = answer.subarray(answer.readUInt16BE(8) === 0xffff ? 16 : 12);
          const quoted = Uint8Array.from(bytes).subarray(0, 64);
          expect(data.subarray(0, 64).toString("hex"), name).toBe(Buffer.from(quoted).toString("hex"));
        }
        return answers.map(nameOf).join(" ") || "ok";
      }),
    );
    if (ofOurs !== ofReal) different[name] = [ofOurs as string, ofReal as string];
  }
  expect(different).toEqual(DIFFERENT);
  expect(await peers[0]?.ask(message(5, []))).toMatchObject([{ 1: 6 }]);
}, 120_000);
