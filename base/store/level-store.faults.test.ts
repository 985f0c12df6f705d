// Real files of a level store, damaged, missing or not to be had: an error that names them, and never another state.
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { describeError } from "../errors/index.js";
import { findDamage } from "./level-files.js";
import { openLevelStore } from "./level-store.js";

let base: string;
let directory: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), "pl-faults-"));
  directory = join(base, "state");
});
afterEach(() => rm(base, { recursive: true, force: true }));

const open = () => openLevelStore(directory, { keepHistory: true });
/** `starts` times 200 entries: each start after the first makes a table of the log before it. */
async function fill(starts: number): Promise<void> {
  for (let start = 0; start < starts; start++) {
    const store = await open();
    await Promise.all(
      Array.from({ length: 200 }, (_, i) => store.put(`k${start}-${i}`, Buffer.alloc(300, `${start} ${i} `))),
    );
    // Blocks of the log after the first.
    for (let i = 0; i < 20; i++) await store.put(`l${start}-${i}`, Buffer.alloc(3_000, `${i}`));
    await store.close();
  }
}
async function fileLike(pattern: RegExp): Promise<string> {
  const name = (await readdir(directory)).sort().find((each) => pattern.test(each));
  expect(name).toBeDefined();
  return join(directory, name as string);
}
async function flip(file: string, offset: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[offset] = (bytes[offset] as number) ^ 0x10;
  await writeFile(file, bytes);
}
const refusal = (): Promise<string> =>
  open().then(
    async (store) => {
      await store.close();
      return "opened";
    },
    (thrown) => `${thrown.code}: ${describeError(thrown)}`,
  );

describe("a damaged level store is told, with the file:", () => {
  const DAMAGE: readonly [string, RegExp, (file: string) => Promise<void>, RegExp][] = [
    [
      "a flipped byte in a table",
      /\.ldb$/,
      (file) => flip(file, 2_000),
      /the record of \S+ is damaged|Corruption/,
    ],
    ["a table cut short", /\.ldb$/, (file) => truncate(file, 500), /\d+\.ldb/],
    ["a missing table", /\.ldb$/, (file) => unlink(file), /missing files; e\.g\.: \S+\/\d+\.ldb/],
    ["a flipped byte in the log", /\.log$/, (file) => flip(file, 40_000), /\d+\.log is damaged at byte \d+ /],
    ["a missing log", /\.log$/, (file) => unlink(file), /NUMBER\.log is missing/],
    [
      "a flipped byte in MANIFEST",
      /^MANIFEST/,
      (file) => flip(file, 20),
      /MANIFEST-\d+ is damaged at byte 0/,
    ],
    ["MANIFEST cut short", /^MANIFEST/, (file) => truncate(file, 10), /the MANIFEST file .* is cut short/],
    ["an empty MANIFEST", /^MANIFEST/, (file) => truncate(file, 0), /MANIFEST-\d+ is empty/],
    [
      "a missing MANIFEST",
      /^MANIFEST/,
      (file) => unlink(file),
      /MANIFEST-\d+ is missing, and CURRENT names it/,
    ],
    ["a missing CURRENT", /^CURRENT/, (file) => unlink(file), /CURRENT is missing beside \d+\.ldb/],
    ["an empty CURRENT", /^CURRENT/, (file) => truncate(file, 0), /CURRENT does not name a MANIFEST file/],
  ];
  test.each(DAMAGE)("%s", async (_what, pattern, damage, told) => {
    await fill(2);
    await damage(await fileLike(pattern));
    for (let i = 0; i < 2; i++) {
      const said = await refusal();
      expect(said).toMatch(/^STORE_CORRUPT: cannot open the store/);
      expect(said).toMatch(told);
      expect(said).toContain(`(restore ${directory} from a backup)`);
    }
  });
});

test("a log that ends in the middle of its last write opens as it was before that", async () => {
  await fill(1);
  const log = await fileLike(/\.log$/);
  await truncate(log, (await readFile(log)).byteLength - 100);
  const store = await open();
  expect([store.revision, await store.get("l0-19")]).toEqual([219, undefined]);
  await store.put("more", Buffer.from("1"));
  await store.close();
  expect(findDamage(await readFile(await fileLike(/\.log$/)))).toBeUndefined();
});

test("what is bad and changes nothing is told, once: the next opening has made the file anew", async () => {
  await fill(3);
  const manifest = await fileLike(/^MANIFEST/);
  const bytes = await readFile(manifest);
  // A length that reaches behind the end is the end to LevelDB.
  await writeFile(manifest, Buffer.concat([bytes, Buffer.from([1, 2, 3, 4, 200, 0, 1, 7])]));
  const remarks: string[] = [];
  for (let i = 0; i < 2; i++) {
    const store = await openLevelStore(directory, { onRemark: (remark) => remarks.push(remark) });
    expect(store.revision).toBe(660);
    await store.close();
  }
  expect(remarks).toEqual([
    `${manifest} is bad or cut short from byte ${bytes.byteLength} on; nothing that it counts is missing, and the next start writes it anew`,
  ]);
});

