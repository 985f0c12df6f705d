import {
  chmodSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { readRingFile, replaceRingFile } from "./key-ring-file.js";
import { PoolKeys } from "./pool-keys.js";

let dir: string;
let count = 0;
let ring: string;
let keyFile: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "plinth-keys-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
beforeEach(() => {
  ring = join(dir, `${++count}.ring`);
  keyFile = join(dir, `${count}.key`);
});

async function load(): Promise<PoolKeys> {
  const keys = new PoolKeys(ring, "pool");
  await keys.load();
  return keys;
}

async function withFile(): Promise<PoolKeys> {
  const keys = await load();
  await keys.rekey({ kind: "file", path: keyFile });
  return keys;
}

test("keys come back after a start with the key file, which is made with mode 0600", async () => {
  const keys = await withFile();
  expect(statSync(keyFile).mode & 0o777).toBe(0o600);
  const { id, key } = keys.create();
  expect(key).toHaveLength(64);
  expect(readFileSync(ring).includes(Buffer.from(key))).toBe(false);
  const again = await load();
  expect(again.locked).toBe("");
  expect(again.volumeKeys()).toEqual({ [id]: Buffer.from(key) });
});

test("a missing, wrong, exposed or senseless key file is named, and the keys stay", async () => {
  const { id } = (await withFile()).create();
  const cases: [string, () => void][] = [
    ["KEY_MISSING", () => renameSync(keyFile, `${keyFile}.away`)],
    ["KEY_WRONG", () => writeFileSync(keyFile, Buffer.alloc(32, 3), { mode: 0o600 })],
    ["KEY_INVALID", () => writeFileSync(keyFile, "short")],
    ["KEY_EXPOSED", () => chmodSync(keyFile, 0o640)],
  ];
  for (const [code, spoil] of cases) {
    spoil();
    const keys = await load();
    expect(keys.locked, code).toContain(keyFile);
    await expect(keys.unlock(undefined)).rejects.toMatchObject({ code, field: "keyFile" });
    expect(keys.volumeKeys()).toEqual({});
    expect(() => keys.create()).toThrow(/key of the pool is not known/);
    await expect(keys.rekey({ kind: "file", path: `${keyFile}.other` })).rejects.toMatchObject({
      code: "VOLUME_LOCKED",
    });
  }
  rmSync(keyFile);
  renameSync(`${keyFile}.away`, keyFile);
  expect(Object.keys((await load()).volumeKeys())).toEqual([id]);
});

test("a passphrase has to be given again after a start, and a wrong one is told", async () => {
  const keys = await load();
  await keys.rekey({ kind: "passphrase", path: "", passphrase: "correct horse" });
  const { id } = keys.create();
  const again = await load();
  expect(again.locked).toMatch(/passphrase was not given/);
  await expect(again.unlock("correct hose")).rejects.toMatchObject({ code: "KEY_WRONG" });
  expect(again.isOpen).toBe(false);
  await again.unlock("correct horse");
  expect(Object.keys(again.volumeKeys())).toEqual([id]);
  const file = join(dir, `${count}.pass`);
  writeFileSync(file, "from a file\n", { mode: 0o600 });
  await again.rekey({ kind: "passphrase", path: file });
  expect(Object.keys((await load()).volumeKeys())).toEqual([id]);
});

test("after rekey the old pool key opens nothing, and volume keys are the same", async () => {
  const keys = await withFile();
  const { id, key } = keys.create();
  const old = join(dir, `${count}.old-ring`);
  writeFileSync(old, readFileSync(ring));
  await keys.rekey({ kind: "file", path: `${keyFile}.2` });
  expect((await load()).volumeKeys()[id]).toEqual(Buffer.from(key));
  rmSync(`${keyFile}.2`);
  expect((await load()).volumeKeys()).toEqual({});
  // As long as somebody kept the ring of before the old key opens that one: it is what has to be destroyed.
  writeFileSync(ring, readFileSync(old));
  expect(Object.keys((await load()).volumeKeys())).toEqual([id]);
});

test("a destroyed key is not in the ring, nor in the file that it replaced, nor beside it", async () => {
  const keys = await withFile();
  const kept = keys.create();
  const gone = keys.create();
  // Another name of the file as it is now, as what a disk keeps of a file that was only unlinked.
  const shadow = join(dir, `${count}.shadow`);
  linkSync(ring, shadow);
  const before = readFileSync(ring);
  expect(before.includes(gone.id)).toBe(true);
  expect(keys.destroyExcept(new Set([kept.id, ""]))).toBe(1);
  expect(readFileSync(shadow).equals(Buffer.alloc(before.byteLength))).toBe(true);
  expect(readFileSync(ring).includes(gone.id)).toBe(false);
  expect(Object.keys((await load()).volumeKeys())).toEqual([kept.id]);
  expect(readdirSync(dir).filter((name) => name.startsWith(`${count}.ring.`))).toEqual([]);
  // Without the pool key, too.
  rmSync(keyFile);
  const locked = await load();
  expect(locked.destroyExcept(new Set())).toBe(1);
  expect(readFileSync(ring).includes(kept.id)).toBe(false);
});

test("a replacement that a crash ended anywhere leaves the whole old or the whole new ring", () => {
  const [one, two] = [Buffer.from("one"), Buffer.from("two!")];
  replaceRingFile(ring, one);
  // Before the rename: both names are one file.
  linkSync(ring, `${ring}.old`);
  writeFileSync(`${ring}.new`, two.subarray(0, 2));
  expect(readRingFile(ring)).toEqual(one);
  expect(existsSync(`${ring}.old`) || existsSync(`${ring}.new`)).toBe(false);
  // After it, with the old one not overwritten yet.
  linkSync(ring, `${ring}.old`);
  const shadow = join(dir, `${count}.shadow`);
  linkSync(ring, shadow);
  writeFileSync(`${ring}.new`, two);
  renameSync(`${ring}.new`, ring);
  expect(readRingFile(ring)).toEqual(two);
  expect(existsSync(`${ring}.old`)).toBe(false);
  expect(readFileSync(shadow)).toEqual(Buffer.alloc(one.byteLength));
});

test("a ring that is damaged, of another pool or of a newer program is refused", async () => {
  await withFile();
  const whole = readFileSync(ring);
  writeFileSync(ring, Buffer.concat([Buffer.from("XX"), whole.subarray(2)]));
  expect((await load()).locked).toMatch(/not the key ring/);
  writeFileSync(ring, whole);
  const other = new PoolKeys(ring, "another");
  await other.load();
  expect(other.locked).toMatch(/another pool/);
  // And kept: it may be all that is left of the keys.
  await expect(other.rekey({ kind: "file", path: keyFile })).rejects.toMatchObject({
    code: "KEY_RING_DAMAGED",
  });
  expect(readFileSync(ring)).toEqual(whole);
});

test("what an interrupted change of the ring left behind is overwritten, not only removed, and hinders no other change", async () => {
  const keys = await withFile();
  keys.create();
  const wrapped = readFileSync(ring);
  for (const settle of [() => readRingFile(ring), () => keys.create()]) {
    // As a crash or a full disk leaves it; the second name shows what becomes of the bytes.
    writeFileSync(`${ring}.new`, wrapped, { mode: 0o600 });
    linkSync(`${ring}.new`, `${ring}.watched`);
    settle();
    expect(existsSync(`${ring}.new`)).toBe(false);
    expect(readFileSync(`${ring}.watched`).every((byte) => byte === 0)).toBe(true);
    rmSync(`${ring}.watched`);
  }
  expect(Object.keys((await load()).volumeKeys())).toHaveLength(2);
});
