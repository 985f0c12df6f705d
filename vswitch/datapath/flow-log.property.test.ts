import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, it } from "vitest";
import { bootId } from "../../base/linux/index.js";
import { OFPTT_ALL } from "../../base/openflow/index.js";
import { plainFrame } from "../testing/frames.js";
import { apply, field, flowMod, match, output, Rig } from "../testing/rig.js";
import { FlowLog, readFlowLog } from "./flow-log.js";

/** What the file, or the log at a path, holds. */
function messagesOf(of: Uint8Array | string, boot = bootId()): object[] {
  const messages: object[] = [];
  if (typeof of === "string") new FlowLog(of).read((message) => messages.push(message));
  else readFlowLog(of, boot, (message) => messages.push(message));
  return messages;
}

let dir = "";
beforeEach(() => {
  dir = mkdtempSync("/tmp/plf-");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const numbered = (n: number) =>
  flowMod({
    cookie: BigInt(n),
    match: match(field("in_port", n)),
    instructions: [apply(output((n % 9) + 1))],
  });

it("gives back what was appended before it was left alone, whatever stands behind, or where it was cut", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 30 }),
      fc.integer({ min: 0, max: 30 }),
      fc.nat(4000),
      fc.uint8Array({ maxLength: 40 }),
      (first, more, cut, damage) => {
        const path = join(dir, "log");
        const log = new FlowLog(path);
        const all = Array.from({ length: first + more }, (_, n) => numbered(n + 1));
        log.rewrite(all.slice(0, first));
        for (const message of all.slice(first)) log.append(message);
        // As after SIGKILL: nothing is closed.
        const cookies = (messages: readonly object[]) =>
          messages.map((one) => (one as { cookie: bigint }).cookie);
        expect(cookies(messagesOf(path))).toEqual(cookies(all));
        const bytes = readFileSync(path);
        log.close();
        const next = new FlowLog(path);
        next.read(() => {});
        next.resume();
        next.append(numbered(99));
        expect(cookies(messagesOf(path))).toEqual([...cookies(all), 99n]);
        next.close();
        const short = messagesOf(bytes.subarray(0, cut));
        expect(cookies(short)).toEqual(cookies(all.slice(0, short.length)));
        bytes.set(damage, Math.min(cut, bytes.byteLength - damage.byteLength));
        expect(messagesOf(bytes).length).toBeLessThanOrEqual(all.length);
        expect(messagesOf(bytes, "x".repeat(36))).toEqual([]);
      },
    ),
    { numRuns: 30 },
  );
});

it("takes any bytes for a file", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void messagesOf(bytes)));
});

it("becomes small again when most of it is no longer in force, and no larger for it in between", () => {
  const log = new FlowLog(join(dir, "log"));
  log.rewrite([]);
  for (let n = 0; n < 400_000; n++) log.append(numbered(1));
  expect(log.isGrown).toBe(true);
  log.rewrite([numbered(1)]);
  expect([log.isGrown, messagesOf(join(dir, "log")).length]).toEqual([false, 1]);
  log.remove();
  expect(() => readFileSync(join(dir, "log"))).toThrow();
}, 60_000);

it("gives back the number that was noted beside the flows, also when it was written anew, not that of another boot", () => {
  const path = join(dir, "log");
  const log = new FlowLog(path);
  log.rewrite([numbered(1)]);
  log.setNote(3);
  log.setNote(0xfffffff4);
  const noteOf = (): number => {
    const next = new FlowLog(path);
    next.read(() => {});
    return next.note;
  };
  expect(noteOf()).toBe(0xfffffff4);
  log.rewrite([numbered(2)]);
  log.append(numbered(3));
  expect(noteOf()).toBe(0xfffffff4);
  log.close();
  expect(readFlowLog(readFileSync(path), "x".repeat(36), () => {})).toEqual({ count: 0, end: 0, note: 0 });
});

