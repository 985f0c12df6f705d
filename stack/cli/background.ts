// A command that goes on in the background: the same command line in a process of its own, which says when it is ready.
// Source: ovs-ofctl(8), --detach. Thread: main.
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import type { Background } from "../../vswitch/index.js";

/** Tells the process in the background that it is the one. */
const MARK = "PLINTH_DETACHED";

export function backgroundOf(runDirectory: string): Background {
  return {
    runDirectory,
    isDetached: process.env[MARK] !== undefined,
    detach: () =>
      new Promise((resolve, reject) => {
        const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
          detached: true,
          stdio: ["ignore", "inherit", "inherit", "ipc"],
          env: { ...process.env, [MARK]: "1" },
        });
        child.on("error", reject);
        child.on("exit", (code) => resolve(code ?? 1));
        child.on("message", () => {
          child.disconnect();
          child.unref();
          resolve(0);
        });
      }),
    ready(staysHere) {
      if (!staysHere) process.chdir("/");
      // Who reads our output to its end need not wait for ours; that of errors is where monitors write.
      closeSync(1);
      openSync("/dev/null", "w");
      process.send?.("ready");
    },
  };
}
