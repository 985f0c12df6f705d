// The suites: `unit` stands beside its source; what crosses folders stands in test/.
// Worker threads and daemons run from dist/, so every suite expects a finished `tsc -b`.
import { defineConfig } from "vitest/config";

const setupFiles = ["test/support/property-seed.ts"];
/**
 * Two files at a time, or one of two processors would idle. Files share a process: to load the modules again for every
 * file took half of the time.
 */
const pair = { maxWorkers: 2, isolate: false } as const;
/** Files that run programs of others wait for a third of their time. A group of their own, which another number asks for. */
const trio = { ...pair, maxWorkers: 3, sequence: { groupOrder: 1 } } as const;
const serial = { fileParallelism: false, maxWorkers: 1 } as const;

export default defineConfig({
  test: {
    reporters: ["default"],
    projects: [
      {
        test: {
          name: "unit",
          setupFiles,
          ...pair,
          include: [
            "{base,vswitch,sdn-controller,storage-pool,nfv,hypervisor-core,stack,tools}/**/*.test.ts",
          ],
          exclude: ["**/*.property.test.ts", "**/node_modules/**", "dist/**"],
          // Most take milliseconds; a machine with other work on it must not fail them.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "property",
          setupFiles,
          ...pair,
          include: [
            "{base,vswitch,sdn-controller,storage-pool,nfv,hypervisor-core,stack,tools}/**/*.property.test.ts",
          ],
          testTimeout: 60_000,
        },
      },
      {
        test: { name: "sim", setupFiles, include: ["test/sim/**/*.test.ts"], testTimeout: 120_000, ...pair },
      },
      {
        test: {
          name: "conformance",
          setupFiles,
          include: ["test/conformance/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          ...trio,
        },
      },
      {
        test: {
          name: "nightly",
          setupFiles,
          include: ["test/nightly/**/*.test.ts"],
          ...serial,
        },
      },
      {
        test: {
          name: "e2e",
          setupFiles,
          include: ["test/e2e/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          ...serial,
        },
      },
    ],
  },
});
