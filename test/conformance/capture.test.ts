// `plinth capture` from a running switch, read back with tshark and capinfos: who, which way, why, how much, and what
// becomes of it when its end is sudden.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { PlinthSwitch } from "../support/plinth-switch.js";
import { endChild, PLINTH, type RunResult, requirePrograms, run, runOk } from "../support/run.js";
import { ethernetFrame } from "../support/switch.js";

const DEADLINE_MS = 30_000;
let one: PlinthSwitch;
const children: ChildProcess[] = [];

beforeAll(async () => {
  requirePrograms("tshark", "capinfos");
  one = await PlinthSwitch.open();
  await one.vsctl("add-br", "br0");
  for (const n of [1, 2, 3]) await one.addPort("br0", `p${n}`, n, `if${n}`);
  await one.ofctl("add-flow", "br0", "cookie=0x11,priority=10,in_port=1,actions=goto_table:5");
  await one.ofctl(
    "add-flow",
    "br0",
    "table=5,cookie=0x55,priority=7,dl_src=02:00:00:00:00:0a,actions=output:2",
  );
});
afterAll(async () => {
  for (const child of children) await endChild(child);
  await one?.destroy();
});

const frame = (from: number, text: string, vlan?: number): Uint8Array =>
  ethernetFrame({ to: 0x0b, from, text, ...(vlan === undefined ? {} : { vlan }) });

/** Runs a capture; frames are sent again and again until it has ended. */
async function capture(args: readonly string[], frames: readonly Uint8Array[]): Promise<RunResult> {
  const ended = run(process.execPath, [PLINTH, "capture", "--dir", one.dir, ...args], {
    deadlineMs: DEADLINE_MS,
  });
  let isOver = false;
  void ended.finally(() => {
    isOver = true;
  });
  await waitFor(
    () => {
      for (const each of frames) one.inject(1, each);
      return isOver;
    },
    "the capture to end",
    DEADLINE_MS,
  );
  return ended;
}

/** Fields of each frame of the file, as tshark tells them. */
async function fields(file: string, ...names: readonly string[]): Promise<string[][]> {
  const args = ["-r", file, "-T", "fields", ...names.flatMap((name) => ["-e", name])];
  const out = await runOk("tshark", args, { deadlineMs: DEADLINE_MS });
  return out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split("\t"));
}

