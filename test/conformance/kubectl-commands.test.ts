// Commands of kubectl beside get and apply, as people try them: who am I, edit, diff, and words for what is not there.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../base/time/index.js";
import { ensureKubectl } from "../../tools/programs/kubectl.mjs";
import { ControllerProcess } from "../support/controller-process.js";
import { PLINTH, type RunResult, run } from "../support/run.js";

let controller: ControllerProcess;
let kubectlPath: string;
let dir: string;

beforeAll(async () => {
  kubectlPath = ensureKubectl();
  dir = mkdtempSync("/tmp/pkc-");
  controller = await ControllerProcess.create();
  await controller.start();
  await ok("create namespace shop");
  await ok(`apply -f ${file("front.yaml", network(10))}`);
}, 120_000);
afterAll(async () => {
  await controller?.destroy();
  rmSync(dir, { recursive: true, force: true });
});

function kubectl(words: string, environment: NodeJS.ProcessEnv = {}): Promise<RunResult> {
  const env = { ...process.env, KUBECONFIG: controller.kubeconfig, HOME: dir, ...environment };
  return run(kubectlPath, words.split(" "), { env, deadlineMs: 60_000 });
}

async function ok(words: string, environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const { code, stdout, stderr } = await kubectl(words, environment);
  if (code !== 0) throw new Error(`kubectl ${words} ended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

const network = (vlan: number): string => `
apiVersion: plinth.dev/v1alpha1
kind: Network
metadata: {name: front, namespace: shop}
spec: {vlan: ${vlan}, subnets: [10.10.0.0/24]}
`;

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text, { mode: 0o755 });
  return path;
}

describe("asks about itself", () => {
  test("the bearer of the token may do everything", async () => {
    expect(await ok("auth can-i create vm")).toBe("yes\n");
    expect(await ok("auth can-i delete networkpolicies -n shop")).toBe("yes\n");
    expect(await ok("auth can-i --list")).toMatch(/^\*\.\* +\[\] +\[\] +\[\*\]$/m);
    expect(await ok("auth whoami")).toMatch(
      /Username +plinth\nGroups +\[system:masters system:authenticated\]/,
    );
  });

  test("cluster-info names the server", async () => {
    expect(await ok("cluster-info")).toContain(`is running at https://127.0.0.1:${controller.port}`);
  });
});

test("takes every policy of the examples as it is", async () => {
  const folder = fileURLToPath(new URL("../../examples/policies", import.meta.url));
  const applied = (await ok(`apply -n shop -f ${folder}`)).trim().split("\n");
  expect(
    applied.filter((line) => /^networkpolicy\.networking\.k8s\.io\/\S+ created$/.test(line)),
  ).toHaveLength(readdirSync(folder).length);
  expect(await ok(`diff -n shop -f ${folder}`)).toBe("");
  await ok("delete networkpolicies --all -n shop");
  expect(await ok("get netpol -n shop -o name")).toBe("");
});

test("explains by OpenAPI 2, too, which it reads in its binary form", async () => {
  const older = await ok("explain networkpolicy.spec.ingress.from.ipBlock -o plaintext-openapiv2");
  expect(older).toMatch(/cidr\s+<string> -required-\n +Address range[\s\S]*except\s+<\[\]string>/);
});

describe("roles", () => {
  test("are made, bound and felt, for users and service accounts", async () => {
    await ok("create role keeper --verb=get,list,create --resource=networks.plinth.dev -n shop");
    await ok("create rolebinding jane --role=keeper --user=jane -n shop");
    await ok("create clusterrole looker --verb=get,list --resource=hosts.plinth.dev --resource-name=h1");
    await ok("create clusterrolebinding jane --clusterrole=looker --user=jane --group=ops");
    expect(await ok("auth can-i create networks -n shop --as jane")).toBe("yes\n");
    expect((await kubectl("auth can-i delete networks -n shop --as jane")).stdout).toBe("no\n");
    expect(await ok("get networks -n shop -o name --as jane")).toBe("network.plinth.dev/front\n");
    expect((await kubectl("delete network front -n shop --as jane")).stderr).toContain(
      'networks.plinth.dev "front" is forbidden: User "jane" cannot delete resource "networks" in API group "plinth.dev" in the namespace "shop"',
    );
    expect(await ok("auth whoami --as jane --as-group ops")).toMatch(/jane[\s\S]*ops system:authenticated/);
    expect(await ok("describe rolebinding jane -n shop")).toMatch(/User +jane/);
    await ok("create serviceaccount robot -n shop");
    await ok("create rolebinding robot --clusterrole=view --serviceaccount=shop:robot -n shop");
    const token = (await ok("create token robot -n shop --duration=20m")).trim();
    const config = file("robot.yaml", await ok("config view --raw --minify"));
    const env = { KUBECONFIG: config };
    await ok(`config set-credentials plinth --token=${token}`, env);
    expect(await ok("auth whoami", env)).toContain("system:serviceaccount:shop:robot");
    expect(await ok("get networks -n shop -o name", env)).toBe("network.plinth.dev/front\n");
    expect((await kubectl("get secrets -n shop", env)).stderr).toContain("cannot list resource");
  });

  test("a user has a certificate of their own", async () => {
    const words = ["user", "kubeconfig", "jane", "--group", "ops", "--dir", controller.dir];
    const made = await run(process.execPath, [PLINTH, ...words], { deadlineMs: 60_000 });
    const env = { KUBECONFIG: file("jane.yaml", made.stdout) };
    expect(await ok("auth whoami", env)).toMatch(/Username +jane\nGroups +\[ops system:authenticated\]/);
    expect((await kubectl("get secrets -A", env)).stderr).toContain(
      'secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" at the cluster scope',
    );
    const get = ["get", "net", "-n", "shop", "-o", "name", "--kubeconfig", join(dir, "jane.yaml")];
    const { stdout } = await run(process.execPath, [PLINTH, ...get], { deadlineMs: 60_000 });
    expect(stdout).toBe("network/front\n");
  });
});

