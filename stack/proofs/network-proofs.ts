// Proofs about the network, each checked from inside the guests: addresses, policies, VLAN isolation, load balancing.
import { waitFor } from "../../base/time/index.js";
import { expectThat, type Proof, type World } from "./world.js";

/** The example's virtual address. */
export const VIRTUAL_ADDRESS = "10.10.0.100";
const MACHINES = ["client", "web1", "web2", "app", "db"] as const;
/** Seconds that a guest waits for a connection before it counts as denied. */
const DENIED_AFTER_S = 2;

/** The first IPv4 address of the VM on `network`, as the API reports it. */
async function addressOn(world: World, vm: string, network: string): Promise<string> {
  const machine = await world.get("VirtualMachine", vm);
  const index = (machine?.spec.interfaces as { network: string }[] | undefined)?.findIndex(
    (entry) => entry.network === network,
  );
  const address = machine?.status?.interfaces?.[index ?? -1]?.addresses?.[0];
  expectThat(typeof address === "string", `${vm} has no address on ${network}`);
  return address;
}

/** A guest that has just begun to boot asks for its lease within this. */
const LEASE_DEADLINE_MS = 60_000;
/** What `timeout` answers when it had to end the program (128 + SIGTERM, as busybox reports it). */
const TIMED_OUT = 143;

/** Fetches http://ADDRESS:PORT/ in a guest: exit code 0 when it was answered, TIMED_OUT when nothing came back. */
function fetchFrom(world: World, vm: string, address: string, port: number, timeoutS = DENIED_AFTER_S) {
  // busybox-static 1.35 crashes on `wget -T`, so the time limit comes from outside.
  const script = `timeout ${timeoutS} wget -q -O - http://${address}:${port}/ 2>&1`;
  return world.exec(vm, script, (timeoutS + 15) * 1000);
}

const addresses: Proof = {
  name: "every VM runs and got the address by DHCP that the API reports",
  async run(world) {
    const seen: string[] = [];
    for (const vm of MACHINES) {
      const machine = await world.get("VirtualMachine", vm);
      expectThat(
        machine?.status?.phase === "Running",
        `${vm} is ${machine?.status?.phase ?? "missing"}, not Running`,
      );
      const reported = machine.status.interfaces as { name: string; addresses: string[] }[];
      for (const { name, addresses: given } of reported) {
        const [address] = given;
        expectThat(address !== undefined, `the API reports no address for ${vm} ${name}`);
        let inside = "";
        await waitFor(
          async () => {
            inside = (await world.exec(vm, "ip -4 -o addr show", 60_000)).stdout;
            return new RegExp(` ${name}\\s+inet ${address.replaceAll(".", "\\.")}/`).test(inside);
          },
          () => `${vm} ${name} should have ${address}, but the guest says: ${inside.trim()}`,
          LEASE_DEADLINE_MS,
          250,
        );
        seen.push(`${vm} ${address}`);
      }
    }
    return seen.join(", ");
  },
};

const allowed: Proof = {
  name: "connections that a policy allows work",
  async run(world) {
    const flows = [
      ["client", VIRTUAL_ADDRESS, 80],
      ["client", await addressOn(world, "web1", "front"), 80],
      ["web1", await addressOn(world, "app", "back"), 8080],
      ["web2", await addressOn(world, "app", "back"), 8080],
      ["app", await addressOn(world, "db", "back"), 5432],
    ] as const;
    for (const [vm, address, port] of flows) {
      const got = await fetchFrom(world, vm, address, port, 5);
      expectThat(got.exitCode === 0, `${vm} -> ${address}:${port} should be allowed: ${got.stdout.trim()}`);
    }
    return flows.map(([vm, address, port]) => `${vm}→${address}:${port}`).join(", ");
  },
};

const denied: Proof = {
  name: "connections that no policy allows time out",
  async run(world) {
    const web = await addressOn(world, "web1", "front");
    const app = await addressOn(world, "app", "back");
    const db = await addressOn(world, "db", "back");
    const flows = [
      ["client", web, 81],
      ["web1", app, 81],
      ["web1", db, 5432],
      ["app", db, 81],
      ["db", app, 8080],
    ] as const;
    // Each target listens on that port, so that a time-out is the policy's work and not a closed port's.
    for (const [vm, port] of [
      ["web1", 81],
      ["app", 81],
      ["db", 5432],
      ["db", 81],
      ["app", 8080],
    ] as const) {
      const local = await fetchFrom(world, vm, "127.0.0.1", port);
      expectThat(local.exitCode === 0, `${vm} should listen on ${port}: ${local.stdout.trim()}`);
    }
    for (const [vm, address, port] of flows) {
      const got = await fetchFrom(world, vm, address, port);
      expectThat(
        got.exitCode === TIMED_OUT,
        `${vm} -> ${address}:${port} should time out, but ended with ${got.exitCode}: ${got.stdout.trim()}`,
      );
    }
    return flows.map(([vm, address, port]) => `${vm}↛${address}:${port}`).join(", ");
  },
};

