import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { probeFacility } from "../../base/linux/index.js";

const run = promisify(execFile);
const SCRIPT = fileURLToPath(new URL("../../dist/vswitch/testing/steady-state.js", import.meta.url));

describe("the data path in steady state", () => {
  it("leaves no garbage behind, and nothing in it is compiled anew", async () => {
    const dir = mkdtempSync("/tmp/pl-ss-");
    try {
      const trace = join(dir, "t");
      const flags = [
        "--expose-gc",
        ...["--trace-deopt", "--redirect-code-traces", `--redirect-code-traces-to=${trace}`],
      ];
      const options = { timeout: 240_000 };
      const { stdout } = await run(process.execPath, [...flags, SCRIPT, trace, "4"], options);
      // V8 prints some lines of its own before and after.
      const told = JSON.parse(stdout.split("\n").find((line) => line.startsWith("{")) ?? "") as {
        readonly packets: number;
        readonly finishedByWorker: number;
        readonly stoppedMs: number;
        readonly taken: readonly (readonly [string, number])[];
        readonly deoptimisations: readonly string[];
        readonly collections: number;
        readonly allocatedBytes: readonly number[];
        readonly idleBytes: readonly number[];
      };
      expect(told.packets).toBe(2_000_000);
      // The longest of the stops and more.
      expect(told.stoppedMs).toBeGreaterThan(10_000);
      // Everything came through, both ways where there are two; by the host's devices where it lets us.
      // Through two ports each, and out of the bridges behind them.
      const byStreams = 2 * 2;
      const byDevices = probeFacility("tap").available ? 2 * 2 : 0;
      const canXdp = byDevices > 0 && process.getuid?.() === 0 && probeFacility("af-xdp").available;
      const ways = 8 + 2 * 3 + 1 + 3 + byStreams + byDevices + (canXdp ? 2 * 2 : 0);
      expect(told.taken.filter(([, taken]) => taken > 0)).toHaveLength(ways);
      expect(told.finishedByWorker).toBeGreaterThan(100_000);
      expect(told.deoptimisations).toEqual([]);
      expect(told.collections).toBe(0);
      // Asking for the number takes some itself, and code that is still being compiled: less than a byte for each packet.
      // Mostly it is 25 KiB; of one run in five V8 compiles something so that it is 200.
      expect(told.allocatedBytes).toHaveLength(4);
      expect(Math.min(...told.allocatedBytes)).toBeLessThan(384 * 1024);
      // Spinning and sleeping, a hundred thousand turns each: not a byte for each.
      expect(told.idleBytes).toHaveLength(2);
      for (const bytes of told.idleBytes) expect(bytes).toBeLessThan(32 * 1024);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }, 300_000);
});
