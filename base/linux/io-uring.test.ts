import { mkdtempSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  addressOf,
  closeFile,
  createEventfd,
  EPOLLIN,
  Epoll,
  errnoName,
  IOSQE_FIXED_FILE,
  IoUring,
  IoVectors,
  O_CREAT,
  O_RDWR,
  openFile,
  probeFacilities,
  probeFacility,
  probeIoUring,
} from "./index.js";

const here = probeIoUring() === undefined;
let dir = "";
beforeEach(() => {
  dir = mkdtempSync("/tmp/pl-");
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Where the kernel or PLINTH_IO_URING=0 refuses rings, opening one must be refused too; then `work` is not for here. */
function withRing(work: () => void): () => void {
  return () => {
    if (here) work();
    else expect(() => new IoUring(8)).toThrow();
  };
}

test(
  "writes, syncs and reads come back by tag with their counts",
  withRing(() => {
    const fd = openFile(`${dir}/f`, O_RDWR | O_CREAT);
    const ring = new IoUring(8);
    const out = new Uint8Array(4096).fill(3);
    expect(ring.prepareWrite(fd, addressOf(out), 4096, 2 ** 32, 0xffff_fff0)).toBe(true);
    ring.submit(1);
    expect(ring.reap()).toBe(1);
    expect([ring.userData[0], ring.results[0]]).toEqual([0xffff_fff0, 4096]);
    ring.prepareFsync(fd, 1);
    ring.submit(1);
    expect(ring.reap()).toBe(1);
    expect(ring.results[0]).toBe(0);
    const back = new Uint8Array(4096);
    const half = new Uint8Array(2048);
    const vectors = new IoVectors(2);
    vectors.set(0, addressOf(half), 2048);
    vectors.set(1, addressOf(half), 2048);
    ring.prepareRead(fd, addressOf(back), 4096, 2 ** 32, 2);
    ring.prepareReadv(fd, vectors.address, 2, 2 ** 32, 3);
    expect(ring.inFlight).toBe(2);
    ring.submit(2);
    expect(ring.reap()).toBe(2);
    expect(ring.inFlight).toBe(0);
    expect(new Set(ring.userData.slice(0, 2))).toEqual(new Set([2, 3]));
    expect([...ring.results.slice(0, 2)]).toEqual([4096, 4096]);
    expect(back.every((byte) => byte === 3) && half.every((byte) => byte === 3)).toBe(true);
    ring.prepareWritev(fd, vectors.address, 2, 0, 4);
    ring.submit(1);
    ring.reap();
    expect(ring.results[0]).toBe(4096);
    ring.close();
    closeFile(fd);
  }),
);

test(
  "prepare() says when the ring is full, and the ring wraps many times",
  withRing(() => {
    const ring = new IoUring(4);
    let tag = 0;
    let seen = 0;
    for (let round = 0; round < 100; round++) {
      while (ring.prepare(0, -1, 0, 0, 0, tag)) tag++;
      expect(ring.room).toBe(0);
      ring.submit(4);
      const count = ring.reap();
      for (let i = 0; i < count; i++) expect(ring.userData[i]).toBe(seen++);
    }
    expect(seen).toBe(400);
    ring.close();
  }),
);

test(
  "errors are negated errnos; registered files and the doorbell work",
  withRing(() => {
    const ring = new IoUring(4);
    const back = new Uint8Array(16);
    ring.prepareRead(9999, addressOf(back), 16, 0, 1);
    ring.submit(1);
    ring.reap();
    expect(errnoName(ring.results[0]!)).toBe("EBADF");
    const fd = openFile("/proc/self/exe", 0);
    const bell = createEventfd();
    ring.registerFiles([fd]);
    ring.registerEventfd(bell);
    const epoll = new Epoll();
    epoll.add(bell, EPOLLIN);
    ring.prepareRead(0, addressOf(back), 4, 0, 2, IOSQE_FIXED_FILE);
    ring.submit();
    expect(epoll.wait(5000)).toBe(1);
    ring.submit();
    expect(ring.reap()).toBe(1);
    expect([...back.slice(0, 4)]).toEqual([0x7f, 0x45, 0x4c, 0x46]);
    ring.close();
    epoll.close();
    closeFile(bell);
    closeFile(fd);
  }),
);

test("PLINTH_IO_URING=0 makes the probe say unavailable", () => {
  const before = process.env["PLINTH_IO_URING"];
  process.env["PLINTH_IO_URING"] = "0";
  try {
    expect(probeFacility("io_uring")).toEqual({
      name: "io_uring",
      available: false,
      reason: "switched off by PLINTH_IO_URING=0",
    });
    expect(() => new IoUring(4)).toThrowError(expect.objectContaining({ code: "IO_URING_DISABLED" }));
  } finally {
    if (before === undefined) delete process.env["PLINTH_IO_URING"];
    else process.env["PLINTH_IO_URING"] = before;
  }
});

test("every facility is either available or says why not", () => {
  const facilities = probeFacilities();
  expect(facilities.map((facility) => facility.name)).toEqual([
    "io_uring",
    "memfd",
    "kvm",
    "tap",
    "raw-socket",
    "af-xdp",
    "cgroup",
  ]);
  for (const facility of facilities) expect(facility.available).toBe(facility.reason === "");
  expect(probeFacility("memfd").available).toBe(true);
  expect(probeFacility("nonsense").available).toBe(false);
});
