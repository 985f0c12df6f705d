// Two virtual machines on our own switch under our own controller: addresses by DHCP, frames through vhost-user, and
// kills of the switch and of the agent while they talk.
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { type ApiClient, connectWithKubeconfig } from "../../stack/api/index.js";
import type { VirtualMachine } from "../../stack/resources/index.js";
import { ControllerProcess } from "../support/controller-process.js";
import { DaemonProcess } from "../support/daemon-process.js";
import { HostProcess } from "../support/host-process.js";

let controller: ControllerProcess;
let host: HostProcess;
let client: ApiClient;
let vswitchd: DaemonProcess;
let nfd: DaemonProcess;

beforeAll(async () => {
  controller = await ControllerProcess.create();
  await controller.start();
  client = await connectWithKubeconfig(controller.kubeconfig);
  const dir = join(controller.dir, "switch");
  vswitchd = new DaemonProcess({
    args: ["vswitchd", "--dir", dir],
    controlSocket: join(dir, "vswitchd.ctl"),
  });
  nfd = new DaemonProcess({
    args: ["nfd", "--dir", controller.dir],
    controlSocket: join(controller.dir, "run", "nfd.sock"),
  });
  await vswitchd.start();
  host = new HostProcess(controller.dir);
  await host.start();
  await client.create("Namespace", { metadata: { name: "lab" } });
  const network = {
    metadata: { name: "front", namespace: "lab" },
    spec: { vlan: 10, subnets: ["10.10.0.0/24"] },
  };
  await client.create("Network", network);
  for (const name of ["one", "two"]) {
    const interfaces = [{ name: "eth0", network: "front" }];
    const spec = { interfaces, userData: "mkdir /www; hostname >/www/index.html; httpd -p 80 -h /www" };
    await client.create("VirtualMachine", { metadata: { name, namespace: "lab", labels: { name } }, spec });
  }
}, 120_000);

afterAll(async () => {
  await host?.call("vms.stop", {}).catch(() => {});
  await host?.end("SIGKILL");
  client?.close();
  await nfd?.end("SIGTERM");
  await vswitchd?.end("SIGTERM");
  await controller?.end("SIGTERM");
  await controller?.destroy();
}, 120_000);

const get = (name: string) => client.get("VirtualMachine", { namespace: "lab", name });

async function addressOf(name: string): Promise<string> {
  let seen: VirtualMachine | undefined;
  await waitFor(
    async () => {
      seen = await get(name);
      return seen?.status?.phase === "Running";
    },
    () =>
      `${name} is ${JSON.stringify(seen?.status)}\n${host.said.slice(-2000)}\n${vswitchd.said.slice(-2000)}`,
    90_000,
    100,
  );
  return seen?.status?.interfaces?.[0]?.addresses?.[0] ?? "";
}

async function exec(name: string, script: string): Promise<{ exitCode: number; stdout: string }> {
  const params = { namespace: "lab", name, command: ["sh", "-c", script], timeoutMs: 40_000 };
  return (await host.call("vm.exec", params)) as { exitCode: number; stdout: string };
}

describe("two machines on one network", () => {
  it("get their addresses by DHCP and reach each other", async () => {
    const [one, two] = [await addressOf("one"), await addressOf("two")];
    expect(one).toMatch(/^10\.10\.0\.\d+$/);
    const lease = await exec(
      "one",
      "n=0; until [ -e /run/lease.eth0 ] || [ $n = 300 ]; do usleep 100000; n=$((n+1)); done; cat /run/lease.eth0 /run/udhcpc.eth0.log",
    );
    expect(lease.stdout).toContain(`${one}/24`);
    const ping = await exec(
      "one",
      `n=0; until ping -c 1 -W 1 ${two} || [ $n = 20 ]; do n=$((n+1)); done; ping -c 3 -W 2 ${two}`,
    );
    expect(ping.stdout).toContain("3 packets received");
    expect((await exec("one", "cat /sys/class/net/eth0/mtu")).stdout.trim()).toBe("1500");
  });

  it("do so again after the switch was killed, without being started again", async () => {
    const two = await addressOf("two");
    const uptime = async (): Promise<number> =>
      Number((await exec("one", "cut -d' ' -f1 /proc/uptime")).stdout);
    const before = await uptime();
    await vswitchd.end("SIGKILL");
    await vswitchd.start();
    const ping = await exec(
      "one",
      `n=0; until ping -c 1 -W 1 ${two} >/dev/null || [ $n = 30 ]; do n=$((n+1)); done; ping -c 3 -W 2 ${two}`,
    );
    expect(ping.stdout).toContain("3 packets received");
    expect(await uptime()).toBeGreaterThan(before);
  });

  it("go on while the agent is gone", async () => {
    const two = await addressOf("two");
    await exec("one", `(ping -i 0.2 ${two} >/root/pings 2>&1) >/dev/null 2>&1 </dev/null & :`);
    await host.end("SIGKILL");
    await host.start();
    const { stdout } = await exec("one", "sleep 1; killall -INT ping; usleep 300000; cat /root/pings");
    // The last one may have been under way when ping was ended.
    const answered = [...stdout.matchAll(/ seq=(\d+) /g)].map(([, seq]) => Number(seq));
    const sent = Number(/(\d+) packets transmitted/.exec(stdout)?.[1]);
    expect(answered).toEqual(answered.map((_, i) => i));
    expect(answered.length).toBeGreaterThanOrEqual(sent - 1);
    expect(answered.length).toBeGreaterThan(2);
  });

  it("reach a service through a load balancer, which comes back after nfd was killed", async () => {
    await nfd.start();
    await client.create("NetworkFunction", {
      metadata: { name: "web", namespace: "lab" },
      spec: {
        type: "LoadBalancer",
        network: "front",
        loadBalancer: {
          address: "10.10.0.100",
          ports: [{ port: 80 }],
          selector: { matchLabels: { name: "two" } },
          healthCheck: { intervalMs: 300, timeoutMs: 300 },
        },
      },
    });
    const health = async () =>
      (await client.get("NetworkFunction", { namespace: "lab", name: "web" }))?.status;
    const healthy = async () => (await health())?.health?.[0]?.state === "Healthy";
    let status: unknown;
    const untilHealthy = () =>
      waitFor(
        async () => {
          status = await health();
          return await healthy();
        },
        () =>
          `not healthy: ${JSON.stringify(status)}\n${host.said.slice(-2000)}\n${vswitchd.said.slice(-2000)}`,
        30_000,
        100,
      );
    await untilHealthy();
    const fetch = () =>
      exec(
        "one",
        "n=0; until timeout 2 wget -q -O - http://10.10.0.100/ || [ $n = 15 ]; do n=$((n+1)); usleep 200000; done",
      );
    expect((await fetch()).stdout.trim()).toBe("two");
    await nfd.end("SIGKILL");
    await nfd.start();
    expect((await fetch()).stdout.trim()).toBe("two");
    await client.delete("NetworkFunction", { namespace: "lab", name: "web" });
    await waitFor(async () => (await health()) === undefined, "the function to go", 20_000, 100);
  });
});
