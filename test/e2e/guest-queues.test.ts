// A Linux guest with several processors and a queue of its card for each, which several workers of the switch serve: what
// it sends by each of them arrives, while queues change hands and while its driver takes the card anew. The workers are
// threads of this process, as there may be fewer processors than a mask would need.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { DatapathHandle } from "../../vswitch/datapath/index.js";
import { apply, flowMod, output } from "../../vswitch/testing/rig.js";
import { ConsoleGuest } from "../support/console-guest.js";
import { requirePrograms } from "../support/run.js";

const DEADLINE_MS = 150_000;
const MEGABYTES = 8;
const OFPP_NORMAL = 0xfffffffa;
const ABOUT = { manufacturer: "Plinth", hardware: "", software: "", serialNumber: "", datapath: "br0" };

let dir: string;
let handle: DatapathHandle;
let many: ConsoleGuest;
let one: ConsoleGuest;

beforeAll(async () => {
  requirePrograms("qemu-system-x86_64");
  dir = mkdtempSync("/tmp/pl-gq-");
  handle = new DatapathHandle({ slots: 1024, connectionsMax: 1024, cores: [0, 1, 2] });
  await handle.addBridge({ name: "br0", macTableEntries: 64, macAgeingMs: 300_000 });
  for (const [i, name] of ["many", "one"].entries()) {
    const options = { "vhost-server-path": join(dir, name) };
    const spec = {
      name,
      type: "dpdkvhostuserclient",
      options,
      mac: Uint8Array.of(2, 0, 0, 0, 0, i),
      mtu: 1500,
    };
    await handle.addPort({ bridge: "br0", spec, ofport: i + 1, vlan: { mode: "trunk", tag: 0, trunks: [] } });
  }
  await handle.model("br0", 1n, ABOUT).change([flowMod({ instructions: [apply(output(OFPP_NORMAL))] })]);
  [many, one] = (await ConsoleGuest.bootAll([
    [{ path: join(dir, "many"), address: "10.0.1.1/24", queues: 3 }],
    [{ path: join(dir, "one"), address: "10.0.1.2/24" }],
  ])) as [ConsoleGuest, ConsoleGuest];
  for (const guest of [many, one])
    await guest.run(`mkdir -p /www; head -c ${MEGABYTES}m /dev/urandom >/www/data; httpd -p 80 -h /www`);
}, DEADLINE_MS);

afterAll(async () => {
  await Promise.all([many?.kill(), one?.kill()]);
  await handle?.close();
  rmSync(dir, { recursive: true, force: true });
});

/** The queues of a port that each worker serves, and that something has come by lately. */
async function queues(): Promise<{ readonly served: number[][]; readonly used: number[] }> {
  const own = (await handle.threads()).map(({ status }) =>
    status.ports.filter(({ name }) => name === "many").flatMap((port) => port.queues),
  );
  const served = own.map((all) => all.filter(({ isEnabled }) => isEnabled).map(({ queue }) => queue));
  const used = own.flatMap((all) => all.filter(({ usage }) => usage > 0).map(({ queue }) => queue));
  return { served, used: used.sort() };
}

async function servedAs(wanted: number[][]): Promise<void> {
  let now: number[][] = [];
  await waitFor(
    async () => {
      now = (await queues()).served;
      return JSON.stringify(now) === JSON.stringify(wanted);
    },
    () => `queues to be served as wanted: ${JSON.stringify(now)}`,
    20_000,
  );
}

/** What goes out by each processor, and so by each queue, is answered. */
async function pingByAll(): Promise<void> {
  for (const processor of [0, 1, 2])
    await many.run(`taskset -c ${processor} ping -q -c 5 -i 0.1 -W 5 10.0.1.2`);
}

async function fetchBoth(): Promise<void> {
  const [there, back] = await Promise.all([
    many.run("taskset -c 2 wget -q -O - http://10.0.1.2/data | md5sum"),
    one.run("wget -q -O - http://10.0.1.1/data | md5sum"),
  ]);
  expect(there).toBe(await one.run("md5sum </www/data"));
  expect(back).toBe(await many.run("md5sum </www/data"));
}

describe("a guest with three queues", { timeout: DEADLINE_MS }, () => {
  it("is served by two workers, and uses all its queues", async () => {
    await servedAs([[], [0, 2], [1]]);
    await pingByAll();
    expect((await queues()).used).toEqual([0, 1, 2]);
  });

  it("fetches and serves files whole while its queues change hands", async () => {
    let isOver = false;
    const moves = (async () => {
      for (let n = 0; !isOver; n++) {
        await handle.pinPort("many", { 0: 1 + (n % 2), 1: 1 + ((n >> 1) % 2), 2: 1 + ((n >> 2) % 2) });
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
    })();
    try {
      await fetchBoth();
    } finally {
      isOver = true;
      await moves;
    }
  });

  it("has its queues shared again when its driver has taken the card anew", async () => {
    await handle.pinPort("many", { 0: 1, 1: 2, 2: 2 });
    await servedAs([[], [0], [1, 2]]);
    await many.rebind(0, "10.0.1.1/24");
    await servedAs([[], [0], [1, 2]]);
    await pingByAll();
    await fetchBoth();
  });
});
