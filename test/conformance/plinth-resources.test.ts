// The resources without kubectl: `plinth get | describe | apply | delete | events | vm` against a real controller.
import { spawn } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createControlServer } from "../../base/jsonrpc/index.js";
import { waitFor } from "../../base/time/index.js";
import { ensureKubectl } from "../../tools/programs/kubectl.mjs";
import { ControllerProcess } from "../support/controller-process.js";
import { endChild, PLINTH, type RunResult, run } from "../support/run.js";

let controller: ControllerProcess;
beforeAll(async () => {
  controller = await ControllerProcess.create();
  await controller.start();
}, 60_000);
afterAll(() => controller?.destroy());

function plinth(words: string, input?: string): Promise<RunResult> {
  const [head, tail] = words.split(" -- ");
  const args = [PLINTH, ...(head as string).split(" "), "--dir", controller.dir];
  const all = tail === undefined ? args : [...args, "--", ...tail.split(" ")];
  return run(process.execPath, all, { deadlineMs: 60_000, ...(input === undefined ? {} : { input }) });
}

async function ok(words: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await plinth(words, input);
  if (code !== 0) throw new Error(`plinth ${words} ended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

async function refused(words: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await plinth(words, input);
  if (code === 0) throw new Error(`plinth ${words} was not refused:\n${stdout}`);
  return stderr;
}

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: plinth.dev/v1alpha1
kind: Network
metadata: {name: front, namespace: shop}
spec: {vlan: 10, subnets: [10.10.0.0/24], gateway: 10.10.0.1}
---
apiVersion: plinth.dev/v1alpha1
kind: VirtualMachine
metadata: {name: web1, namespace: shop, labels: {tier: web}}
spec:
  interfaces: [{name: front, network: front}]
`;

describe("apply", () => {
  test("creates in one go what stands in a namespace that it makes, and sees nothing to do afterwards", async () => {
    expect(await ok("apply -f -", SHOP)).toBe(
      "namespace/shop created\nnetwork/front created\nvirtualmachine/web1 created\n",
    );
    expect(await ok("apply -f -", SHOP)).toBe(
      "namespace/shop unchanged\nnetwork/front unchanged\nvirtualmachine/web1 unchanged\n",
    );
    const changed = SHOP.replace(", gateway: 10.10.0.1", "");
    expect(await ok("apply -f -", changed)).toContain("network/front configured");
    expect(JSON.parse(await ok("get net front -n shop -o json")).spec).not.toHaveProperty("gateway");
  });

  test("takes turns with kubectl", async () => {
    const env = { ...process.env, KUBECONFIG: controller.kubeconfig, HOME: controller.dir };
    const kubectl = (document: string) =>
      run(ensureKubectl(), ["apply", "-f", "-"], { env, input: document, deadlineMs: 60_000 });
    const own = SHOP.replace("tier: web", "tier: web, note: a").replace(", gateway: 10.10.0.1", "");
    await ok("apply -f -", own);
    expect((await kubectl(own)).stdout).not.toMatch(/configured|created/);
    expect((await kubectl(own.replace(", note: a", ""))).stdout).toContain("web1 configured");
    expect(await ok("apply -f -", own.replace(", note: a", ""))).not.toMatch(/configured|created/);
  });

  test("changes nothing when one document would be refused, and names every field", async () => {
    const bad = SHOP.replaceAll("shop", "other").replace("vlan: 10", "vlan: 5000").replace("web1", "Web1");
    const said = await refused("apply -f -", bad);
    expect(said).toContain(
      "-, document 2: network/front: spec.vlan: Invalid value: 5000: must be between 1 and 4094",
    );
    expect(said).toContain("-, document 3: virtualmachine/Web1: metadata.name: Invalid value");
    expect(await ok("get ns -o name")).not.toContain("other");
    const overlap = SHOP.split("---")[1]
      ?.replace("name: front", "name: twin")
      .replace("vlan: 10", "vlan: 11");
    expect(await refused("apply -f -", overlap)).toContain('overlaps with 10.10.0.0/24 of network "front"');
  });

  test("--dry-run judges only", async () => {
    const document = SHOP.split("---")[1]
      ?.replace("front", "dry")
      .replace("vlan: 10", "vlan: 12")
      .replaceAll("10.10.", "10.12.");
    expect(await ok("apply --dry-run -f -", document)).toBe("network/dry would be accepted\n");
    expect(await ok("get net -n shop -o name")).toBe("network/front\n");
  });
});

test("get, describe and events show what is there", async () => {
  await waitFor(async () => (await ok("get ports -n shop -o name")) !== "", "no port", 20_000);
  expect(await ok("get net -n shop")).toMatch(/^NAME +VLAN +SUBNETS +AGE\nfront +10 +10\.10\.0\.0\/24/);
  expect(await ok("get all -A")).toMatch(/shop +virtualmachine\/web1/);
  expect(await ok("get vm -n shop -l tier=web -o yaml")).toContain("kind: List");
  expect(await ok("get vm web1 -n shop -o wide")).toMatch(/CPUS +MEMORY/);
  const seen = async (): Promise<string> => ok("describe vm web1 -n shop");
  await waitFor(async () => (await seen()).includes("no host has registered yet"), "no event", 20_000);
  expect(await ok("events -n shop --for vm/web1")).toMatch(/NotScheduled +virtualmachine\/web1/);
  expect(await refused("get vm nothing -n shop")).toContain('"nothing" not found');
  expect(await refused("get spaceships")).toContain('there is no kind "spaceships"');
});

test("describe tells how long secrets are, get tells what they are", async () => {
  await ok(
    "apply -f -",
    "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: shop}\nstringData: {a: hush}",
  );
  const described = await ok("describe secret key -n shop");
  expect(described).toContain("a: 4 bytes");
  expect(described).not.toContain("aHVzaA==");
  expect(await ok("get secret key -n shop -o yaml")).toContain("aHVzaA==");
  await ok("delete secret key -n shop");
});

test("get --watch shows changes as they happen, in the columns of the list", async () => {
  const args = [PLINTH, "get", "net", "-n", "shop", "--watch", "--dir", controller.dir];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  try {
    await waitFor(() => said.includes("front"), "the list does not show", 20_000);
    await ok("apply -f -", SHOP.split("---")[1]?.replace("vlan: 10", "vlan: 99"));
    await waitFor(
      () => /front +99/.test(said),
      () => `the change does not show: ${said}`,
      20_000,
    );
    const lines = said.split("\n");
    expect(lines.find((line) => line.includes("99"))?.indexOf("99")).toBe(lines[0]?.indexOf("VLAN"));
  } finally {
    await endChild(child);
  }
});

test("vm verbs reach the API and the host agent", async () => {
  const powerState = async (): Promise<string> =>
    JSON.parse(await ok("get vm web1 -n shop -o json")).spec.powerState;
  await ok("vm stop web1 -n shop");
  expect(await powerState()).toBe("Stopped");
  await ok("vm start web1 -n shop");
  expect(await powerState()).toBe("Running");
  expect(await refused("vm reboot web1 -n shop")).toContain("the host agent is not running");
  const asked: unknown[] = [];
  const agent = await createControlServer(`${controller.dir}/run/host.sock`, {
    "vm.exec": (parameters) => {
      asked.push(parameters);
      if ((parameters["command"] as string[])[0] === "sleep")
        return { exitCode: 137, stdout: "", stderr: "", timedOut: true };
      return { exitCode: 7, stdout: "out\n", stderr: "err\n" };
    },
    "vm.reboot": (parameters) => void asked.push(parameters),
  });
  try {
    expect(await plinth("vm exec web1 -n shop -- ls -l")).toEqual({
      code: 7,
      stdout: "out\n",
      stderr: "err\n",
    });
    await ok("vm reboot web1 -n shop");
    const late = await plinth("vm exec web1 -n shop --timeout 1 -- sleep 9");
    expect(late).toEqual({ code: 137, stdout: "", stderr: expect.stringContaining("ended after 1 s") });
    expect(asked).toMatchObject([
      { name: "web1", command: ["ls", "-l"] },
      { namespace: "shop", name: "web1" },
      { name: "web1", command: ["sleep", "9"], timeoutMs: 1_000 },
    ]);
  } finally {
    await agent.close();
  }
});

test("delete takes names, labels and files, and waits until all is gone", async () => {
  expect(await refused("delete vm -n shop")).toContain("say which");
  expect(await ok("delete vm -l tier=web -n shop")).toBe("virtualmachine/web1 deleted\n");
  expect(await refused("delete vm web1 -n shop")).toContain("was not there");
  await ok("delete -f -", SHOP);
  expect(await ok("get ns -o name")).toBe("namespace/default\n");
});

test("without a controller the answer says what to do", async () => {
  const { code, stderr } = await run(process.execPath, [PLINTH, "get", "vm", "--dir", "/tmp/no-such-plinth"]);
  expect([code, stderr.includes("plinth up")]).toEqual([1, true]);
});
