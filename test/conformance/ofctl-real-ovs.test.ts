// The same command line to ovs-ofctl and to `plinth ofctl`, both against one real ovs-vswitchd and in every version of
// OpenFlow that it speaks: standard output, standard error and exit code agree, apart from clocks and the name of the
// program. What changes the switch is done by `plinth ofctl` alone, and seen by both.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runTool } from "../../stack/cli/tool-command.js";
import { runOfctl } from "../../vswitch/index.js";
import { RealOvs } from "../support/real-ovs.js";
import { run } from "../support/run.js";

const DEADLINE_MS = 30_000;
const NIGHTLY = process.env["PLINTH_NIGHTLY"] === "1";
const VERSIONS = ["OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15"];
const FILES: Readonly<Record<string, string>> = {
  "bundle.txt": "flow add table=7,actions=drop\ngroup add group_id=7,type=all\n",
  "again.txt": "group add group_id=7,type=all\n",
};

/** What is done first, in order; each succeeds in silence. */
const CHANGES: readonly string[] = [
  "add-flow SW table=3,in_port=1,ip,actions=output:2,resubmit(p1,4),LOCAL",
  "add-flow SW reg0=1,actions=NORMAL",
  "add-flow SW table=5,actions=learn(table=6,in_port=2,NXM_OF_IN_PORT[0..7]=3),bundle(eth_src,0,hrw,ofport,members:1,77),set_field:2->in_port",
  "-O OpenFlow13 add-flow SW priority=7,actions=goto_table:9",
  "add-group SW group_id=1,type=select,bucket=weight:5,output:1",
  "insert-buckets SW group_id=1,command_bucket_id=last,bucket=bucket_id=5,actions=2",
  "-O OpenFlow15 insert-buckets SW group_id=1,command_bucket_id=first,bucket=bucket_id=6,actions=2",
  "-O OpenFlow15 remove-buckets SW group_id=1,command_bucket_id=5",
  "-O OpenFlow14 add-meter SW meter=1,kbps,band=type=drop,rate=5",
  "add-tlv-map SW {class=0xffff,type=0,len=4}->tun_metadata0",
  "-O OpenFlow15 mod-port SW p1 down",
  "-O OpenFlow14 mod-table SW 0 evict",
  "-O OpenFlow14 mod-table SW 0 vacancy:20,80",
  "-O OpenFlow15 packet-out SW 1 output:2 50540000000a505400000009080045000000",
  "bundle SW bundle.txt",
  "--bundle add-flow SW table=8,actions=drop",
  "ct-flush-zone SW 5",
  "ct-flush SW zone=5 ct_nw_src=10.0.0.1,ct_nw_proto=17,ct_tp_src=3",
];
/** In each version. */
const SHOWN: readonly string[] = [
  ...[
    "show SW",
    "dump-tables SW",
    "dump-flows SW",
    "dump-ports SW",
    "dump-ports-desc SW",
    "dump-groups SW 1",
  ],
  ...["queue-get-config SW", "--names dump-flows SW", "dump-group-features SW"],
];
const SHOWN_NIGHTLY: readonly string[] = [
  ...["dump-aggregate SW", "dump-ports SW p2", "queue-stats SW", "dump-meters SW", "meter-stats SW"],
  ...["get-frags SW", "dump-table-features SW", "dump-table-desc SW", "dump-desc SW", "meter-features SW"],
  ...["dump-ipfix-bridge SW", "dump-tlv-map SW", "--no-stats --rsort=in_port dump-flows SW table=3"],
];
const OTHERS: readonly string[] = [
  ...["dump-ipfix-flow SW", "dump-tlv-map SW", "-O OpenFlow13 dump-table-features SW", "dump-meters SW"],
  ...["-O OpenFlow14 dump-table-desc SW", "--rsort=in_port dump-flows SW", "dump-flows SW table=3"],
  ...["-F OpenFlow10 dump-flows SW reg0=1", "-F OXM-OpenFlow13 show SW", "-F foo show SW"],
  ...[
    "--read-only add-flow SW actions=drop",
    "-P foo monitor SW",
    "monitor SW watch:foo",
    "mod-port SW p9 up",
  ],
  ...["mod-table SW 0 drop", "-O OpenFlow14 mod-table SW 0 vacancy:80,20", "bundle SW again.txt"],
  ...[
    "add-tlv-map SW foo",
    "ct-flush SW foo=1",
    "ct-flush SW 5",
    "ct-flush-zone SW x",
    "insert-buckets SW bucket=1",
  ],
  ...[
    "-O OpenFlow13 insert-buckets SW group_id=1,command_bucket_id=last,bucket=1",
    "mod-group SW group_id=9,type=all",
  ],
  ...["-O OpenFlow15 insert-buckets SW group_id=1,bucket=1", "benchmark SW 70000 1", "show ONLY13"],
];

