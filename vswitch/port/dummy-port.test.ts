import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PlinthError } from "../../base/errors/index.js";
import { Batch, PacketPool, parsePcap, RX_ERRORS } from "../../base/packet/index.js";
import { describePort, frameOf } from "../../base/packet/port.suite.js";
import { waitFor } from "../../base/time/index.js";
import { DummyPort } from "./index.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync("/tmp/dum-");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Frames of `port`, taken as often as asked. */
function taken(pool: PacketPool, port: DummyPort): Uint8Array[] {
  const batch = new Batch();
  port.tick(performance.now());
  port.rx(batch);
  const frames = Array.from(batch.packets.subarray(0, batch.length), (packet) => pool.frame(packet));
  batch.freeAll(pool);
  return frames;
}

describePort(
  "DummyPort with a stream",
  async () => {
    const pool = new PacketPool({ slots: 2048 });
    const path = join(mkdtempSync("/tmp/dum-"), "s");
    const peer = new DummyPort({ name: "b", pool, options: { pstream: `punix:${path}` } });
    peer.tick(0);
    const port = new DummyPort({ name: "a", pool, options: { stream: `unix:${path}` } });
    await waitFor(
      () => {
        for (const one of [port, peer]) one.tick(performance.now());
        return port.connectionState === "connected";
      },
      "the stream",
      5_000,
    );
    const batch = new Batch();
    return {
      pool,
      port,
      send(frame: Uint8Array) {
        batch.push(pool.allocateFrom(frame));
        peer.tx(batch);
      },
      receive: () => taken(pool, peer),
      close() {
        peer.close();
        rmSync(join(path, ".."), { recursive: true, force: true });
      },
    };
  },
  9216,
);

describe("DummyPort", () => {
  it("takes frames that are given to it, in order, and records both directions in files that it appends to", () => {
    const pool = new PacketPool({ slots: 16 });
    const [all, rx] = [join(directory, "all"), join(directory, "rx")];
    const read = (path: string) => parsePcap(Uint8Array.from(readFileSync(path)))?.map(({ frame }) => frame);
    const frames = [frameOf(60, 1), frameOf(61, 2)];
    for (let round = 0; round < 2; round++) {
      const port = new DummyPort({ name: "p", pool, options: { pcap: all, rxq_pcap: rx } });
      expect(port.beginSleep()).toBe(true);
      for (const frame of frames) port.receive(frame);
      expect(port.beginSleep()).toBe(false);
      expect(taken(pool, port)).toEqual(frames);
      const batch = new Batch();
      batch.push(pool.allocateFrom(frameOf(62, 3)));
      port.tx(batch);
      port.receive(new Uint8Array(13));
      expect(port.stats[RX_ERRORS]).toBe(1);
      port.close();
    }
    const expected = [...frames, frameOf(62, 3)];
    expect(read(all)).toEqual([...expected, ...expected]);
    expect(read(rx)).toEqual([...frames, ...frames]);
    expect(pool.available).toBe(16);
  });

  it("refuses options that it cannot carry out, by name", () => {
    const pool = new PacketPool({ slots: 16 });
    const make = (options: Record<string, string>) => () => new DummyPort({ name: "p", pool, options });
    writeFileSync(join(directory, "file"), "");
    expect(make({ pcap: join(directory, "file", "below") })).toThrow(/cannot record to/);
    expect(make({ stream: "tcp:127.0.0.1:1" })).toThrow("options:stream");
    expect(make({ pstream: "punix:" })).toThrow("options:pstream");
    expect(make({ stream: "unix:/a", pstream: "punix:/b" })).toThrow(PlinthError);
  });
});
