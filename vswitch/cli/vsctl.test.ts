import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLog } from "../../base/log/index.js";
import { type ColumnType, formatDatum, mapOf, OvsdbError, setOf } from "../../base/ovsdb/index.js";
import { MemoryBackend } from "../vswitchd/memory-backend.js";
import { startVswitchdWith, type Vswitchd } from "../vswitchd/vswitchd.js";
import { askUnixctl } from "./unixctl-client.js";
import { parseDatumText } from "./value-text.js";
import { runVsctl } from "./vsctl.js";

const UNLIMITED = Number.POSITIVE_INFINITY;
const STRINGS: ColumnType = { key: { type: "string" }, min: 0, max: UNLIMITED };
const INTEGERS: ColumnType = { key: { type: "integer" }, min: 0, max: UNLIMITED };
const MAP: ColumnType = { key: { type: "string" }, value: { type: "string" }, min: 0, max: UNLIMITED };
const TEXT: ColumnType = { key: { type: "string" }, min: 1, max: 1 };

describe("values as text", () => {
  it("are read back as they were shown", () => {
    const text = fc.string({ maxLength: 6 });
    fc.assert(
      fc.property(
        fc.uniqueArray(text),
        fc.uniqueArray(fc.tuple(text, text), { selector: ([key]) => key }),
        fc.uniqueArray(fc.integer()),
        (texts, pairs, integers) => {
          expect(parseDatumText(formatDatum(setOf(texts), STRINGS), STRINGS)).toEqual(setOf(texts));
          expect(parseDatumText(formatDatum(mapOf(pairs), MAP), MAP)).toEqual(mapOf(pairs));
          expect(parseDatumText(formatDatum(setOf(integers), INTEGERS), INTEGERS)).toEqual(setOf(integers));
        },
      ),
    );
  });

  it("raise only OVSDB errors whatever is typed", () => {
    const typed = fc.oneof(
      fc.string(),
      fc.array(fc.constantFrom(...'[]{}=," \\a1'), { maxLength: 12 }).map((list) => list.join("")),
    );
    fc.assert(
      fc.property(typed, fc.constantFrom(STRINGS, INTEGERS, MAP, TEXT), (text, type) => {
        try {
          parseDatumText(text, type);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(OvsdbError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("vsctl and appctl", () => {
  let dir: string;
  let daemon: Vswitchd;
  let backend: MemoryBackend;
  beforeEach(async () => {
    dir = mkdtempSync("/tmp/vct-");
    backend = new MemoryBackend();
    daemon = await startVswitchdWith(async () => backend, { dir, log: silentLog });
  });
  afterEach(async () => {
    await daemon.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function vsctl(line: string, warnings: string[] = []): Promise<string[]> {
    let out = "";
    const code = await runVsctl(["--timeout=10", ...line.split(" ")], {
      database: `unix:${join(dir, "db.sock")}`,
      out: (text) => {
        out += text;
      },
      err: (text) => warnings.push(text),
    });
    const printed = out.split("\n").slice(0, -1);
    return code === 0 ? printed : [...printed, `exit ${code}`];
  }

  it("tell everything as data with -o json, each command in a line", async () => {
    await vsctl("add-br br0 -- add-port br0 p1 tag=5 -- set-controller br0 ptcp:0:127.0.0.1");
    const told = async (line: string): Promise<unknown[]> =>
      (await vsctl(`-o json ${line}`)).map((one) => JSON.parse(one));
    expect(await told("add-br br1 -- list-br -- list-ports br1 -- br-to-vlan br0 -- port-to-br p1")).toEqual([
      ["br0", "br1"],
      [],
      0,
      "br0",
    ]);
    expect(
      await told("set-fail-mode br0 secure -- get-fail-mode br0 -- get-fail-mode br1 -- get-ssl"),
    ).toEqual(["secure", null, null]);
    expect(
      await told("br-set-external-id br0 a b -- br-get-external-id br0 -- br-get-external-id br0 a"),
    ).toEqual([{ a: "b" }, "b"]);
    expect(await told("get Port p1 tag name trunks -- --if-exists get Port p1 other_config:x")).toEqual([
      [5, "p1", ["set", []]],
      [null],
    ]);
    expect((await told("show"))[0]).toMatchObject({
      _uuid: expect.stringMatching(/^[0-9a-f-]{36}$/),
      bridges: [
        {
          name: "br0",
          fail_mode: "secure",
          controller: [{ target: "ptcp:0:127.0.0.1" }],
          ports: [
            { name: "br0", interfaces: [{ name: "br0", type: "internal" }] },
            { name: "p1", tag: 5, interfaces: [{ name: "p1" }] },
          ],
        },
        { name: "br1", ports: [{ name: "br1" }] },
      ],
    });
  });

  it("configure, show and remove bridges and ports", async () => {
    await vsctl(
      "add-br br0 -- add-port br0 p1 tag=7 -- set Interface p1 type=stream options:path=/a=b,c -- set-fail-mode br0 secure",
    );
    expect(backend.bridges.get("br0")!.ports.get("p1")).toMatchObject({
      vlan: { tag: 7 },
      options: { path: "/a=b,c" },
    });
    expect(await vsctl("--may-exist add-br br0 -- --may-exist add-port br0 p1")).toEqual([]);
    expect(await vsctl("list-br")).toEqual(["br0"]);
    expect(await vsctl("list-ports br0")).toEqual(["p1"]);
    expect(await vsctl("port-to-br p1")).toEqual(["br0"]);
    expect(await vsctl("br-to-vlan br0")).toEqual(["0"]);
    expect(await vsctl("get Port p1 tag trunks")).toEqual(["7", "[]"]);
    expect(JSON.parse((await vsctl("-o json --columns=name,tag list Port p1")).join(""))).toEqual({
      data: [["p1", 7]],
      headings: ["name", "tag"],
    });
    expect(await vsctl("get interface p1 options options:path")).toEqual(['{path="/a=b,c"}', '"/a=b,c"']);
    expect((await vsctl("show")).slice(1)).toEqual([
      "    Bridge br0",
      "        fail_mode: secure",
      "        Port br0",
      "            Interface br0",
      "                type: internal",
      "        Port p1",
      "            tag: 7",
      "            Interface p1",
      "                type: stream",
      '                options: {path="/a=b,c"}',
      '    ovs_version: "0.1.0"',
    ]);
    await vsctl("add Port p1 trunks 3 4 -- remove Port p1 trunks 3 -- clear Port p1 tag");
    expect(await vsctl("get Port p1 trunks tag")).toEqual(["[4]", "[]"]);
    expect((await vsctl("list Port p1")).find((line) => line.startsWith("name "))).toMatch(/: p1$/);
    await vsctl("set-controller br0 unix:/x tcp:1.2.3.4:6653");
    expect((await vsctl("get-controller br0")).sort()).toEqual(["tcp:1.2.3.4:6653", "unix:/x"]);
    await vsctl("del-port br0 p1");
    await vsctl("del-br br0");
    expect(await vsctl("br-exists br0")).toEqual(["exit 2"]);
    expect(backend.bridges.size).toBe(0);
  });

  it("keep what others change at the same time", async () => {
    await vsctl("add-br br0");
    const names = Array.from({ length: 12 }, (_, i) => `p${i}`);
    // They all begin when they are told of the same change, with the same rows before them.
    const go = "wait-until Open_vSwitch . external_ids:go=yes";
    const lines = names.map((name) =>
      vsctl(`${go} -- add-port br0 ${name} -- set Bridge br0 external_ids:${name}=x`),
    );
    await vsctl("list-br");
    await vsctl("set Open_vSwitch . external_ids:go=yes");
    await Promise.all(lines);
    expect((await vsctl("list-ports br0")).sort()).toEqual([...names].sort());
    expect(await vsctl(names.map((name) => `get Bridge br0 external_ids:${name}`).join(" -- "))).toEqual(
      names.map(() => "x"),
    );
    await Promise.all(names.map((name) => vsctl(`del-port ${name}`)));
    expect(await vsctl("list-ports br0")).toEqual([]);
  });

  it("say what is wrong and change nothing", async () => {
    const warnings: string[] = [];
    await vsctl("add-br br0 -- add-port br0 p1 -- set Interface p1 type=warp", warnings);
    expect(warnings).toEqual([expect.stringContaining('"warp"')]);
    await expect(vsctl("add-port br9 p2")).rejects.toThrow("no bridge named br9");
    await expect(vsctl("add-br br1 -- set Bridge br2 fail_mode=secure")).rejects.toThrow(
      'no row "br2" in table Bridge',
    );
    await expect(vsctl("set Port p1 tag=5000")).rejects.toThrow("constraint violation: 5000");
    await expect(vsctl("set Port p1 nothing=1")).rejects.toThrow(
      'Port does not contain a column whose name matches "nothing"',
    );
    await expect(vsctl("fly")).rejects.toThrow("unknown command 'fly'; use --help for help");
    await expect(vsctl("--may-exist list-br")).rejects.toThrow(
      "'list-br' command has no '--may-exist' option",
    );
    expect(await vsctl("list-br")).toEqual(["br0"]);
    expect(await vsctl("--if-exists del-port p9")).toEqual([]);
  });

  it("say at once that no database answers, and with --retry wait for one", async () => {
    const database = `unix:${join(dir, "later", "db.sock")}`;
    const printed: string[] = [];
    const io = { database, err: () => undefined, out: (text: string) => void printed.push(text) };
    await expect(runVsctl(["list-br"], io)).rejects.toThrow(
      `${database}: database connection failed (No such file or directory)`,
    );
    await expect(runVsctl(["--retry", "--timeout=1", "list-br"], io)).rejects.toMatchObject({
      code: "COMMAND_TIMEOUT",
    });
    const waiting = runVsctl(["--retry", "--no-wait", "add-br", "br7", "--", "list-br"], io);
    const later = await startVswitchdWith(async () => new MemoryBackend(), {
      dir: join(dir, "later"),
      log: silentLog,
    });
    try {
      expect(await waiting).toBe(0);
      expect(printed).toEqual(["br7\n"]);
    } finally {
      await later.close();
    }
  });

  it("ask the daemon", async () => {
    const target = join(dir, "vswitchd.ctl");
    expect(await askUnixctl("version", [], { socket: target })).toContain("Plinth");
    await expect(askUnixctl("fdb/show", ["nope"], { socket: target })).rejects.toThrow("no such bridge");
  });
});