describe("plinth capture", () => {
  it("writes what comes in and what leaves, each marked, by interfaces with the ports' names", async () => {
    const file = one.path("both.pcapng");
    const { code, stderr } = await capture(["br0", "-w", file, "-c", "6"], [frame(0x0a, "both")]);
    expect([code, stderr]).toEqual([0, "6 frames captured, none lost\n"]);
    const seen = await fields(file, "frame.interface_name", "frame.packet_flags_direction", "eth.src");
    expect(seen.length).toBe(6);
    expect(seen.filter(([name]) => name === "p1").length).toBeGreaterThan(0);
    for (const [name, direction, source] of seen) {
      expect([name, direction]).toEqual(name === "p1" ? ["p1", "0x00000001"] : ["p2", "0x00000002"]);
      expect(source).toBe("02:00:00:00:00:0a");
    }
    const about = await runOk("capinfos", [file]);
    expect(about).toMatch(/File type: +Wireshark\/\.\.\. - pcapng/);
    expect(about).toMatch(/Number of packets: +6/);
    expect(about).toMatch(/Name = p1[\s\S]*Description = bridge br0, port 1/);
  });

  it("takes one direction of one port, what matches, and the beginning of each frame", async () => {
    const file = one.path("match.pcapng");
    await capture(
      ["p1", "-Q", "in", "-f", "dl_vlan=7", "-s", "20", "-c", "3", "-w", file],
      [frame(0x0a, "plain"), frame(0x0a, "tagged", 7)],
    );
    expect(await fields(file, "vlan.id", "frame.len", "frame.cap_len")).toEqual(
      Array.from({ length: 3 }, () => ["7", "64", "20"]),
    );
  });

  it("takes packets as they meet a flow, and tells which", async () => {
    const file = one.path("flow.pcapng");
    await capture(
      ["--flow", "table=5,cookie=0x55/-1", "-c", "2", "-w", file],
      [frame(0x0a, "hit"), frame(0x0c, "no hit")],
    );
    expect(await fields(file, "frame.interface_name", "frame.comment", "eth.src")).toEqual(
      Array.from({ length: 2 }, () => ["p1", "table 5, cookie 0x55, priority 7", "02:00:00:00:00:0a"]),
    );
  });

  it("takes packets as they are dropped, and tells where and why", async () => {
    const file = one.path("drop.pcapng");
    await capture(
      ["br0", "--drops", "table-miss", "-c", "2", "-w", file],
      [frame(0x0a, "goes"), frame(0x0c, "dropped")],
    );
    const why = "dropped in table 5: table-miss; last flow: cookie 0x11, priority 10";
    expect(await fields(file, "frame.interface_name", "frame.comment", "eth.src")).toEqual(
      Array.from({ length: 2 }, () => ["p1", why, "02:00:00:00:00:0c"]),
    );
  });

  it("is piped into tshark, and ends when tshark has seen enough", async () => {
    const command = `"${process.execPath}" "${PLINTH}" capture p1 --dir "${one.dir}" | tshark -l -c 3 -r - -T fields -e eth.src`;
    const ended = run("bash", ["-c", command], { deadlineMs: DEADLINE_MS });
    let isOver = false;
    void ended.finally(() => {
      isOver = true;
    });
    await waitFor(
      () => {
        one.inject(1, frame(0x0a, "piped"));
        return isOver;
      },
      "the pipe to end",
      DEADLINE_MS,
    );
    expect((await ended).stdout).toBe("02:00:00:00:00:0a\n".repeat(3));
  });

  it("goes round a ring of files, each of which can be read by itself", async () => {
    const args = [
      "p1",
      "-Q",
      "in",
      "-w",
      one.path("ring.pcapng"),
      "--rotate",
      "1000",
      "--files",
      "2",
      "-c",
      "40",
    ];
    const { code, stderr } = await capture(args, [frame(0x0a, "round")]);
    expect([code, stderr]).toEqual([0, "40 frames captured, none lost\n"]);
    const files = readdirSync(one.dir).filter((name) => name.startsWith("ring"));
    expect(files.length).toBe(2);
    for (const name of files) {
      expect(name).toMatch(/^ring_000\d\d\.pcapng$/);
      expect(readFileSync(one.path(name)).byteLength).toBeLessThanOrEqual(1000);
      const seen = await fields(one.path(name), "frame.interface_name");
      expect(seen.length).toBeGreaterThan(0);
      expect(seen.every(([port]) => port === "p1")).toBe(true);
    }
  });

  it("ends after its time, and at a signal, and tells how many", async () => {
    const file = one.path("time.pcapng");
    const timed = await capture(["p1", "-a", "0.5", "-w", file], [frame(0x0a, "timed")]);
    expect(timed.code).toBe(0);
    expect(timed.stderr).toMatch(/^[1-9]\d* frames captured, none lost\n$/);
    const child = spawn(process.execPath, [PLINTH, "capture", "p1", "--dir", one.dir, "-w", one.path("sig")]);
    children.push(child);
    let told = "";
    child.stderr.on("data", (text: Buffer) => {
      told += text.toString();
    });
    await waitFor(() => existsSync(one.path("sig")), "the capture to begin", DEADLINE_MS);
    await endChild(child, "SIGINT");
    expect(child.exitCode).toBe(0);
    expect(told).toBe("0 frames captured, none lost\n");
  });

  it("keeps to its rate, and says what it left out", async () => {
    const { stderr } = await capture(
      ["p1", "-Q", "in", "--rate", "1", "-a", "1.5", "-w", one.path("rate.pcapng")],
      Array.from({ length: 20 }, () => frame(0x0a, "fast")),
    );
    expect(stderr).toMatch(/^\d frames captured, \d+ of \d+ lost: /);
  });

  it("leaves nothing in the switch when it is killed", async () => {
    const port = one.path("killed.pcapng");
    // More in a row than there may be at a time: each must have gone when the next begins.
    for (let n = 0; n < 12; n++) {
      const file = `${port}.${n}`;
      const child = spawn(process.execPath, [PLINTH, "capture", "p1", "--dir", one.dir, "-w", file]);
      children.push(child);
      await waitFor(() => existsSync(file), "the capture to begin", DEADLINE_MS);
      await endChild(child, "SIGKILL");
    }
    const after = await capture(["p1", "-c", "1", "-w", port], [frame(0x0a, "after")]);
    expect(after.code).toBe(0);
  });

  it.each([
    [["nowhere"], 'where: "nowhere" is no bridge and no port of one'],
    [
      ["--match", "in_port=1"],
      "match: in_port is nothing that a frame at a port has: name the port, or a flow",
    ],
    [["--drops", "bad-luck"], 'drops: "bad-luck" is no reason; known are table-miss,'],
    [["--rotate", "1MiB"], "--rotate needs --write FILE"],
    [["--files", "2"], "--files needs --rotate"],
  ])("refuses %j", async (args, why) => {
    const { code, stdout, stderr } = await run(process.execPath, [
      PLINTH,
      "capture",
      "--dir",
      one.dir,
      ...args,
    ]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain(why);
  });

  it("says that there is no switch", async () => {
    const { code, stderr } = await run(process.execPath, [PLINTH, "capture", "--dir", "/nowhere", "-w", "-"]);
    expect(code).toBe(1);
    expect(stderr).toContain("cannot reach the switch at /nowhere/switch/capture.sock");
  });
});
