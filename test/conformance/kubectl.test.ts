// The resource API as stock kubectl sees it. Each test works in a namespace of its own.
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { connectWithKubeconfig } from "../../stack/api/index.js";
import { ensureKubectl } from "../../tools/programs/kubectl.mjs";
import { ControllerProcess } from "../support/controller-process.js";
import { endChild, PLINTH, type RunResult, run } from "../support/run.js";

let controller: ControllerProcess;
let kubectlPath: string;

beforeAll(async () => {
  kubectlPath = ensureKubectl();
  controller = await ControllerProcess.create();
  await controller.start();
}, 120_000);
afterAll(() => controller?.destroy());

const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  KUBECONFIG: controller.kubeconfig,
  HOME: controller.dir,
});

function kubectl(args: readonly string[], input?: string): Promise<RunResult> {
  return run(kubectlPath, args, {
    env: environment(),
    deadlineMs: 60_000,
    ...(input === undefined ? {} : { input }),
  });
}

async function ok(args: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await kubectl(args.split(" "), input);
  if (code !== 0) throw new Error(`kubectl ${args} ended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

async function refused(args: string, input?: string): Promise<string> {
  const { code, stdout, stderr } = await kubectl(args.split(" "), input);
  if (code === 0) throw new Error(`kubectl ${args} was not refused:\n${stdout}`);
  return stderr;
}

const apply = (document: string): Promise<string> => ok("apply -f -", document);
const namespace = (name: string): Promise<string> => ok(`create namespace ${name}`);
const network = (ns: string, name: string, vlan: number, more = ""): string => `
apiVersion: plinth.dev/v1alpha1
kind: Network
metadata: {name: ${name}, namespace: ${ns}, labels: {vlan: "${vlan}"}}
spec: {vlan: ${vlan}, subnets: [10.${vlan}.0.0/24]${more}}
---`;
const vm = (ns: string, name: string): string => `
apiVersion: plinth.dev/v1alpha1
kind: VirtualMachine
metadata: {name: ${name}, namespace: ${ns}, labels: {tier: web}}
spec:
  interfaces: [{name: front, network: front}]
---`;

describe("discovery and documentation", () => {
  test("api-resources lists every kind with its short names", async () => {
    const text = await ok("api-resources");
    for (const line of [
      /^virtualmachines +vm,vms +plinth\.dev\/v1alpha1 +true +VirtualMachine$/m,
      /^networkpolicies +netpol +networking\.k8s\.io\/v1 +true +NetworkPolicy$/m,
      /^hosts +plinth\.dev\/v1alpha1 +false +Host$/m,
      /^namespaces +ns +v1 +false +Namespace$/m,
    ]) {
      expect(text).toMatch(line);
    }
    expect(await ok("api-versions")).toContain("plinth.dev/v1alpha1");
    expect(await ok("version")).toMatch(/Server Version: v1\.32/);
  });

  test("explain shows fields of our kinds and of Kubernetes' own", async () => {
    expect(await ok("explain network.spec.vlan")).toContain("IEEE 802.1Q VLAN ID");
    expect(await ok("explain vm.spec.interfaces")).toMatch(/network\s+<string> -required-/);
    expect(await ok("explain networkpolicy.spec.ingress.from --recursive")).toMatch(/except\s+<\[\]string>/);
    expect(await refused("explain network.spec.nothing")).toContain('field "nothing" does not exist');
  });
});

describe("apply", () => {
  test("creates, sees nothing to do, changes, and removes what is no longer named", async () => {
    await namespace("apply");
    expect(await apply(network("apply", "front", 10, ", gateway: 10.10.0.1"))).toContain("front created");
    expect(await apply(network("apply", "front", 10, ", gateway: 10.10.0.1"))).toContain("front unchanged");
    expect(await apply(network("apply", "front", 10, ", mtu: 1400"))).toContain("front configured");
    const spec = JSON.parse(await ok("get network front -n apply -o json")).spec;
    expect(spec).toEqual({ vlan: 10, subnets: ["10.10.0.0/24"], mtu: 1400 });
  });

  test("a NetworkPolicy twice, through a strategic merge patch", async () => {
    await namespace("policy");
    const policy = (port: number): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: policy}
spec:
  podSelector: {matchLabels: {tier: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {role: client}}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]
    ports: [{port: ${port}, protocol: TCP}]`;
    expect(await apply(policy(80))).toContain("created");
    expect(await apply(policy(80))).toContain("unchanged");
    const verbose = await kubectl(["apply", "-v=8", "-f", "-"], policy(81));
    expect(verbose.stderr).toContain("application/strategic-merge-patch+json");
    expect(verbose.stdout).toContain("configured");
    expect(await ok("get netpol web -n policy -o jsonpath={.spec.ingress[0].ports[0].port}")).toBe("81");
    expect(await ok("describe netpol web -n policy")).toContain("Except: 10.1.0.0/16");
  });

  test("server-side dry run judges and changes nothing", async () => {
    await namespace("dry");
    const document = network("dry", "front", 11);
    expect(await ok("apply --dry-run=server -f -", document)).toContain("created (server dry run)");
    expect(await ok("get networks -n dry -o name")).toBe("");
    expect(await refused("apply --dry-run=server -f -", network("dry", "front", 5000))).toContain(
      "spec.vlan",
    );
  });
});

