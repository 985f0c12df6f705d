// Proofs about volumes, each checked from inside the db VM: data outlives its VM, space is thin, a snapshot reverts.
import { waitFor } from "../../base/time/index.js";
import { expectThat, type Proof, type World } from "./world.js";

const VOLUME = "db-data";
const MIB = 1024 * 1024;

const outlives: Proof = {
  name: "data on a volume outlives its VM",
  async run(world) {
    await inDatabase(
      world,
      "head -c 1048576 /dev/urandom > /data/keep && sync && sha256sum /data/keep > /data/keep.sum && sync",
    );
    const before = (await inDatabase(world, "cat /data/keep.sum")).trim();
    const uid = (await world.get("VirtualMachine", "db"))?.metadata.uid;
    await world.remove("VirtualMachine", "db");
    await world.applyExample();
    await untilUp(world);
    const again = await world.get("VirtualMachine", "db");
    expectThat(again?.metadata.uid !== uid, "db was not recreated");
    const after = (await inDatabase(world, "sha256sum /data/keep")).trim();
    expectThat(after === before, `/data/keep was ${before}, is ${after}`);
    return `1 MiB, sha256 ${before.slice(0, 12)}…, the same after the VM was destroyed and recreated`;
  },
};

const thin: Proof = {
  name: "a volume takes only what is written and gives back what is trimmed",
  async run(world) {
    await inDatabase(world, "head -c 67108864 /dev/urandom > /data/big && sync");
    const full = await allocated(world, (bytes) => bytes >= 64 * MIB);
    expectThat(
      full.allocatedBytes < full.sizeBytes / 4,
      `${full.allocatedBytes} of ${full.sizeBytes} bytes are allocated`,
    );
    await inDatabase(world, "rm /data/big && sync && fstrim /data");
    const trimmed = await allocated(world, (bytes) => bytes <= 32 * MIB);
    const mib = (bytes: number) => `${Math.round(bytes / MIB)} MiB`;
    return `${mib(full.allocatedBytes)} allocated of ${mib(full.sizeBytes)}; ${mib(trimmed.allocatedBytes)} after TRIM`;
  },
};

const reverts: Proof = {
  name: "a snapshot brings back what the volume held",
  async run(world) {
    await inDatabase(world, "echo before > /data/state && sync");
    await world.create({
      apiVersion: "plinth.dev/v1alpha1",
      kind: "VolumeSnapshot",
      metadata: { name: "proof", namespace: world.namespace },
      spec: { volume: VOLUME },
    });
    await waitFor(
      async () => (await world.get("VolumeSnapshot", "proof"))?.status?.readyToUse === true,
      "the snapshot does not become ready",
      20_000,
      100,
    );
    await inDatabase(world, "echo after > /data/state && sync");
    await world.patch("VirtualMachine", "db", { spec: { powerState: "Stopped" } });
    await waitFor(
      async () =>
        (await world.get("VirtualMachine", "db"))?.status?.phase === "Stopped" &&
        (await world.get("Volume", VOLUME))?.status?.phase === "Available",
      "db does not stop and let go of its volume",
      40_000,
      100,
    );
    await world.act("Volume", VOLUME, "revert", { snapshot: "proof" });
    await world.patch("VirtualMachine", "db", { spec: { powerState: "Running" } });
    await untilUp(world);
    const state = (await inDatabase(world, "cat /data/state")).trim();
    expectThat(state === "before", `/data/state should say "before", says "${state}"`);
    await world.remove("VolumeSnapshot", "proof");
    return "a file written after the snapshot is gone, the one before it is back";
  },
};

/** Waits until the db VM runs and serves its volume. */
async function untilUp(world: World): Promise<void> {
  await waitFor(
    async () => {
      if ((await world.get("VirtualMachine", "db"))?.status?.phase !== "Running") return false;
      try {
        return (
          (
            await world.exec(
              "db",
              "grep -q ' /data ' /proc/mounts && wget -q -O /dev/null http://127.0.0.1:5432/",
            )
          ).exitCode === 0
        );
      } catch {
        return false; // The guest agent is not up yet.
      }
    },
    "db does not come up with its volume",
    90_000,
    200,
  );
}

/** Filling 64 MiB takes an emulated machine some seconds, on a busy host a minute. */
const COMMAND_DEADLINE_MS = 120_000;

async function inDatabase(world: World, script: string): Promise<string> {
  const got = await world.exec("db", script, COMMAND_DEADLINE_MS);
  const late = got.timedOut ? `not done after ${COMMAND_DEADLINE_MS / 1000} s: is this machine busy?` : "";
  expectThat(
    got.exitCode === 0,
    `in db: ${script}: ${late || got.stderr || got.stdout || `exit ${got.exitCode}`}`,
  );
  return got.stdout;
}

async function allocated(world: World, enough: (bytes: number) => boolean) {
  let status = { allocatedBytes: -1, sizeBytes: 0 };
  await waitFor(
    async () => {
      status = (await world.get("Volume", VOLUME))?.status ?? status;
      return enough(status.allocatedBytes);
    },
    () => `the volume reports ${status.allocatedBytes} allocated bytes`,
    30_000,
    200,
  );
  return status;
}

export const VOLUME_PROOFS: readonly Proof[] = [outlives, thin, reverts];
