// The corners of the NBD protocol as libnbd sees them, step by step through its Python binding.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { requirePrograms, runOk } from "../support/run.js";
import { StorageProcess } from "../support/storage-process.js";

const MIB = 1024 * 1024;

let storage: StorageProcess;
beforeAll(async () => {
  requirePrograms("nbdsh");
  storage = new StorageProcess();
  await storage.start();
  await storage.call("volume.create", { name: "v", sizeBytes: 8 * MIB });
  await storage.call("volume.create", { name: "shop/db", sizeBytes: 4 * MIB });
});
afterAll(() => storage.destroy());

/**
 * Runs `script` with the binding of the distribution and returns what it puts into `out`. `h` is not connected; `connect`
 * does that, `refusal(f)` is the errno that `f` fails with ("" when it does not).
 */
async function libnbd(script: string, name = "v"): Promise<unknown> {
  const frame = `
import json, errno, nbd
URI = ${JSON.stringify(storage.uri(name))}
MIB = 1024 * 1024
out = {}
def refusal(f):
    try:
        f()
        return ""
    except nbd.Error as e:
        return errno.errorcode.get(e.errnum, str(e.errnum))
def connect():
    h = nbd.NBD()
    h.set_strict_mode(0)
    h.connect_uri(URI)
    return h
def negotiate():
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_uri(URI)
    return h
${script}
print(json.dumps(out))`;
  return JSON.parse(await runOk("/usr/bin/python3", ["-c", frame]));
}

test("a read with DF comes in one chunk, one without tells the holes", async () => {
  const seen = await libnbd(`
h = connect()
h.zero(256 * 1024, 0)
h.pwrite(b"a" * 16384, 32768)
def chunks(length, flags):
    found = []
    def chunk(buffer, offset, kind, error):
        found.append([kind, offset, len(buffer) if kind == nbd.READ_DATA else 0])
        return 0
    data = h.pread_structured(length, 0, chunk, flags)
    return found, data == bytes(32768) + b"a" * 16384 + bytes(length - 49152)
out["df"] = h.can_df()
out["whole"] = chunks(65536, nbd.CMD_FLAG_DF)
out["large"] = chunks(131072, nbd.CMD_FLAG_DF)
out["parts"] = chunks(131072, 0)
out["kinds"] = [nbd.READ_DATA, nbd.READ_HOLE]
h.shutdown()
`);
  const { kinds, ...rest } = seen as { kinds: [number, number] };
  const [data, hole] = kinds;
  expect(rest).toEqual({
    df: true,
    whole: [[[data, 0, 65536]], true],
    large: [[[data, 0, 131072]], true],
    parts: [
      [
        [hole, 0, 0],
        [data, 32768, 16384],
        [hole, 49152, 0],
      ],
      true,
    ],
  });
});

test("requests of no length are answered, and the connection goes on", async () => {
  const seen = await libnbd(`
h = connect()
h.pwrite(b"z" * 4096, 4096)
out["read"] = len(h.pread(0, 4096))
out["write"] = refusal(lambda: h.pwrite(b"", 4096))
out["zero"] = refusal(lambda: h.zero(0, 4096))
out["trim"] = refusal(lambda: h.trim(0, 4096))
out["cache"] = refusal(lambda: h.cache(0, 4096))
out["kept"] = h.pread(4096, 4096) == b"z" * 4096
h.shutdown()
`);
  expect(seen).toEqual({ read: 0, write: "", zero: "", trim: "", cache: "", kept: true });
});

test("fast zeroes: at once where they are, ENOTSUP where room is to be kept, and nothing changed then", async () => {
  const seen = await libnbd(`
h = connect()
h.pwrite(b"f" * 65536, 0)
out["can"] = h.can_fast_zero()
out["kept"] = refusal(lambda: h.zero(65536, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE))
out["before"] = h.pread(65536, 0) == b"f" * 65536
out["fast"] = refusal(lambda: h.zero(65536, 0, nbd.CMD_FLAG_FAST_ZERO))
out["after"] = h.pread(65536, 0) == bytes(65536)
h.shutdown()
`);
  const unsupported = expect.stringMatching(/^(EOPNOTSUPP|ENOTSUP)$/);
  expect(seen).toEqual({ can: true, kept: unsupported, before: true, fast: "", after: true });
});

test("LIST, INFO, a refused name, GO; INFO and GO agree", async () => {
  const seen = await libnbd(`
h = negotiate()
names = []
h.opt_list(lambda name, description: names.append(name) or 0)
out["names"] = sorted(names)
h.set_export_name("shop/db")
h.opt_info()
out["info"] = [h.get_size(), h.is_read_only(), h.get_block_size(nbd.SIZE_MAXIMUM)]
h.set_export_name("nobody")
out["nobody"] = refusal(h.opt_info)
out["gone"] = refusal(h.opt_go)
h.set_export_name("shop/db")
h.opt_go()
out["go"] = [h.get_size(), h.is_read_only(), h.get_block_size(nbd.SIZE_MAXIMUM)]
out["bytes"] = h.pread(512, 0) == bytes(512)
h.shutdown()
`);
  const facts = [4 * MIB, false, 32 * MIB];
  expect(seen).toEqual({
    names: ["shop/db", "v"],
    info: facts,
    nobody: "ENOENT",
    gone: "ENOENT",
    go: facts,
    bytes: true,
  });
});

test("a name of 4096 bytes is not found, and the negotiation goes on", async () => {
  const seen = await libnbd(`
h = negotiate()
for name in ["n" * 4096, "é" * 2048]:
    h.set_export_name(name)
    out[name[0]] = [refusal(h.opt_info), refusal(h.opt_go)]
h.set_export_name("v")
h.opt_go()
out["size"] = h.get_size()
h.shutdown()
`);
  const refused = ["ENOENT", "ENOENT"];
  expect(seen).toEqual({ n: refused, é: refused, size: 8 * MIB });
});

test("ABORT ends one connection in order, and no other", async () => {
  const seen = await libnbd(`
other = connect()
h = negotiate()
h.opt_abort()
out["closed"] = h.aio_is_closed()
out["dead"] = h.aio_is_dead()
out["other"] = len(other.pread(512, 0))
other.shutdown()
`);
  expect(seen).toEqual({ closed: true, dead: false, other: 512 });
});

test("a volume that grows under a connection takes what is written beyond its old end, and keeps what was there", async () => {
  const [connected, grown] = [join(storage.dir, "connected"), join(storage.dir, "grown")];
  const answers = libnbd(
    `
import os, time
h = connect()
h.pwrite(b"o" * 4096, 4 * MIB - 4096)
beyond = lambda: h.pwrite(b"g" * 4096, 12 * MIB - 4096)
out["before"] = [refusal(beyond), refusal(lambda: h.pread(4096, 4 * MIB))]
open("${connected}", "w").close()
while not os.path.exists("${grown}"):
    time.sleep(0.01)
out["after"] = refusal(beyond)
fresh = connect()
out["size"] = fresh.get_size()
out["seen"] = [fresh.pread(4096, 12 * MIB - 4096) == b"g" * 4096, fresh.pread(4096, 4 * MIB - 4096) == b"o" * 4096]
fresh.shutdown()
h.shutdown()
`,
    "shop/db",
  );
  await Promise.race([answers, waitFor(() => existsSync(connected), "libnbd does not connect", 30_000)]);
  await storage.call("volume.grow", { name: "shop/db", sizeBytes: 12 * MIB });
  writeFileSync(grown, "");
  expect(await answers).toEqual({
    before: ["ENOSPC", "EINVAL"],
    after: "",
    size: 12 * MIB,
    seen: [true, true],
  });
});
