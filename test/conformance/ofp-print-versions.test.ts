// Messages as each version of OpenFlow writes them, printed by ovs-ofctl and by `plinth ofctl`: those whose form is not
// that of 1.3, one of each kind, and what actions of every version are read as.
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { fromHex, toHex } from "../../base/bytes/index.js";
import { type AnyDialect, encodeMessage } from "../../base/openflow/index.js";
import { parseFlow } from "../../vswitch/cli/flow-text.js";
import { flowModOf } from "../../vswitch/cli/ofctl-flows.js";
import { printDifferences } from "../support/ofctl-print-twin.js";
import { byOvs, byPlinth } from "../support/offline-ofctl.js";
import { requirePrograms } from "../support/run.js";

const MESSAGES = JSON.parse(
  readFileSync(new URL("./version-messages.json", import.meta.url), "utf8"),
) as Readonly<Record<string, string>>;

/** Without a match that they need: what is read is not held against one. */
const ACTIONS = [
  "output:1,controller(reason=no_match,max_len=3),controller(userdata=01),output:NXM_NX_REG0[]",
  "output(port=1,max_len=100),enqueue:1:2,set_queue:3,pop_queue,group:1",
  "mod_dl_src:00:00:00:00:00:01,mod_nw_src:1.2.3.4,mod_nw_tos:4,mod_nw_ecn:1,mod_nw_ttl:3,dec_ttl,dec_ttl(1,2)",
  "mod_vlan_vid:3,mod_vlan_pcp:3,mod_tp_src:3,set_mpls_ttl:3,set_mpls_label:3,set_mpls_tc:3,pop_vlan",
  "set_field:3->reg0,set_field:0x30/0x70->reg0,load:3->reg0[0..3],set_field:3->metadata",
  "move:reg0[]->reg1[],move:OXM_OF_METADATA[]->NXM_NX_TUN_ID[],push:reg0,pop:reg0,set_tunnel:3,set_field:3->tun_id",
  "resubmit:1,resubmit(,1),note:01,multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[]),exit",
  "learn(table=1,limit=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],eth_type=0x800),clone(output:1,dec_ttl)",
  "check_pkt_larger(100)->reg0[0],sample(probability=1),delete_field:tun_metadata0",
];
const VERSIONS = [1, 2, 3, 4, 5, 6];

function actionBytes(text: string, version: number): string {
  const flow = parseFlow(`tcp,actions=${text}`, { parts: new Set(["actions"]), version });
  const dialect = { version, flowModTableId: false } as AnyDialect;
  const mod = { ...flowModOf("add", { ...flow, match: [] }), xid: 0 };
  const head = encodeMessage({ ...mod, instructions: [] }, dialect).byteLength;
  // From 1.1 on the actions are inside an instruction.
  return toHex(encodeMessage(mod, dialect).subarray(head + (version === 1 ? 0 : 8)));
}

describe("messages of every version", () => {
  beforeAll(() => requirePrograms("ovs-ofctl"));

  it("are printed as ovs-ofctl prints them", async () => {
    const differences = await printDifferences(Object.values(MESSAGES).map(fromHex));
    expect(differences.map(({ theirs, ours }) => `${theirs}---\n${ours}`)).toEqual([]);
  });

  it.each(VERSIONS)(
    "have actions, in version %i, that are read and written as ovs-ofctl does",
    async (version) => {
      const lines = `${ACTIONS.filter((text) => !text.includes("set_mpls"))
        .map((text) => actionBytes(text, version))
        .join("\n")}\n`;
      const words = ["parse-actions", `OpenFlow1${version - 1}`];
      const [theirs, ours] = [await byOvs("/tmp", words, lines), await byPlinth("/tmp", words, lines)];
      expect(ours.stdout).toBe(theirs.stdout);
    },
  );
});