test("a quota is made, described, and refuses what goes beyond it", async () => {
  await ok("create namespace small");
  await ok("create quota most --hard=secrets=1,cpu=2 -n small");
  await ok("create secret generic first -n small --from-literal=a=b");
  const { code, stderr } = await kubectl("create secret generic second -n small --from-literal=a=b");
  const why = "exceeded quota: most, requested: secrets=1, used: secrets=1, limited: secrets=1";
  expect([code, stderr]).toEqual([1, expect.stringContaining(`secrets "second" is forbidden: ${why}`)]);
  expect(await ok("describe quota most -n small")).toMatch(/cpu +0 +2\n *secrets +1 +1/);
  await ok("delete namespace small");
});

describe("reachability", () => {
  const machine = (name: string): string => `
apiVersion: plinth.dev/v1alpha1
kind: VirtualMachine
metadata: {name: ${name}, namespace: reach, labels: {tier: ${name}}}
spec: {interfaces: [{name: front, network: front}]}
---`;
  const PROMISE = `
apiVersion: plinth.dev/v1alpha1
kind: Invariant
metadata: {name: web-to-db}
spec: {assert: Always, from: {podSelector: {matchLabels: {tier: web}}}, to: {podSelector: {matchLabels: {tier: db}}}}
`;
  // Without a podSelector it is about every machine, as for Kubernetes.
  const SHUT = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut, namespace: reach}
spec: {ingress: []}
`;

  test("gained and lost is told by a dry run on the server, and what breaks a promise is refused", async () => {
    await ok("create namespace reach");
    expect(await ok("get ns -l kubernetes.io/metadata.name=reach -o name")).toBe("namespace/reach\n");
    expect(await ok("label ns reach kubernetes.io/metadata.name-")).toContain("namespace/reach");
    expect(await ok("get ns -l kubernetes.io/metadata.name=reach -o name")).toBe("namespace/reach\n");
    const front = network(60).replace("shop", "reach").replace("10.10", "10.60");
    await ok(`apply -f ${file("reach.yaml", `${front}---${machine("web")}${machine("db")}`)}`);
    for (const name of ["web", "db"])
      await waitFor(
        async () =>
          (await kubectl(`get port ${name}-front -n reach -o jsonpath={.status.addresses}`)).stdout !== "",
        `${name} has no address`,
        30_000,
      );
    const shut = file("shut.yaml", SHUT);
    const { code, stdout, stderr } = await kubectl(`apply --dry-run=server -f ${shut}`);
    expect([code, stdout]).toEqual([0, expect.stringContaining("created (server dry run)")]);
    expect(stderr.split("\n").sort()).toEqual([
      "",
      "Warning: loses reach/db[VirtualMachine] => reach/web[VirtualMachine] : All Connections",
      "Warning: loses reach/web[VirtualMachine] => reach/db[VirtualMachine] : All Connections",
    ]);
    expect(await ok("get networkpolicies -n reach -o name")).toBe("");
    await ok(`apply -f ${file("promise.yaml", PROMISE)}`);
    const refused = await kubectl(`apply -f ${shut}`);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringContaining(
        'networkpolicies.networking.k8s.io "shut" is forbidden: invariant web-to-db would be broken: reach/web',
      ),
    ]);
    await ok("delete invariant web-to-db");
    await ok(`apply -f ${shut}`);
    expect(await ok("get netpol shut -n reach -o jsonpath={.spec.podSelector}{.spec.policyTypes}")).toBe(
      '{}["Ingress"]',
    );
    const why = [
      "policy",
      "explain",
      "web",
      "reach/db[VirtualMachine]@front:80",
      "-n",
      "reach",
      "-o",
      "json",
    ];
    const { stdout: told } = await run(process.execPath, [PLINTH, ...why, "--dir", controller.dir], {
      deadlineMs: 60_000,
    });
    expect(JSON.parse(told)).toMatchObject({
      allowed: false,
      pairs: [
        {
          network: "reach/front",
          source: "reach/web-front",
          destination: "reach/db-front",
          text: [expect.any(String), "may not reach reach/db-front: no rule of policy reach/shut allows it"],
        },
      ],
    });
    const gains = await kubectl("delete netpol shut -n reach --dry-run=server");
    expect([gains.stdout, gains.stderr.split("\n").length]).toEqual([
      'networkpolicy.networking.k8s.io "shut" deleted (server dry run)\n',
      3,
    ]);
    expect(gains.stderr).toContain("gains reach/web[VirtualMachine] => reach/db[VirtualMachine]");
    await ok("delete namespace reach");
  });
});

describe("edit", () => {
  const editor = (expression: string): NodeJS.ProcessEnv => ({
    KUBE_EDITOR: file("editor", `#!/bin/sh\nexec sed -i '${expression}' "$1"\n`),
  });

  test("sends what the editor left", async () => {
    expect(await ok("edit net front -n shop", editor("s/vlan: 10/vlan: 12/"))).toContain("front edited");
    expect(await ok("get net front -n shop -o jsonpath={.spec.vlan}")).toBe("12");
    expect((await kubectl("edit net front -n shop", editor("s/^ *$//"))).stderr).toContain("no changes made");
  });

  test("is refused with the field, and nothing has changed", async () => {
    const { code, stderr } = await kubectl("edit net front -n shop", editor("s/vlan: 12/vlan: 5000/"));
    expect([code, stderr]).toEqual([1, expect.stringContaining('networks.plinth.dev "front" is invalid')]);
    expect(await ok("get net front -n shop -o jsonpath={.spec.vlan}")).toBe("12");
  });
});