describe("server-side apply", () => {
  const mtu = (size: number): string => network("ssa", "front", 12, `, mtu: ${size}`);
  const managers = (): Promise<string> =>
    ok("get net front -n ssa --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}");

  test("takes over what client-side apply made, conflicts with other managers, and can be forced", async () => {
    await namespace("ssa");
    await apply(mtu(1400));
    expect(await managers()).toContain("kubectl-client-side-apply");
    const applied = "serverside-applied";
    expect(await ok("apply --server-side --dry-run=server -f -", mtu(1300))).toContain(applied);
    expect(await ok("apply --server-side -f -", mtu(1300))).toContain(applied);
    expect(await managers()).toContain("kubectl");
    const version = "get net front -n ssa -o jsonpath={.metadata.resourceVersion}";
    const before = await ok(version);
    expect(await ok("apply --server-side -f -", mtu(1300))).toContain(applied);
    expect(await ok(version)).toBe(before);
    const other = "apply --server-side --field-manager=other";
    const said = await refused(`${other} -f -`, mtu(1200));
    expect(said).toContain('Apply failed with 1 conflict: conflict with "kubectl"');
    expect(said).toContain(".spec.mtu");
    expect(await ok(`${other} --force-conflicts -f -`, mtu(1200))).toContain(applied);
    expect(await ok("get net front -n ssa -o jsonpath={.spec.mtu}")).toBe("1200");
    expect(await ok("apply view-last-applied net/front -n ssa")).toContain("mtu");
  });

  test("makes what is not there, in YAML with its own kind of list keys", async () => {
    await ok("apply --server-side -f -", vm("ssa", "web"));
    const second = vm("ssa", "web").replaceAll("front", "back");
    await ok("apply --server-side --field-manager=second -f -", second);
    expect(await ok("get vm web -n ssa -o jsonpath={.spec.interfaces[*].name}")).toBe("front back");
    expect(await refused("apply --server-side -f -", vm("nowhere", "web"))).toContain('"nowhere" not found');
  });
});

describe("get", () => {
  beforeAll(async () => {
    await namespace("get");
    await apply(network("get", "front", 20) + network("get", "back", 21));
  });

  test("prints tables, wide tables, YAML, JSON and names", async () => {
    expect(await ok("get networks -n get")).toMatch(
      /^NAME +VLAN +SUBNETS +AGE\nback +21 +10\.21\.0\.0\/24 +\d+s\nfront +20/,
    );
    expect(await ok("get net front -n get -o wide")).toMatch(/MTU +SEGMENT +GATEWAY/);
    expect(await ok("get net front -n get -o yaml")).toContain("vlan: 20");
    expect(JSON.parse(await ok("get net -n get -o json")).items).toHaveLength(2);
    expect(await ok("get net -n get -o name")).toBe("network.plinth.dev/back\nnetwork.plinth.dev/front\n");
    expect(await ok("get net -A --no-headers")).toMatch(/^get +back/m);
    expect(await ok("get net -n get --sort-by=.spec.vlan -o custom-columns=V:.spec.vlan")).toBe(
      "V\n20\n21\n",
    );
    expect(await ok("get net,vm,ns -n get")).toContain("namespace/default");
  });

  test("selects by labels and fields", async () => {
    expect(await ok("get net -n get -l vlan=20 -o name")).toBe("network.plinth.dev/front\n");
    expect(await ok("get net -n get -l vlan!=20 -o name")).toBe("network.plinth.dev/back\n");
    expect(await ok("get net -n get -l vlan -o name --field-selector=metadata.name=back")).toContain("back");
    expect(
      (await kubectl(["get", "net", "-n", "get", "-l", "vlan in (20,99)", "-o", "name"])).stdout,
    ).toContain("front");
    expect(await ok("get net -n get --field-selector=spec.vlan=21 -o name")).toBe(
      "network.plinth.dev/back\n",
    );
    expect(await refused("get net -n get --field-selector=spec.nothing=1")).toContain(
      "field label not supported",
    );
  });

  test("lists in pages", async () => {
    const text = await ok("get net -n get --chunk-size=1 -o name");
    expect(text).toBe("network.plinth.dev/back\nnetwork.plinth.dev/front\n");
  });

  test("names what is not there", async () => {
    expect(await refused("get net nothing -n get")).toContain('networks.plinth.dev "nothing" not found');
    expect(await refused("get spaceships")).toContain(
      'the server doesn\'t have a resource type "spaceships"',
    );
  });
});