it("tables are after a restart what they were before: added, changed, expired, undone and named by groups", () => {
  const path = join(dir, "flows");
  const frame = plainFrame("52:54:00:00:00:01", "52:54:00:00:00:02");
  const before = new Rig(3);
  expect(before.bridge.keepFlows(path, 1)).toEqual({ flows: 0, note: 0 });
  const bucket = { weight: 0, watchPort: 0xffffffff, watchGroup: 0xffffffff, actions: [output(3)] };
  const group = {
    type: "group_mod",
    xid: 5,
    command: "add",
    groupType: "all",
    groupId: 7,
    buckets: [bucket],
  } as const;
  before.bridge.change(group, 1);
  before.flow({
    match: match(field("in_port", 1)),
    instructions: [apply({ type: "group", groupId: 7 })],
    cookie: 4n,
  });
  before.flow({ match: match(field("in_port", 2)), instructions: [apply(output(1))], flags: 1 });
  before.flow({ match: match(field("in_port", 2)), instructions: [apply(output(3))], command: "modify" });
  before.flow({ priority: 5, hardTimeoutSeconds: 1 });
  before.flow({ priority: 6, hardTimeoutSeconds: 100 });
  before.flow({ priority: 7 });
  before.flow({ priority: 7, command: "delete_strict" });
  before.bridge.begin();
  before.flow({ priority: 8 });
  before.bridge.rollBack();
  before.nowMs += 5000;
  before.bridge.sweep(before.nowMs);
  const shape = (rig: Rig) =>
    rig.bridge.tables
      .flowsOf(OFPTT_ALL)
      .map(({ priority, cookie, flags, match, instructions, hardTimeoutSeconds }) => ({
        ...{ priority, cookie, flags, match, instructions, hardTimeoutSeconds },
      }))
      .sort((a, b) => Number(b.cookie - a.cookie) || b.priority - a.priority);
  for (let life = 0; life < 2; life++) {
    const after = new Rig(3);
    expect(after.bridge.keepFlows(path, 1)).toEqual({ flows: 3, note: 0 });
    expect(shape(after)).toEqual(shape(before));
    expect(after.where(1, frame)).toEqual([3]);
    expect(after.where(2, frame)).toEqual([3]);
    expect(after.events).toEqual([]);
    expect(readFileSync(path).byteLength).toBeGreaterThan(0);
  }
});

it("a file that another boot wrote is not heeded, nor one that is none", () => {
  writeFileSync(join(dir, "flows"), "precious?");
  expect(new Rig(1).bridge.keepFlows(join(dir, "flows"), 1)).toEqual({ flows: 0, note: 0 });
});

it("a place where no file can be is told of, and the tables do without", () => {
  const rig = new Rig(1);
  expect(rig.bridge.keepFlows(join(dir, "none", "flows"), 1)?.problem).toContain("ENOENT");
  rig.flow({});
  expect(rig.bridge.tables.flowCount).toBe(1);
});

it("tables that follow a file have what was appended since when they take it over, and nothing in them ends before", () => {
  const path = join(dir, "flows");
  const running = new Rig(1);
  running.bridge.keepFlows(path, 1);
  running.flow({ match: match(field("in_port", 1)), idleTimeoutSeconds: 1 });
  running.flow({ match: match(field("in_port", 2)) });
  const next = new Rig(1);
  next.bridge.followFlows(path, 1);
  running.flow({ match: match(field("in_port", 2)), command: "delete" });
  running.flow({ match: match(field("in_port", 3)) });
  next.bridge.sweep(60_000);
  next.bridge.news.keeper?.rehearse(60_000);
  expect(next.bridge.keepFlows(path, 60_000)).toEqual({ flows: 2, note: 0 });
  next.bridge.sweep(60_500);
  expect(next.bridge.tables.flowCount).toBe(2);
  next.flow({ match: match(field("in_port", 4)) });
  next.bridge.sweep(61_500);
  const third = new Rig(1);
  third.bridge.keepFlows(path, 1);
  const ports = third.bridge.tables.flowsOf(OFPTT_ALL).map((flow) => flow.match[0]?.value[3]);
  expect(ports.sort()).toEqual([3, 4]);
});

it("tables that follow a file which becomes another are of no use, and say so", () => {
  const path = join(dir, "flows");
  const running = new Rig(1);
  running.bridge.keepFlows(path, 1);
  const next = new Rig(1);
  next.bridge.followFlows(path, 1);
  const again = new FlowLog(path);
  again.read(() => {});
  again.rewrite([numbered(5)]);
  expect(next.bridge.keepFlows(path, 2)).toBeUndefined();
  again.close();
});