let ovs: RealOvs;

beforeAll(async () => {
  ovs = await RealOvs.start();
  await ovs.vsctl(
    "add-br",
    "br0",
    "--",
    "add-br",
    "br13",
    "--",
    "set",
    "bridge",
    "br13",
    "protocols=OpenFlow13",
  );
  await ovs.addPort("br0", "p1", 1, "p1");
  await ovs.addPort("br0", "p2", 2, "p2");
  for (const [name, text] of Object.entries(FILES)) writeFileSync(ovs.path(name), text);
}, 60_000);
afterAll(() => ovs?.stop());

function normal(text: string): string {
  return (
    text
      .replaceAll(/^(ovs-ofctl|plinth ofctl): /gm, "")
      .replaceAll(/duration[=:]?[\d.]+s/g, "duration")
      .replaceAll(/(idle|hard)_age=\d+, /g, "")
      .replaceAll(/^\d{4}-\d\d-\d\dT[\d:.]+Z\|\d{5}\|/gm, "")
      // Messages of a bundle are numbered as they are made there, here as they are sent.
      .replaceAll(/^(Error .*) \(xid=0x[0-9a-f]+\)/gm, "$1")
      // What a switch of 1.1 says of misses has no number.
      .replaceAll(/^ofp_table\|WARN\|bad table miss config 3\n/gm, "")
  );
}

const placed = (line: string): string[] =>
  line.split(" ").map((word) => {
    const bridge = { SW: "br0", ONLY13: "br13" }[word];
    return bridge === undefined ? word : `unix:${ovs.path(`${bridge}.mgmt`)}`;
  });

async function real(line: string): Promise<string> {
  const { code, stdout, stderr } = await run("ovs-ofctl", placed(line), {
    deadlineMs: DEADLINE_MS,
    cwd: ovs.dir,
  });
  return normal(`${code}\n${stdout}${stderr}`);
}

async function ours(line: string): Promise<string> {
  let [out, err] = ["", ""];
  const code = await runTool({ name: "ofctl", run: runOfctl }, placed(line), {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    read: async (path) => readFileSync(join(ovs.dir, path)),
    endpointOf: () => undefined,
    socket: (name) => name,
    interrupted: new Promise(() => {}),
  });
  return normal(`${code}\n${out}${err}`);
}

it("changes the switch in every way that there is", async () => {
  for (const line of CHANGES) expect([line, await ours(line)]).toEqual([line, "0\n"]);
}, 60_000);

it.each(VERSIONS)(
  "shows what there is in %s",
  async (version) => {
    for (const line of [...SHOWN, ...(NIGHTLY ? SHOWN_NIGHTLY : [])]) {
      const whole = `-O ${version} ${line}`;
      expect([whole, await ours(whole)]).toEqual([whole, await real(whole)]);
    }
  },
  120_000,
);

/** Why a socket failed hangs on which came first, the switch's refusal of our version or the end of the connection. */
const sameReason = (said: string): string =>
  said.replace(/(?<=failed to connect to socket )\((?:Broken pipe|Protocol error)\)/, "(either)");

it("says and refuses the rest in the same words", async () => {
  for (const line of OTHERS)
    expect([line, sameReason(await ours(line))]).toEqual([line, sameReason(await real(line))]);
}, 120_000);