test("get --watch shows changes as they happen", async () => {
  await namespace("watch");
  const args = ["get", "networks", "-n", "watch", "--watch", "--no-headers"];
  const child = spawn(kubectlPath, args, { env: environment(), stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  try {
    await apply(network("watch", "front", 30));
    await waitFor(
      () => /front +30/.test(said),
      () => `the creation does not show: ${said}`,
      20_000,
    );
    await apply(network("watch", "front", 31));
    await waitFor(
      () => /front +31/.test(said),
      () => `the change does not show: ${said}`,
      20_000,
    );
  } finally {
    await endChild(child);
  }
});

test("wait sees a condition, describe shows it with events", async () => {
  await namespace("wait");
  await apply(vm("wait", "web1"));
  await ok("wait vm/web1 -n wait --for=condition=ReferencesResolved=False --timeout=20s");
  await waitFor(
    async () => (await ok("describe vm web1 -n wait")).includes("ReferenceMissing"),
    "the event does not show",
    20_000,
  );
  const text = await ok("describe vm web1 -n wait");
  expect(text).toMatch(/Warning +ReferenceMissing +\S+ +controller +.*Network "front" does not exist/);
  expect(await ok("get events -n wait")).toMatch(/ReferenceMissing +virtualmachine\/web1/);
  expect(await ok("events -n wait --for virtualmachine/web1")).toContain("ReferenceMissing");
  await apply(network("wait", "front", 40));
  await ok("wait vm/web1 -n wait --for=condition=ReferencesResolved --timeout=20s");
});

test("a machine's Ports come, keep its labels and go with it", async () => {
  await namespace("ports");
  await apply(network("ports", "front", 41) + vm("ports", "web1"));
  await waitFor(
    async () => (await ok("get ports -n ports -o name")).includes("web1-front"),
    "no port is made",
    20_000,
  );
  await ok("label vm web1 -n ports tier- role=client");
  const labels = (): Promise<string> => ok("get port web1-front -n ports -o jsonpath={.metadata.labels}");
  await waitFor(async () => (await labels()) === '{"role":"client"}', "labels are not kept in step", 20_000);
  expect(await ok("delete vm web1 -n ports")).toContain("deleted");
  await waitFor(async () => (await ok("get ports -n ports -o name")) === "", "the port stays", 20_000);
});

describe("patch and edit", () => {
  beforeAll(async () => {
    await namespace("patch");
    await apply(network("patch", "front", 50));
  });
  const patched = async (type: string, patch: string): Promise<{ code: number | null; said: string }> => {
    const { code, stdout, stderr } = await kubectl([
      "patch",
      "net",
      "front",
      "-n",
      "patch",
      `--type=${type}`,
      "-p",
      patch,
    ]);
    return { code, said: stdout + stderr };
  };

  test("merge and JSON patches apply", async () => {
    expect((await patched("merge", '{"spec":{"mtu":1300}}')).said).toContain("patched");
    expect((await patched("merge", '{"spec":{"mtu":1300}}')).said).toContain("(no change)");
    const json =
      '[{"op":"test","path":"/spec/mtu","value":1300},{"op":"replace","path":"/spec/mtu","value":1200}]';
    expect((await patched("json", json)).said).toContain("patched");
    expect(await ok("get net front -n patch -o jsonpath={.spec.mtu}")).toBe("1200");
    expect((await patched("json", '[{"op":"remove","path":"/spec/none"}]')).code).toBe(1);
  });

  test("patches of the kinds of Kubernetes merge lists by key; ours refuse that type", async () => {
    expect((await patched("strategic", '{"spec":{"mtu":1300}}')).said).toMatch(/not supported|merge patch/);
    const secret =
      "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: patch, finalizers: [a.test/x]}\nstringData: {a: b}";
    await apply(secret);
    await ok('patch secret s -n patch -p {"metadata":{"finalizers":["b.test/y"]},"stringData":{"c":"d"}}');
    expect(JSON.parse(await ok("get secret s -n patch -o json"))).toMatchObject({
      metadata: { finalizers: ["a.test/x", "b.test/y"] },
      data: { a: "Yg==", c: "ZA==" },
    });
    await ok('patch secret s -n patch --type=merge -p {"metadata":{"finalizers":null}}');
  });

  test("label, annotate and replace work; a stale replacement is a conflict", async () => {
    await ok("label net front -n patch role=front");
    await ok("annotate net front -n patch note=hello");
    const before = await ok("get net front -n patch -o json");
    expect(JSON.parse(before).metadata).toMatchObject({
      labels: { role: "front" },
      annotations: { note: "hello" },
    });
    await ok("label net front -n patch role=other --overwrite");
    expect(await refused("replace -f -", before)).toContain("the object has been modified");
    expect(await ok("replace -f -", await ok("get net front -n patch -o json"))).toContain("replaced");
  });

  test("status is written by its own path only", async () => {
    const patch = '{"status":{"segmentId":77},"spec":{"mtu":999}}';
    const path = "patch net front -n patch --type=merge --subresource=status -p";
    await ok(`${path} ${patch}`);
    await ok('patch net front -n patch --type=merge -p {"status":{"segmentId":1}}');
    const { spec, status } = JSON.parse(await ok("get net front -n patch -o json"));
    expect([spec.mtu, status.segmentId]).toEqual([1200, 77]);
  });
});

describe("refusals name the field and what was expected", () => {
  beforeAll(async () => {
    await namespace("bad");
    await apply(network("bad", "front", 60));
  });
  const policy = (ports: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: bad}
spec: {podSelector: {}, ingress: [{ports: ${ports}}]}`;
  const volume = (size: string): string => `
apiVersion: plinth.dev/v1alpha1
kind: Volume
metadata: {name: v, namespace: bad}
spec: {size: ${size}}`;

  test.each<[string, () => string, RegExp]>([
    [
      "a VLAN out of range",
      () => network("bad", "x", 5000),
      /spec\.vlan: Invalid value: 5000: must be between 1 and 4094/,
    ],
    [
      "an overlapping subnet",
      () => network("bad", "x", 61).replace("10.61.0.0", "10.60.0.0"),
      /spec\.subnets\[0\].*overlaps with 10\.60\.0\.0\/24 of network "front"/,
    ],
    [
      "a wrong type",
      () => network("bad", "x", 61).replace("vlan: 61", 'vlan: "61"'),
      /spec\.vlan: Invalid value: "61": must be an integer/,
    ],
    [
      "a volume too large",
      () => volume("1Pi"),
      /spec\.size: Invalid value: "1Pi": must be a quantity from 1Mi to 4Ti/,
    ],
    [
      "an impossible port",
      () => policy("[{port: 70000}]"),
      /spec\.ingress\[0\]\.ports\[0\]\.port: Invalid value: 70000: must be between 1 and 65535/,
    ],
    ["an unknown field", () => network("bad", "x", 61, ", colour: red"), /unknown field "spec\.colour"/],
    ["a bad name", () => network("bad", "Not_A_Name", 61), /metadata\.name: Invalid value/],
    ["no such namespace", () => network("nowhere", "x", 61), /namespaces "nowhere" not found/],
  ])("%s", async (_, document, message) => {
    expect(await refused("apply -f -", document())).toMatch(message);
    expect(await ok("get net,vol,netpol -n bad -o name")).toBe("network.plinth.dev/front\n");
  });

  test("an unknown kind", async () => {
    const document = network("bad", "x", 61).replace("kind: Network", "kind: Spaceship");
    await refused("apply -f -", document);
    expect(await refused("apply --validate=false -f -", document)).toContain(
      'no matches for kind "Spaceship"',
    );
  });

  test("a wrong token is refused", async () => {
    const { code, stderr } = await kubectl(["get", "ns", "--token=wrong"]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/Unauthorized|logged in/);
  });
});

describe("delete", () => {
  test("waits for finalizers, by name, label and collection", async () => {
    await namespace("del");
    await apply([1, 2, 3].map((i) => network("del", `n${i}`, 70 + i)).join("\n"));
    await ok('patch net n1 -n del --type=merge -p {"metadata":{"finalizers":["a.test/x"]}}');
    expect(await ok("delete net n1 -n del --wait=false")).toContain("deleted");
    expect(await ok("get net n1 -n del -o jsonpath={.metadata.deletionTimestamp}")).not.toBe("");
    await ok('patch net n1 -n del --type=merge -p {"metadata":{"finalizers":null}}');
    expect(await refused("get net n1 -n del")).toContain("not found");
    await ok("delete net -n del -l vlan=72");
    await ok("delete net --all -n del");
    expect(await ok("get net -n del -o name")).toBe("");
  });

  test("a namespace takes its content with it", async () => {
    await namespace("gone");
    await apply(network("gone", "front", 80) + vm("gone", "web1"));
    await ok("delete namespace gone --timeout=30s");
    expect(await refused("get ns gone")).toContain("not found");
    expect(await ok("get net,vm,ports -A -o name")).not.toContain("gone");
    expect(await refused("delete namespace default")).toContain("may not be deleted");
  });

  test("owners take their dependents with them, unless these are to stay", async () => {
    await namespace("own");
    await apply(network("own", "a", 81) + network("own", "b", 82));
    const uid = await ok("get net a -n own -o jsonpath={.metadata.uid}");
    const owner = { apiVersion: "plinth.dev/v1alpha1", kind: "Network", name: "a", uid };
    const patch = JSON.stringify({ metadata: { ownerReferences: [owner] } });
    await ok(`patch net b -n own --type=merge -p ${patch}`);
    await ok("delete net a -n own --cascade=orphan");
    expect(await ok("get net -n own -o name")).toBe("network.plinth.dev/b\n");
    expect(await ok("get net b -n own -o jsonpath={.metadata.ownerReferences}")).toBe("");
    await apply(network("own", "a", 81));
    const again = await ok("get net a -n own -o jsonpath={.metadata.uid}");
    await ok(`patch net b -n own --type=merge -p ${patch.replace(uid, again)}`);
    await ok("delete net a -n own --cascade=foreground");
    expect(await ok("get net -n own -o name")).toBe("");
  });
});

test("kill -9 loses nothing that was acknowledged, and clients go on", async () => {
  await namespace("crash");
  const version = await ok("get ns crash -o jsonpath={.metadata.resourceVersion}");
  const client = await connectWithKubeconfig(controller.kubeconfig);
  const seen = new Set<string>();
  const informer = client.watchKind("Secret", {
    namespace: "crash",
    onChange: ({ type, object }) => void (type !== "deleted" && seen.add(object.metadata.name)),
  });
  await informer.synced;
  const acknowledged: string[] = [];
  let stop = false;
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    for (let i = 0; !stop; i++) {
      const name = `s-${writer}-${i}`;
      const secret = { metadata: { name, namespace: "crash" }, stringData: { i: String(i) } };
      await client
        .create("Secret", secret)
        .then(() => acknowledged.push(name))
        .catch(() => {});
    }
  });
  await waitFor(() => acknowledged.length > 40, "nothing is written", 30_000);
  await controller.end("SIGKILL");
  stop = true;
  await Promise.all(writers);
  await controller.start();
  const names = (await ok("get secrets -n crash -o name"))
    .split("\n")
    .map((line) => line.replace("secret/", ""));
  expect(acknowledged.filter((name) => !names.includes(name))).toEqual([]);
  await waitFor(() => acknowledged.every((name) => seen.has(name)), "the informer does not catch up", 30_000);
  const path = `/api/v1/namespaces/crash/secrets?watch=1&resourceVersion=${version}&timeoutSeconds=1`;
  const [line = ""] = (await ok(`get --raw ${path}`)).split("\n");
  expect(JSON.parse(line)).toMatchObject({ type: "ADDED", object: { kind: "Secret" } });
  informer.close();
  client.close();
});

describe("a second controller is refused by name", () => {
  test("in the same directory", async () => {
    const args = [PLINTH, "controller", "--dir", controller.dir, "--port", "0"];
    const { code, stderr } = await run(process.execPath, args, { deadlineMs: 30_000 });
    expect([code, stderr.includes("[ALREADY_RUNNING]")]).toEqual([1, true]);
  });

  test("on the same port, before its state is touched", async () => {
    const other = await ControllerProcess.create();
    try {
      const args = [PLINTH, "controller", "--dir", other.dir, "--port", String(controller.port)];
      const { code, stderr } = await run(process.execPath, args, { deadlineMs: 30_000 });
      expect([code, stderr.includes("[PORT_IN_USE]")]).toEqual([1, true]);
      await expect(writeFile(join(other.dir, "state", "x"), "")).rejects.toMatchObject({ code: "ENOENT" });
    } finally {
      await other.destroy();
    }
  });
});
