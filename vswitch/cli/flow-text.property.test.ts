import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { encodeMessage, type Match, type OpenFlowMessage, parseMessage } from "../../base/openflow/index.js";
import { formatMatch, parseFlow } from "./flow-text.js";
import { formatInstructions } from "./instruction-text.js";
import { flowModOf } from "./ofctl-flows.js";

const FLOWS = [
  "table=3,priority=100,tcp,nw_src=10.0.0.0/24,tp_dst=80,actions=output:2",
  "arp,nw_dst=10.0.0.1,actions=NORMAL",
  "in_port=LOCAL,dl_vlan=10,dl_src=02:00:00:00:00:01,actions=pop_vlan,IN_PORT",
  "reg0=0x5/0xff,ct_state=+trk+est-new,metadata=0x10/0xf0,actions=load:0x7->reg1[0..15],move:eth_src[]->eth_dst[],goto_table:5",
  "udp6,ipv6_dst=fe80::1/64,actions=CONTROLLER:128",
  "cookie=0x12,idle_timeout=5,ip,actions=ct(commit,table=4,zone=9,nat(dst=10.0.0.5:80),exec(load:0x1->ct_mark[]))",
  "icmp,icmp_type=8,actions=set_field:10.0.0.9->ipv4_dst,dec_ttl,group:7,resubmit(,6)",
  "actions=push_vlan:0x8100,set_field:0x100a->vlan_vid,write_actions(output:3),write_metadata:0x1/0xff",
  "priority=0,actions=drop",
];

/** Apart from prerequisites the order of fields says nothing. */
function byField(match: Match): Match {
  return [...match].sort((a, b) => (a.field < b.field ? -1 : 1));
}

describe("flows as text", () => {
  it.each(FLOWS)("gives a message that a switch understands, and shows it the same: %s", (text) => {
    const flow = parseFlow(text);
    const message = { ...flowModOf("add", flow), xid: 1 } as OpenFlowMessage;
    const back = parseMessage(encodeMessage(message));
    if (back.type !== "flow_mod") throw new Error("no flow-mod");
    const shown = `${formatMatch(back.match)} actions=${formatInstructions(back.instructions)}`;
    const again = parseFlow(shown);
    expect(byField(again.match)).toEqual(byField(flow.match));
    expect(again.instructions).toEqual(flow.instructions);
  });

  it("raises only named errors whatever is typed", () => {
    const word = fc.constantFrom(
      "tcp",
      "ip",
      "=",
      ",",
      "actions=",
      "ct(",
      ")",
      "nat",
      "src",
      "->",
      "reg0",
      "[",
      "]",
      "..",
      "0",
      "99999999999",
      "0x",
      "/",
      "output:",
      "load:",
      "move:",
      "nw_src",
      "10.0.0.1",
      "::",
      "+trk",
      "ct_state=",
      "set_field:",
      "in_port=",
      "__proto__",
      " ",
      "resubmit(",
      "dl_vlan=",
      "write_metadata:",
      "exec(",
      "group:",
      "toString",
    );
    const typed = fc.oneof(
      fc.string(),
      fc.array(word, { maxLength: 14 }).map((list) => list.join("")),
    );
    fc.assert(
      fc.property(typed, (text) => {
        for (const flow of [text, `actions=${text}`]) {
          try {
            parseFlow(flow);
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(PlinthError);
          }
        }
      }),
      { numRuns: 1500 },
    );
  });
});
