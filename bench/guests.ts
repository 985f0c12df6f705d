// Between two real guests: Linux under QEMU's TCG with virtio cards over vhost-user, plinth vswitchd beside Open vSwitch
// with DPDK. TCP by netcat and round trips by ping, both of the guests' busybox. What an emulated processor does with a
// packet takes far longer than any switch: this says whether one is in the way, and not how fast it is.
import { ConsoleGuest } from "../test/support/console-guest.js";
import { requirePrograms } from "../test/support/run.js";
import { publish, readBenchOptions, wantedOf } from "./support/bench-options.js";
import { onAbort } from "./support/cleanup.js";
import { type Contender, compare, type Outcome } from "./support/compare.js";
import { type Forwarder, OPEN_VSWITCH_DPDK, OVS_DPDK, PLINTH_VSWITCHD } from "./support/forwarders.js";
import { withSwitch } from "./support/generator-run.js";
import { HUGEPAGES_OF_OVS, withHugepages } from "./support/hugepages.js";
import { requirePackages } from "./support/packages.js";
import { PIPELINES } from "./support/pipelines.js";

const options = readBenchOptions("guests", 3, {
  name: "megabytes",
  text: "what is sent by TCP in each",
  usual: 64,
});
const { runs, amount: megabytes } = options;
const PINGS = 200;
const SERVER = "10.0.0.2";

/** What two guests found out in one run. */
interface Findings {
  readonly mbitPerSecond: number;
  /** Mean of all round trips. */
  readonly roundTripUs: number;
}
const WORKS = [
  { title: "TCP from guest to guest", unit: "Mbit/s", better: "higher", figure: "mbitPerSecond" },
  { title: "round trip from guest to guest", unit: "µs", better: "lower", figure: "roundTripUs" },
] as const;
const known = new Map<string, Promise<Findings>>();

requirePrograms("qemu-system-x86_64", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl");
requirePackages({ [OVS_DPDK]: "openvswitch-switch-dpdk" });
await withHugepages(HUGEPAGES_OF_OVS, runAll);

async function runAll(): Promise<void> {
  const outcomes: Outcome[] = [];
  for (const { title, unit, better, figure } of wantedOf(WORKS, options)) {
    const contender = (forwarder: Forwarder): Contender => {
      let run = 0;
      return { name: forwarder.name, measure: async () => (await findingsOf(forwarder, run++))[figure] };
    };
    const [ours, peer] = [contender(PLINTH_VSWITCHD), contender(OPEN_VSWITCH_DPDK)];
    outcomes.push(await compare({ title, unit, better, ours, peers: [peer], runs }));
  }
  publish(options, "Between guests", outcomes, [
    "Two Linux guests under TCG, the same for both switches; the emulated processors are the limit, and both share two processors with the switch. Open vSwitch's polling thread never sleeps and takes one of them; Plinth's sleeps when nothing comes.",
    `TCP: ${megabytes} MiB of zeros by netcat, with the offloads that the switch lets the guests agree on. Round trips: the mean of ${PINGS} pings at intervals of 10 ms.`,
  ]);
}

/** One run tells both figures. */
function findingsOf(forwarder: Forwarder, run: number): Promise<Findings> {
  const key = `${forwarder.name} ${run}`;
  const result = known.get(key) ?? betweenGuests(forwarder);
  known.set(key, result);
  return result;
}

function betweenGuests(forwarder: Forwarder): Promise<Findings> {
  return withSwitch(async (home, started) => {
    started.push(...(await forwarder.start(home, 2, PIPELINES.normal.flows())));
    const guests: ConsoleGuest[] = [];
    const forget = onAbort(() => {
      for (const guest of guests) void guest.kill();
    });
    try {
      for (const [n, address] of ["10.0.0.1/24", `${SERVER}/24`].entries())
        guests.push(await ConsoleGuest.boot(n + 1, [{ path: `${home}/${n}.sock`, address }]));
      const [client, server] = guests as [ConsoleGuest, ConsoleGuest];
      await client.run(`until ping -c 1 -W 1 ${SERVER} >/dev/null; do :; done`);
      const pings = await client.run(`ping -q -c ${PINGS} -i 0.01 ${SERVER}`);
      const [, meanMs] = /= [\d.]+\/([\d.]+)\/[\d.]+ ms/.exec(pings) ?? [];
      if (meanMs === undefined) throw new Error(`ping said: ${pings}`);
      // The listener ends with the connection; the sender hears of that when all has arrived.
      await server.run("(nc -l -p 5001 | wc -c >/tmp/received) >/dev/null 2>&1 &");
      const startMs = performance.now();
      await client.run(`head -c ${megabytes}m /dev/zero | nc ${SERVER} 5001`);
      const wanted = megabytes * 2 ** 20;
      await server.run(`until [ "$(cat /tmp/received)" = ${wanted} ]; do usleep 10000; done`);
      const elapsedMs = performance.now() - startMs;
      return { mbitPerSecond: (8 * wanted) / elapsedMs / 1000, roundTripUs: 1000 * Number(meanMs) };
    } finally {
      for (const guest of guests) await guest.kill();
      forget();
    }
  });
}
