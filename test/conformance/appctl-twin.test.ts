// The same command line to ovs-appctl and to `plinth appctl`, at the same daemons, real and pretended: output, errors and
// exit codes agree, apart from times and the name of the program. And the same wrong question to ovs-vswitchd and to our
// switch: the refusals agree.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { runTool } from "../../stack/cli/tool-command.js";
import { runAppctl } from "../../vswitch/index.js";
import { RealOvs } from "../support/real-ovs.js";
import { PLINTH, run, runOk } from "../support/run.js";
import { SwitchProcess } from "../support/switch.js";

const DEADLINE_MS = 20_000;
let directory: string;
let real: RealOvs;
let ours: SwitchProcess;
const servers: Server[] = [];
const sockets = new Set<Socket>();

/** A daemon that treats each client as `serve` does. */
async function pretend(name: string, serve: (socket: Socket) => void): Promise<void> {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    serve(socket);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(join(directory, name), resolve));
}

/** Answers every request with these members. */
function answers(members: object): (socket: Socket) => void {
  return (socket) => {
    let said = "";
    socket.on("data", (chunk) => {
      said += chunk.toString();
      try {
        const { id } = JSON.parse(said) as { id: unknown };
        socket.write(JSON.stringify({ id, ...members }));
      } catch {
        // Not whole yet.
      }
    });
  };
}

beforeAll(async () => {
  directory = mkdtempSync("/tmp/app-");
  real = await RealOvs.start();
  ours = new SwitchProcess();
  await ours.start();
  for (const [name, text] of Object.entries({ stale: "999999\n", garbage: "abc\n", empty: "" }))
    writeFileSync(join(directory, `${name}.pid`), text);
  mkdirSync(join(directory, "folder.pid"));
  await pretend("text.ctl", answers({ result: "two\nlines\n", error: null }));
  await pretend("noend.ctl", answers({ result: "no end of line", error: null }));
  await pretend("nothing.ctl", answers({ result: "", error: null }));
  await pretend("refuses.ctl", answers({ result: null, error: "not today\n" }));
  await pretend("refuses-noend.ctl", answers({ result: null, error: "no end of line" }));
  await pretend("refuses-nothing.ctl", answers({ result: null, error: "" }));
  await pretend("refuses-number.ctl", answers({ result: null, error: 5 }));
  await pretend("refuses-object.ctl", answers({ result: null, error: { a: 1 } }));
  await pretend("hangs-up.ctl", (socket) => socket.end());
  await pretend("says-nothing.ctl", () => {});
  for (const bridge of [real, ours]) await bridge.vsctl("add-br", "br0");
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  await real?.stop();
  await ours?.destroy();
  rmSync(directory, { recursive: true, force: true });
});