test("a history that cannot be read is begun anew: nothing of the state hangs on it", async () => {
  await fill(2);
  const history = join(directory, "history");
  for (const name of await readdir(history)) if (/CURRENT|ldb/.test(name)) await flip(join(history, name), 3);
  const store = await open();
  expect(store.revision).toBe(440);
  await expect(store.watch({ prefix: "", fromRevision: 100 }, () => {})).rejects.toMatchObject({
    code: "REVISION_COMPACTED",
  });
  await store.close();
});

test("a store that another process has, and a path that is none, are named with what to do", async () => {
  const store = await open();
  await store.put("a", Buffer.from("1"));
  expect(await refusal()).toBe(
    `STORE_LOCKED: another process uses ${directory}: it holds ${directory}/LOCK (stop it, or use another directory)`,
  );
  await store.close();
  await writeFile(join(base, "file"), "");
  directory = join(base, "file");
  expect(await refusal()).toMatch(
    /^STORE_INACCESSIBLE: cannot open the store in \S+\/file: .*\(make it a directory/,
  );
});

/** Fills the disk, is told so, goes on when there is space, and then finds the directory read-only. */
const SCRIPT = `
  import { rmSync, writeFileSync, readFileSync } from "node:fs";
  import { execFileSync } from "node:child_process";
  import { openLevelStore } from ${JSON.stringify(resolve("dist/base/store/index.js"))};
  import { describeError } from ${JSON.stringify(resolve("dist/base/errors/index.js"))};
  const dir = process.argv[1];
  const said = [];
  const attempt = async (work) => { try { return await work(); } catch (thrown) { return thrown.code + ": " + describeError(thrown); } };
  const store = await openLevelStore(dir + "/state", { keepHistory: true });
  await store.put("kept", Buffer.from("1"));
  try { for (;;) writeFileSync(dir + "/filler", Buffer.alloc(4096), { flag: "a" }); } catch {}
  const two = { operations: ["x", "y"].map((key) => ({ type: "put", key, value: Buffer.alloc(20_000, key) })) };
  said.push(await attempt(() => store.transact(two)), store.failure !== undefined, store.revision);
  said.push((await store.list({ prefix: "" })).entries.map(({ key }) => key));
  rmSync(dir + "/filler");
  for (let i = 0; i < 100 && store.failure !== undefined; i++) {
    await attempt(() => store.transact(two));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const keys = async (store) => (await store.list({ prefix: "" })).entries.map(({ key }) => key);
  said.push(await keys(store));
  await store.close();
  const again = await openLevelStore(dir + "/state");
  said.push(await keys(again));
  await again.close();
  try { for (;;) writeFileSync(dir + "/filler", Buffer.alloc(4096), { flag: "a" }); } catch {}
  said.push(await attempt(() => openLevelStore(dir + "/state")));
  rmSync(dir + "/filler");
  execFileSync("mount", ["-o", "remount,ro", dir]);
  said.push(await attempt(() => openLevelStore(dir + "/state")), await attempt(() => openLevelStore(dir + "/other")));
  execFileSync("mount", ["-o", "remount,rw", dir]);
  const last = await openLevelStore(dir + "/state");
  said.push(await keys(last));
  await last.close();
  console.log(JSON.stringify(said));
`;

test("a full disk and a read-only one are told; nothing is half-applied, and all goes on afterwards", async ({
  skip,
}) => {
  await mkdir(directory);
  const flags = process.getuid?.() === 0 ? ["--mount"] : ["--user", "--map-root-user", "--mount"];
  const shell = `mount -t tmpfs -o size=512k tmpfs ${directory} || exit 77; exec "$0" --input-type=module -e "$1" ${directory}`;
  const ran = spawnSync("unshare", [...flags, "sh", "-c", shell, process.execPath, SCRIPT], {
    encoding: "utf8",
  });
  if (ran.status === 77 || /unshare failed/.test(ran.stderr))
    return skip("this system allows no mount namespace");
  expect(ran.stderr).toBe("");
  const [refused, failed, revision, during, after, again, full, readOnly, unmade, last] = JSON.parse(
    ran.stdout,
  );
  expect(refused).toMatch(/^STORE_WRITE_FAILED: the store cannot write: .*No space left on device/);
  expect([failed, revision, during]).toEqual([true, 1, ["kept"]]);
  const all = ["kept", "x", "y"];
  expect([after, again, last]).toEqual([all, all, all]);
  expect(full).toMatch(
    /^STORE_INACCESSIBLE: .*\/state.*No space left on device.*\(free space, then start again\)$/,
  );
  expect(readOnly).toMatch(
    /^STORE_INACCESSIBLE: .*\/state\/\S+: Read-only file system \(make it a directory/,
  );
  expect(unmade).toMatch(/^STORE_INACCESSIBLE: .*mkdir .*\/other.*\(make it a directory/);
});