const vlan: Proof = {
  name: "the other VLAN is unreachable, even to spoofed and tagged frames",
  async run(world) {
    const app = await addressOn(world, "app", "back");
    const mac = (await world.get("VirtualMachine", "app"))?.status?.interfaces?.[0]?.macAddress;
    const before = await echoesReceived(world, "app");
    const script = [
      "ip link del eth0.20 2>/dev/null",
      "ip link add link eth0 name eth0.20 type vlan id 20 || exit 99",
      "ip addr add 10.20.0.250/24 dev eth0.20 && ip link set eth0.20 up",
      `arping -c 3 -w 3 -I eth0.20 ${app}; asked=$?`,
      // Knowing the target's MAC address must not help either.
      `arp -i eth0.20 -s ${app} ${mac} || exit 98`,
      `ping -c 2 -W 1 ${app}; pinged=$?`,
      "ip link del eth0.20",
      "echo asked=$asked pinged=$pinged",
    ].join("\n");
    const got = await world.exec("client", script, 30_000);
    expectThat(got.exitCode === 0, `the guest could not send tagged frames: ${got.stdout}${got.stderr}`);
    expectThat(
      /asked=[1-9] pinged=[1-9]/.test(got.stdout),
      `a tagged frame was answered: ${got.stdout.trim()}`,
    );
    expectThat((await echoesReceived(world, "app")) === before, "a tagged frame reached app");
    return "3 tagged ARP requests and 2 tagged pings to app's own MAC address: no answer, none arrived";
  },
};

/** ICMP echo requests that the VM has received (RFC 2011, icmpInEchos). */
async function echoesReceived(world: World, vm: string): Promise<number> {
  const got = await world.exec(vm, "grep '^Icmp:' /proc/net/snmp");
  const [names, values] = got.stdout
    .trim()
    .split("\n")
    .map((line) => line.split(" "));
  const count = Number(values?.[names?.indexOf("InEchos") ?? -1]);
  expectThat(Number.isInteger(count), `${vm} does not say how many echo requests it received: ${got.stdout}`);
  return count;
}

const spread: Proof = {
  name: "the load balancer spreads connections over both web VMs",
  async run(world) {
    await untilHealthy(world, ["web1", "web2"]);
    const counts = await manyFetches(world, 40);
    expectThat(counts.failed === 0, `${counts.failed} of 40 connections failed${counts.why}`);
    expectThat(counts.web1 > 0 && counts.web2 > 0, `web1 got ${counts.web1}, web2 ${counts.web2} of 40`);
    return `web1 ${counts.web1}, web2 ${counts.web2} of 40`;
  },
};

const failover: Proof = {
  name: "the load balancer survives the loss of one web VM",
  async run(world) {
    await world.patch("VirtualMachine", "web2", { spec: { powerState: "Stopped" } });
    await waitFor(
      async () => (await world.get("VirtualMachine", "web2"))?.status?.phase === "Stopped",
      "web2 does not stop",
      40_000,
      100,
    );
    await untilHealthy(world, ["web1"]);
    const counts = await manyFetches(world, 20);
    expectThat(
      counts.failed === 0 && counts.web1 === 20,
      `${counts.failed} of 20 connections failed, ${counts.web1} reached web1${counts.why}`,
    );
    await world.patch("VirtualMachine", "web2", { spec: { powerState: "Running" } });
    await untilHealthy(world, ["web1", "web2"]);
    const after = await manyFetches(world, 40);
    expectThat(
      after.failed === 0 && after.web2 > 0,
      `web2 is back, but got ${after.web2} of 40 (${after.failed} failed)${after.why}`,
    );
    return `20 of 20 answered by web1 while web2 was off; web2 got ${after.web2} of 40 when it was back`;
  },
};

async function untilHealthy(world: World, expected: readonly string[]): Promise<void> {
  let seen = "";
  await waitFor(
    async () => {
      const balancer = await world.get("NetworkFunction", "web");
      const health = (balancer?.status?.health ?? []) as { name: string; state: string }[];
      seen = health.map(({ name, state }) => `${name} ${state}`).join(", ");
      const healthy = health.filter(({ state }) => state === "Healthy").map(({ name }) => name);
      return healthy.sort().join() === [...expected].sort().join();
    },
    () => `${expected.join(" and ")} should be the healthy endpoints; seen: ${seen || "none"}`,
    60_000,
    100,
  );
}

/** Seconds for one fetch: a SYN that a busy host lost is sent again after 1 s and 3 s and must still count. */
const FETCH_S = 10;

async function manyFetches(world: World, count: number) {
  const script = `for i in $(seq ${count}); do timeout ${FETCH_S} wget -q -O - http://${VIRTUAL_ADDRESS}/ 2>&1 || echo "number $i: status $?"; done`;
  const got = await world.exec("client", script, 15_000 + count * FETCH_S * 1_000);
  const lines = got.stdout.trim().split("\n");
  const of = (name: string) => lines.filter((line) => line === name).length;
  const others = lines.filter((line) => line !== "web1" && line !== "web2");
  const why = others.length === 0 ? "" : `: ${others.slice(0, 5).join("; ")}`;
  return { web1: of("web1"), web2: of("web2"), failed: count - of("web1") - of("web2"), why };
}

export const NETWORK_PROOFS: readonly Proof[] = [addresses, allowed, denied, vlan, spread, failover];