interface Told {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function normal(stderr: string): string {
  return stderr
    .replaceAll(/^\d{4}-\d\d-\d\dT[\d:.]+Z/gm, "TIME")
    .replaceAll(/(ovs-|plinth )appctl: /g, "appctl: ");
}

/** `DIR` stands for the directory of the pretended daemons. */
const placed = (words: readonly string[]): string[] => words.map((word) => word.replaceAll("DIR", directory));

async function asReal(words: readonly string[]): Promise<Told> {
  const env = { ...process.env, OVS_RUNDIR: directory };
  // A shell tells the end by a signal as 128 and its number.
  const line = ["-c", 'ovs-appctl "$@"; exit $?', "-", ...placed(words)];
  const { code, stdout, stderr } = await run("bash", line, { deadlineMs: DEADLINE_MS, env });
  return { code, stdout, stderr: normal(stderr.replaceAll(/^-: line.*\n/gm, "")) };
}

async function asOurs(words: readonly string[]): Promise<Told> {
  let [stdout, stderr] = ["", ""];
  const io = {
    out: (text: string) => {
      stdout += text;
    },
    err: (text: string) => {
      stderr += text;
    },
    read: () => Promise.reject(new Error("nothing is read")),
    endpointOf: () => undefined,
    // --dir is a directory in which nothing runs.
    socket: (name: string) => join("/nowhere", name),
    env: { OVS_RUNDIR: directory },
    interrupted: new Promise<void>(() => {}),
  };
  const code = await runTool({ name: "appctl", run: (line) => runAppctl(line, io) }, placed(words), io);
  return { code, stdout, stderr: normal(stderr) };
}

describe("plinth appctl is ovs-appctl", () => {
  it.each(
    [
      "",
      "-t DIR/text.ctl list-commands",
      "--target=DIR/text.ctl x",
      "--targ DIR/text.ctl x",
      "-tDIR/text.ctl x",
      "-t DIR/text.ctl -- x",
      "-t DIR/text.ctl x -t y --z",
      "-T 5 -t DIR/text.ctl x",
      "--timeout=5 -t DIR/text.ctl x",
      "-vconsole:off -t DIR/text.ctl x",
      "-e -t DIR/text.ctl x",
      "--execute -t DIR/text.ctl x",
      "-t DIR/noend.ctl x",
      "-t DIR/nothing.ctl x",
      "-t DIR/refuses.ctl x",
      "-t DIR/refuses-noend.ctl x",
      "-t DIR/refuses-nothing.ctl x",
      "-t DIR/refuses-number.ctl x",
      "-t DIR/refuses-object.ctl x",
      "-t DIR/hangs-up.ctl x",
      "-T 1 -t DIR/says-nothing.ctl x",
      "-t DIR/none.ctl x",
      "-t DIR/stale.pid x",
      "-t DIR/folder.pid x",
      "-t none x",
      "-t stale x",
      "-t garbage x",
      "-t empty x",
      "-t folder x",
      "-t",
      "--target",
      "-T",
      "--timeout",
      "-T x y",
      "-T 0 x",
      "-T -1 x",
      "-T 1.5 x",
      "-T 4294967296 x",
      "--bogus x",
      "-x",
      "--ver",
      "--help=x",
      "-t a -t b x",
    ].map((line) => [line]),
  )("%s", async (line) => {
    const words = line === "" ? [] : line.split(" ");
    const expected = await asReal(words);
    expect(await asOurs(words)).toEqual(expected);
  });

  it("tells its options to shells in the same form", async () => {
    const lines = ({ stdout }: Told, without: RegExp): string[] =>
      stdout
        .split("\n")
        .filter((line) => !without.test(line))
        .sort();
    const theirs = lines(await asReal(["--option"]), /^-o /);
    expect(theirs).toContain("--target=ARG");
    expect(lines(await asOurs(["--option"]), /^(--(output|format|pretty)|-[of] )/)).toEqual(theirs);
  });

  it("finds our switch by its name, as ovs-appctl does", async () => {
    for (const target of ["ovs-vswitchd", "ovsdb-server"]) {
      const env = { ...process.env, OVS_RUNDIR: ours.dir };
      const theirs = await run("ovs-appctl", ["-t", target, "version"], { env });
      const named = await run(process.execPath, [PLINTH, "appctl", "-t", target, "version"], { env });
      expect([theirs.code, theirs.stdout]).toEqual([0, "vswitchd (Plinth) 0.1.0\n"]);
      expect([named.code, named.stdout]).toEqual([0, theirs.stdout]);
      const inDir = await run(process.execPath, [
        PLINTH,
        "appctl",
        "--dir",
        ours.dir,
        "-t",
        target,
        "version",
      ]);
      expect([inDir.code, inDir.stdout]).toEqual([0, theirs.stdout]);
    }
  });

  it("finds a real Open vSwitch by its name", async () => {
    const env = { ...process.env, OVS_RUNDIR: real.dir };
    const pid = readFileSync(real.path("ovsdb-server.pid"), "utf8").trim();
    symlinkSync("db.ctl", real.path(`ovsdb-server.${pid}.ctl`));
    const shown = await run(process.execPath, [PLINTH, "appctl", "-t", "ovsdb-server", "version"], { env });
    expect([shown.code, shown.stdout]).toEqual([0, "ovsdb-server (Open vSwitch) 3.1.0\n"]);
  });
});

describe("our switch refuses in the words of ovs-vswitchd", () => {
  it.each(
    [
      "nosuch",
      "nosuch with words",
      "fdb/show",
      "fdb/show nope",
      "fdb/show br0 extra",
      "fdb/stats-show nope",
      "fdb/flush nope",
      "fdb/add nope p 0 02:00:00:00:00:01",
      "fdb/del br0 0 02:00:00:00:00:01",
      "fdb/del br0 0 nonsense",
      "mdb/show br0",
      "mdb/show nope",
      "bond/show nope",
      "lacp/show nope",
      "version x",
      "list-commands x",
      "exit a b",
      "coverage/read-counter",
      "coverage/read-counter nope",
      "dpif/show x",
      "dpif/dump-flows nope",
      "bridge/dump-flows nope",
      "ofproto/trace",
      "ofproto/trace nope in_port=1",
      "ofproto/trace br0 nope=1",
      "ofproto/trace br0 nope=1 zz",
      "ofproto/trace nope in_port=1 zz",
      "ofproto/trace nope in_port=1 aa",
      "ofproto/trace in_port=1 aa",
      "ofproto/trace br0 in_port=1 zz -generate",
      "ofproto/trace br0 in_port=1 zz --ct-next zz",
      "ofproto/trace -generate",
      "ofproto/trace --ct-next",
      "ofproto/trace br0 in_port=1 -ct-next",
      "ofproto/trace br0 in_port=1 --l7",
      "ofproto/trace br0 in_port=1 --l7 zz",
      "ofproto/trace br0 in_port=1 --l7-len 64001",
      "ofproto/trace a b c d",
      "ofproto/trace-packet-out br0",
      "ofproto/trace-packet-out nope in_port=1 zz drop",
      "vlog/reopen",
      "qos/show nope",
      "bridge/reconnect nope",
      "rstp/show nope",
      "stp/show nope",
      "cfm/show nope",
      "bfd/show nope",
      "vlog/set nope",
      "vlog/set dpif:nope",
      "vlog/set dpif:dbg nope",
      "vlog/set dpif,bridge:dbg",
      "vlog/set dbg:info",
      "vlog/set console:file",
      "vlog/enable-rate-limit nope",
      "vlog/disable-rate-limit dpif nope",
      "dpif/show-dp-features nope",
      "dpctl/show nope",
      "dpctl/dump-flows nope",
      "dpctl/dump-dps x",
      "dpctl/dump-conntrack nope",
      "dpctl/ct-set-maxconns nope 5",
      "dpctl/flush-conntrack zone=x",
      "dpctl/dump-conntrack zone=x",
      "dpctl/ct-stats-show zone=x",
      "dpctl/show -x",
      "dpctl/show -mn",
      "dpctl/dump-flows -x",
      "dpctl/dump-flows foo=1",
      "dpctl/dump-flows type=ovs type=tc",
      "dpctl/dump-flows type=,",
      "dpctl/dump-flows filter=nope=1",
      "dpctl/dump-flows filter=nw_src=10.0.0.1",
      "dpctl/ct-stats-show nope verbose",
      "dpif-netdev/bond-show nope",
      "bond/set-active-slave bond member",
      "bond/disable-slave bond",
      "dpctl/dump-flows type=x",
      "dpctl/dump-flows type=ovs,x",
      "stp/show br0",
      "rstp/show br0",
      "dpctl/ipf-set-min-frag v5 1",
      "lacp/show-stats nope",
      "qos/show-types nope",
      "rstp/tcn nope",
      "stp/tcn nope",
      "cfm/set-fault nope",
      "cfm/set-fault x y",
      "bfd/set-forwarding x y",
      "dpctl/show x y z",
      "dpif/dump-flows x y z u v",
      "cfm/set-fault br0 true",
      "bfd/set-forwarding br0 normal",
      "bond/migrate bond 1 member",
      "bond/disable-member bond",
      "mdb/flush nope",
    ].map((line) => [line]),
  )("%s", async (line) => {
    const ask = async (socket: string): Promise<Told> => {
      const { code, stdout, stderr } = await run("ovs-appctl", ["-t", socket, ...line.split(" ")]);
      return { code, stdout, stderr: stderr.replaceAll(socket, "SOCKET") };
    };
    const expected = await ask(real.path("vs.ctl"));
    expect(expected.code).not.toBe(0);
    expect(await ask(ours.path("vswitchd.ctl"))).toEqual(expected);
  });

  it("and answers for its database as ovsdb-server", async () => {
    const [status, compact] = ["ovsdb-server/get-db-storage-status", "ovsdb-server/compact"];
    for (const line of [
      ...[status, `${status} nope`, `${status} _Server`, `${status} Open_vSwitch`, `${status} a b`],
      ...[`${compact} nope`, `${compact} _Server`],
    ]) {
      const [theirs, told] = await Promise.all(
        [real.path("db.ctl"), ours.path("vswitchd.ctl")].map(async (socket) => {
          const { code, stdout, stderr } = await run("ovs-appctl", ["-t", socket, ...line.split(" ")]);
          return { line, code, stdout, stderr: stderr.replaceAll(socket, "SOCKET") };
        }),
      );
      expect(told).toEqual(theirs);
    }
  });

  it("and answers what it has nothing of as ovs-vswitchd without any", async () => {
    const lines = ["rstp/tcn", "stp/tcn", "cfm/set-fault normal", "bfd/set-forwarding true", "mdb/flush"];
    const silent = [
      "autoattach/status",
      "autoattach/show-isid br0",
      "autoattach/statistics",
      "lacp/show-stats",
    ];
    for (const line of [...lines, ...silent]) {
      const [theirs, told] = await Promise.all(
        [real.path("vs.ctl"), ours.path("vswitchd.ctl")].map((socket) =>
          run("ovs-appctl", ["-t", socket, ...line.split(" ")]),
        ),
      );
      expect([line, told?.code, told?.stdout]).toEqual([line, theirs?.code, theirs?.stdout]);
    }
  });

  it("and knows the modules of its log, and the features that scripts look for, by their names", async () => {
    const ask = async (bridge: { path(name: string): string }, socket: string, ...words: string[]) => {
      const { code, stdout } = await run("ovs-appctl", ["-t", bridge.path(socket), ...words]);
      expect([words, code]).toEqual([words, 0]);
      return stdout;
    };
    const both = (...words: string[]): Promise<string[]> =>
      Promise.all([ask(real, "vs.ctl", ...words), ask(ours, "vswitchd.ctl", ...words)]);
    for (const words of [
      ["vlog/set", "warn"],
      ["vlog/set", "DPIF:dbg", "ofproto_dpif_xlate:file:err"],
      ["vlog/set", "file any info", "unixctl:any:off"],
      ["vlog/disable-rate-limit"],
      ["vlog/disable-rate-limit", "dpif", "bridge"],
      ["vlog/enable-rate-limit", "ANY"],
    ])
      expect(await both(...words)).toEqual(["", ""]);
    const levels = (listed: string): unknown[] =>
      listed
        .split("\n")
        .slice(2)
        .map((line) => line.trim().split(/\s+/))
        .map(([name, , , file]) => [name, file]);
    const [theirLevels, ourLevels] = await both("vlog/list");
    expect(levels(ourLevels as string)).toEqual(levels(theirLevels as string));
    await both("vlog/set", "info");
    const [theirs, told] = await both("dpif/show-dp-features", "br0");
    const names = (text: string): string[] => text.split("\n").map((line) => line.split(":")[0] as string);
    expect(names(told as string)).toEqual(names(theirs as string));
    expect(told).toContain("CT state NAT: Yes\n");
  });

  it("and ends when asked, with or without --cleanup", async () => {
    for (const words of [["exit"], ["exit", "--cleanup"]]) {
      const one = new SwitchProcess();
      try {
        await one.start();
        const { code, stdout, stderr } = await run("ovs-appctl", ["-t", one.path("vswitchd.ctl"), ...words]);
        expect([code, stdout, stderr]).toEqual([0, "", ""]);
        const isGone = () => one.pid !== undefined && !existsSync(`/proc/${one.pid}`);
        await waitFor(isGone, "the switch to end", DEADLINE_MS);
        expect(await one.end()).toBe(0);
        expect(readdirSync(one.dir).sort()).toEqual(["conf.db", "state", "vswitchd.lock"]);
      } finally {
        await one.destroy();
      }
    }
  });
});

describe("plinth appctl -o json", () => {
  const json = async (...words: readonly string[]): Promise<unknown> => {
    const asked = [PLINTH, "appctl", "--dir", ours.dir, "-o", "json", ...words];
    const { code, stdout, stderr } = await run(process.execPath, asked);
    expect([code, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout);
  };

  it("gives data where there is some", async () => {
    expect(await json("ofproto/list")).toEqual(["br0"]);
    expect(await json("fdb/show", "br0")).toEqual([]);
    expect(await json("fdb/stats-show", "br0")).toMatchObject({ current: 0, maximum: 8192 });
    expect(await json("dpif/show")).toMatchObject({
      "netdev@plinth": { bridges: { br0: { ports: [{ name: "br0", ofport: 65534, type: "internal" }] } } },
    });
    expect(await json("drop/show")).toEqual({ br0: [] });
    expect(await json("memory/show")).toMatchObject({ ports: 1 });
    expect(await json("coverage/show")).toMatchObject({ path_hit: 0 });
    expect(await json("list-commands")).toMatchObject({ "fdb/show": "bridge" });
    expect(await json("dpctl/dump-conntrack")).toEqual([]);
    expect(await json("dpctl/ct-get-nconns")).toBe(0);
    expect(await json("bridge/dump-flows", "br0")).toMatchObject([{ tableId: 0, actions: "NORMAL" }]);
    expect(await json("dpif/dump-flows", "br0")).toEqual([]);
    expect(await json("ovsdb-server/list-dbs")).toEqual(["Open_vSwitch", "_Server"]);
    expect(await json("ofproto/trace", "br0", "in_port=LOCAL")).toMatchObject([{ recirculation: 0 }]);
  });

  it("and text as it is where there is none, of our switch and of one that knows no JSON", async () => {
    const told = (reply: string) => ({ reply, "reply-format": "plain" });
    expect(await json("version")).toEqual(told("vswitchd (Plinth) 0.1.0\n"));
    expect(await json("-t", real.path("vs.ctl"), "version")).toEqual(
      told("ovs-vswitchd (Open vSwitch) 3.1.0\n"),
    );
  });
});

describe("plinth trace", () => {
  const trace = (...words: readonly string[]) =>
    run(process.execPath, [PLINTH, "trace", "--dir", ours.dir, ...words]);

  it("tells the story of a flow and of a frame, table by table, to where it ends", async () => {
    const switchAt = `unix:${ours.path("br0.mgmt")}`;
    for (const flow of [
      "priority=7,cookie=5,icmp,actions=drop",
      "priority=8,arp,actions=resubmit(,1)",
      "table=1,cookie=6,actions=CONTROLLER",
    ])
      await runOk("ovs-ofctl", ["add-flow", switchAt, flow]);
    const dropped = await trace("br0", "icmp,nw_src=10.0.0.1");
    expect([dropped.code, dropped.stderr]).toEqual([0, ""]);
    const [coming, packet, ...told] = dropped.stdout.split("\n");
    expect([coming, ...told]).toEqual([
      "A packet comes in by port LOCAL:",
      '  table 0: flow "priority=7,icmp" (cookie 0x5) says drop',
      'It is dropped by table 0, flow "priority=7,icmp", cookie 0x5.',
      "",
    ]);
    expect(packet).toMatch(/^ {2}icmp,in_port=LOCAL,.*nw_src=10\.0\.0\.1,/);
    const icmp =
      "ffffffffffff02000000000108004500001c0000000040010000" + "0a0000010a000002" + "0800f7ff00000000";
    const asFrame = await trace("br0", icmp);
    expect(asFrame.stdout).toContain("dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,nw_src=10.0.0.1");
    expect(asFrame.stdout).toContain('table 0: flow "priority=7,icmp" (cookie 0x5)');
    const answered = await trace("br0", "arp");
    expect(answered.stdout).toMatch(
      /table 0: flow "priority=8,arp" \(cookie 0x0\)\n {4}resubmit\(,1\)\n {2}table 1: flow "any" \(cookie 0x6\)\n[\s\S]*It leaves by the controller\.\n$/,
    );
  });

  it("refuses a port that there is not, and what is neither flow nor frame", async () => {
    for (const [words, why] of [
      [["nope", "icmp"], 'no bridge has a port "nope"'],
      [["br0", "nope=1"], "nope"],
      [["br0", "0123"], "unknown field 0123"],
    ] as const) {
      const { code, stdout, stderr } = await trace(...words);
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toContain(why);
    }
    const nowhere = await run(process.execPath, [PLINTH, "trace", "--dir", directory, "p1"]);
    expect([nowhere.code, nowhere.stdout]).toEqual([1, ""]);
    expect(nowhere.stderr).toContain("is plinth vswitchd running?");
  });
});
