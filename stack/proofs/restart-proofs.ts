// Proofs about crashes: each daemon is killed with SIGKILL during traffic and I/O; VMs keep running, nothing
// acknowledged is lost, and forwarding resumes. The gaps are measured inside the guests, by their own clocks.
import { waitFor } from "../../base/time/index.js";
import type { DaemonName } from "../daemons/up/daemon-set.js";
import { VIRTUAL_ADDRESS } from "./network-proofs.js";
import { expectThat, type Proof, type World } from "./world.js";

const ORDER: readonly DaemonName[] = ["controller", "host", "nfd", "storaged", "vswitchd"];
const RECOVERY_DEADLINE_MS = 45_000;

/** Each loop writes its guest's uptime (1/100 s) after each success, and stops when its flag file is gone. */
const TRAFFIC = `touch /tmp/go; : > /tmp/ok
( while [ -e /tmp/go ]; do timeout 1 wget -q -O /dev/null http://${VIRTUAL_ADDRESS}/ && cut -d' ' -f1 /proc/uptime >> /tmp/ok; usleep 20000; done ) >/dev/null 2>&1 &`;
const WRITES = `touch /tmp/go; : > /tmp/ok; rm -f /data/journal
( n=0; while [ -e /tmp/go ]; do n=$((n+1)); echo $n | dd of=/data/journal oflag=append conv=notrunc,fsync && { cut -d' ' -f1 /proc/uptime; echo $n > /tmp/acked; } >> /tmp/ok; usleep 20000; done ) >/dev/null 2>&1 &`;

const survives: Proof = {
  name: "every daemon may be killed with SIGKILL: VMs run on, nothing is lost, forwarding resumes",
  async run(world) {
    const bootsBefore = await boots(world);
    await world.exec("client", TRAFFIC);
    await world.exec("db", WRITES);
    await progress(world, "client");
    await progress(world, "db");
    const lines: string[] = [];
    for (const daemon of ORDER) {
      const marks = { client: await count(world, "client"), db: await count(world, "db") };
      world.kill(daemon);
      await waitFor(() => world.ready(daemon), `${daemon} does not come back`, RECOVERY_DEADLINE_MS, 50);
      await untilProgress(world, "client", marks.client + 10, daemon);
      await untilProgress(world, "db", marks.db + 10, daemon);
      const traffic = await longestGapMs(world, "client", marks.client);
      const writes = await longestGapMs(world, "db", marks.db);
      lines.push(`${daemon}: traffic ${traffic} ms, writes ${writes} ms`);
      world.say(`${daemon} killed: longest gap in traffic ${traffic} ms, in writes ${writes} ms`);
    }
    await world.exec("client", "rm -f /tmp/go");
    await world.exec("db", "rm -f /tmp/go; sleep 1; sync");
    const journal = await world.exec(
      "db",
      "sync; cat /tmp/acked; tail -n 1 /data/journal; wc -l < /data/journal; dmesg | grep -ci 'i/o error' || true",
    );
    const [acknowledged, last, lines_, errors] = journal.stdout.trim().split(/\s+/).map(Number);
    expectThat(
      last !== undefined && acknowledged !== undefined && last >= acknowledged,
      `acknowledged ${acknowledged}, the journal ends at ${last}`,
    );
    expectThat(last === lines_, `the journal should hold 1..${last}, holds ${lines_} lines`);
    expectThat(errors === 0, `the guest saw ${errors} I/O errors`);
    expectThat((await boots(world)) === bootsBefore, "a VM was restarted");
    return `${lines.join("; ")}; ${last} fsynced writes all there`;
  },
};

/** One boot identity per VM: it changes when a VM is started anew. */
async function boots(world: World): Promise<string> {
  const ids = [];
  for (const vm of ["client", "web1", "web2", "app", "db"]) {
    ids.push(`${vm} ${(await world.exec(vm, "cat /proc/sys/kernel/random/boot_id")).stdout.trim()}`);
  }
  return ids.join();
}

async function count(world: World, vm: string): Promise<number> {
  return Number((await world.exec(vm, "wc -l < /tmp/ok")).stdout.trim());
}

async function progress(world: World, vm: string): Promise<void> {
  await waitFor(async () => (await count(world, vm)) >= 5, `no progress in ${vm}`, 30_000, 200);
}

async function untilProgress(world: World, vm: string, target: number, daemon: DaemonName): Promise<void> {
  await waitFor(
    async () => {
      try {
        return (await count(world, vm)) >= target;
      } catch {
        return false; // The way into the guest leads through the controller and the host agent.
      }
    },
    `${vm} makes no progress after ${daemon} was killed`,
    RECOVERY_DEADLINE_MS,
    200,
  );
}

async function longestGapMs(world: World, vm: string, fromLine: number): Promise<number> {
  const got = await world.exec(vm, `tail -n +${Math.max(1, fromLine)} /tmp/ok`);
  const times = got.stdout.trim().split("\n").map(Number);
  let longest = 0;
  for (let i = 1; i < times.length; i++) longest = Math.max(longest, (times[i] ?? 0) - (times[i - 1] ?? 0));
  return Math.round(longest * 1000);
}

export const RESTART_PROOFS: readonly Proof[] = [survives];