test("diff shows what apply would change, and ends with 1 exactly then", async () => {
  await ok(`apply -f ${file("front.yaml", network(20))}`);
  const same = await kubectl(`diff -f ${file("front.yaml", network(20))}`);
  expect([same.code, same.stdout]).toEqual([0, ""]);
  const other = await kubectl(`diff -f ${file("front.yaml", network(21))}`);
  expect(other.code).toBe(1);
  expect(other.stdout).toMatch(/^- {2}vlan: 20\n\+ {2}vlan: 21$/m);
});

test("wait sees values, creation and deletion", async () => {
  await ok("wait --for=jsonpath={.status.segmentId} net/front -n shop --timeout=20s");
  await ok("wait --for=create net/front -n shop --timeout=20s");
  const gone = ok("wait --for=delete net/late -n shop --timeout=30s");
  await ok(`create -f ${file("late.yaml", network(30).replace("front", "late").replace("10.10", "10.11"))}`);
  await ok("delete net late -n shop");
  await gone;
  const { code, stderr } = await kubectl("wait --for=condition=Never net/front -n shop --timeout=1s");
  expect([code, stderr]).toEqual([1, expect.stringContaining("timed out waiting")]);
});

describe("what is not there is refused in words that say so", () => {
  test.each([
    ["create configmap x --from-literal=a=b", "the server could not find the requested resource"],
    ["create token default", 'serviceaccounts "default" not found'],
    ["get pods", `the server doesn't have a resource type "pods"`],
    ["logs web1", `the server doesn't have a resource type "pods"`],
    ["exec web1 -- ls", `the server doesn't have a resource type "pods"`],
    ["scale net front -n shop --replicas=2", "the server could not find the requested resource"],
    ["get --raw /apis/plinth.dev/v1beta1", "the server could not find the requested resource"],
    ["delete --raw /apis/plinth.dev/v1alpha1/networks", "does not allow this method"],
    ["replace --raw /apis/plinth.dev/v1alpha1/namespaces/shop/networks -f -", "does not allow this method"],
  ])("%s", async (words, message) => {
    const { code, stdout, stderr } = await run(kubectlPath, words.split(" "), {
      env: { ...process.env, KUBECONFIG: controller.kubeconfig, HOME: dir },
      deadlineMs: 60_000,
      input: "{}",
    });
    expect([code, stdout + stderr]).toEqual([1, expect.stringContaining(message)]);
  });
});
