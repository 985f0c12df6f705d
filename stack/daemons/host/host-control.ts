// The control socket of the host agent: what the API server asks for on behalf of people, and what `plinth down` asks.
// It works without the API: a command in a guest needs the guest's driver and nothing else. Thread: main.
import { PlinthError } from "../../../base/errors/index.js";
import type { ControlMethod } from "../../../base/jsonrpc/index.js";
import type { MachineDriver } from "../../../hypervisor-core/index.js";
import type { Machines } from "./machines.js";
import type { StorageClient } from "./storage-client.js";

export interface HostControlModules {
  readonly machines: Machines;
  readonly storage: StorageClient;
  /** Powers all machines off. */
  readonly stopAll: () => Promise<void>;
  /** The machine here that has "namespace/volume". */
  readonly attachedTo: (volume: string) => string | undefined;
  /** What the pool calls the snapshot of a Volume that a VolumeSnapshot, or else the pool itself, calls `name`. */
  readonly snapshotInPool: (namespace: string, volume: string, name: string) => Promise<string>;
  /** Facts for `plinth host describe`. */
  readonly describe: () => object;
}

const EXEC_TIMEOUT_MS = 30_000;
/** The guest's answer may come this much after the command's time is up; callers wait 5 s longer than that time. */
const EXEC_GRACE_MS = 3_000;
const POLL_MS = 50;
type Fields = Readonly<Record<string, unknown>>;

export function hostControlMethods(modules: HostControlModules): Readonly<Record<string, ControlMethod>> {
  const { machines, storage } = modules;
  return {
    "vm.exec": async (params) => {
      const driver = findMachine(machines, params);
      const { command, timeoutMs = EXEC_TIMEOUT_MS } = params;
      if (!Array.isArray(command) || !command.every((word) => typeof word === "string")) {
        throw invalid("command", "a list of words");
      }
      if (typeof timeoutMs !== "number" || !Number.isFinite(timeoutMs))
        throw invalid("timeoutMs", "a number");
      const stdin = params["stdin"];
      if (stdin !== undefined && typeof stdin !== "string") throw invalid("stdin", "text");
      const input = stdin === undefined ? undefined : Buffer.from(stdin);
      await untilRunning(driver, timeoutMs);
      const result = await driver.exec({ command, input, timeoutMs }, EXEC_GRACE_MS);
      return {
        exitCode: result.exitCode,
        stdout: Buffer.from(result.stdout).toString("utf8"),
        stderr: Buffer.from(result.stderr).toString("utf8"),
        timedOut: result.timedOut,
        truncated: result.truncated,
      };
    },
    "vm.reboot": async (params) => {
      await findMachine(machines, params).reboot();
      return {};
    },
    "vm.console": (params) => {
      const driver = findMachine(machines, params);
      if (driver.state !== "running" && driver.state !== "paused") {
        throw new PlinthError("MACHINE_STATE", `the machine is ${driver.state}, not running`);
      }
      return { socket: driver.paths.serial };
    },
    "vms.stop": async () => {
      await modules.stopAll();
      return {};
    },
    "volume.revert": async (params) => {
      const namespace = text(params, "namespace");
      const name = text(params, "name");
      const volume = `${namespace}/${name}`;
      const snapshot = text(params, "snapshot");
      const machine = modules.attachedTo(volume);
      if (machine !== undefined) {
        throw new PlinthError("VOLUME_IN_USE", `VirtualMachine ${machine} has the volume`, {
          remedy: "stop it first (spec.powerState: Stopped)",
        });
      }
      await storage.revertVolume(volume, await modules.snapshotInPool(namespace, name, snapshot));
      return {};
    },
    "volume.rewind": async (params) => {
      const namespace = text(params, "namespace");
      const volume = `${namespace}/${text(params, "name")}`;
      const into = params["into"] === undefined ? undefined : `${namespace}/${text(params, "into")}`;
      const machine = into === undefined ? modules.attachedTo(volume) : undefined;
      if (machine !== undefined) {
        throw new PlinthError("VOLUME_IN_USE", `VirtualMachine ${machine} has the volume`, {
          remedy: "stop it first (spec.powerState: Stopped), or rewind into a new volume",
        });
      }
      await storage.rewindVolume(volume, text(params, "to"), into);
      return {};
    },
    "host.describe": () => modules.describe(),
  };
}

/** A machine that is on its way up is waited for; any other state is told by the command itself. */
async function untilRunning(driver: MachineDriver, deadlineMs: number): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while ((driver.state === "starting" || driver.state === "failed") && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** The driver of the machine that the parameters name. Throws MACHINE_STATE when none of that name runs here. */
function findMachine(machines: Machines, params: Fields): MachineDriver {
  const namespace = text(params, "namespace");
  const name = text(params, "name");
  const [found] = machines.byName(namespace, name);
  if (found === undefined) {
    throw new PlinthError("MACHINE_STATE", `VirtualMachine ${namespace}/${name} is not on this host yet`);
  }
  return found.machine.driver;
}

function text(params: Fields, field: string): string {
  const value = params[field];
  if (typeof value !== "string" || value === "") throw invalid(field, "text");
  return value;
}

function invalid(field: string, expected: string): PlinthError {
  return new PlinthError("PARAMS_INVALID", `${field}: expected ${expected}`, { field });
}
