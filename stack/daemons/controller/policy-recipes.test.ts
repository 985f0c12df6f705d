// The policies of examples/policies as a user would apply them: each alone, or with a default that it is made for, stored
// by the API and judged by `explain` between machines of one network; and judged as documents, other namespaces included.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { silentLog } from "../../../base/log/index.js";
import { openMemoryStore, type Store } from "../../../base/store/index.js";
import { systemClock, waitFor } from "../../../base/time/index.js";
import { analysis, type Explanation } from "../../../sdn-controller/index.js";
import { LocalClient, ResourceRegistry } from "../../api/index.js";
import { type ApiObject, kindByName } from "../../resources/index.js";
import { openDirectory } from "../directory.js";
import { reconcilePorts } from "./port-controller.js";
import { SdnPart } from "./sdn.js";

const FOLDER = new URL("../../../examples/policies/", import.meta.url);
const OUTSIDE = "203.0.113.7";
const NAMESPACES = { default: {}, prod: { purpose: "production" }, dev: {} };
/** "namespace/name"; those of default exist as machines, too, all on one network. The web server names a port. */
const PODS: Readonly<Record<string, Record<string, string>>> = {
  "default/web": { tier: "web" },
  "default/api": { tier: "api", role: "monitor" },
  "default/db": { tier: "db" },
  "default/ops": {},
  "prod/app": { role: "monitor" },
  "prod/job": {},
  "dev/app": { role: "monitor" },
};

/** By file: "SOURCE DESTINATION PORT[/udp]" of what is allowed and what is denied; names without namespace are of default. */
const RECIPES: Readonly<
  Record<string, { readonly yes: string[]; readonly no: string[]; readonly with?: string }>
> = {
  "deny-all-to-one": {
    yes: ["api web 80", "db api 80"],
    no: ["api db 80", `${OUTSIDE} db 80`, "prod/app db 80"],
  },
  "allow-some-to-one": {
    yes: ["api db 5432", "api db 53/udp", "db ops 1"],
    no: ["web db 5432", "ops db 5432", `${OUTSIDE} db 1`],
  },
  "allow-all-to-one": {
    with: "default-deny-ingress",
    yes: ["ops db 1", `${OUTSIDE} db 1`, "dev/app db 1"],
    no: ["ops web 1"],
  },
  "default-deny-ingress": {
    yes: ["web prod/app 1", `web ${OUTSIDE} 1`],
    no: ["ops web 1", "web ops 1", `${OUTSIDE} ops 1`],
  },
  "default-allow-ingress": {
    with: "default-deny-ingress",
    yes: ["ops web 1", `${OUTSIDE} ops 1`, "dev/app db 1"],
    no: [],
  },
  "own-namespace-only": {
    yes: ["ops web 1", "web db 1", `web ${OUTSIDE} 1`],
    no: ["prod/app web 1", `${OUTSIDE} web 1`],
  },
  "from-all-namespaces": { yes: ["ops web 1", "prod/job web 1", "dev/app web 1"], no: [`${OUTSIDE} web 1`] },
  "from-one-namespace": { yes: ["prod/app web 1", "prod/job web 1"], no: ["dev/app web 1", "ops web 1"] },
  "from-namespaces-by-name": {
    yes: ["prod/app web 1"],
    no: ["dev/app web 1", "ops web 1", `${OUTSIDE} web 1`],
  },
  "from-some-of-a-namespace": {
    yes: ["prod/app web 1"],
    no: ["prod/job web 1", "dev/app web 1", "api web 1"],
  },
  "from-either": { yes: ["prod/job web 1", "api web 1"], no: ["dev/app web 1", "ops web 1"] },
  "from-everywhere": {
    with: "default-deny-ingress",
    yes: [`${OUTSIDE} web 1`, "ops web 1", "dev/app web 9/udp"],
    no: ["ops db 1"],
  },
  "one-port": {
    yes: ["api web 9100", "api web 8081"],
    no: ["api web 80", "api web 9100/udp", "ops web 9100", "prod/app web 8081"],
  },
  "port-range": {
    yes: ["ops web 1", "db ops 32000"],
    no: [`web ${OUTSIDE} 32000`, "web prod/app 80", "web ops 31999", "web ops 32769"],
  },
  "address-blocks": {
    yes: ["api db 6379", "172.17.2.1 db 6379", "prod/job db 6379", "db 198.51.100.9 5978"],
    no: [
      "api db 6380",
      "172.17.1.9 db 6379",
      "ops db 6379",
      "db 198.51.100.9 5979",
      "db api 5978",
      "db 198.51.101.1 5978",
    ],
  },
  "no-egress": { yes: ["web db 1", `${OUTSIDE} db 1`], no: ["db web 1", `db ${OUTSIDE} 53/udp`] },
  "names-only-egress": {
    yes: ["db web 53", `db ${OUTSIDE} 53/udp`],
    no: ["db web 80", `db ${OUTSIDE} 54/udp`],
  },
  "default-deny-egress": {
    yes: [`${OUTSIDE} web 1`, "prod/app web 1"],
    no: ["web db 1", `ops ${OUTSIDE} 1`, "web prod/app 1"],
  },
  "default-allow-egress": {
    with: "default-deny-egress",
    yes: ["web db 1", `ops ${OUTSIDE} 1`, "web prod/app 1"],
    no: [],
  },
  "no-outside": { yes: ["web db 1", "web prod/app 1", `${OUTSIDE} web 1`], no: [`web ${OUTSIDE} 1`] },
  "default-deny-all": {
    yes: ["prod/app dev/app 1"],
    no: ["web db 1", `ops ${OUTSIDE} 1`, `${OUTSIDE} ops 1`, "prod/app web 1"],
  },
};

const document = (name: string): ApiObject =>
  parse(readFileSync(new URL(`${name}.yaml`, FOLDER), "utf8")) as ApiObject;

interface Row {
  readonly ends: readonly [string, string];
  readonly port: number;
  readonly protocol: "TCP" | "UDP";
}
function rowOf(text: string): Row {
  const [from = "", to = "", what = ""] = text.split(" ");
  const full = (end: string): string => (/[/.]/.test(end) ? end : `default/${end}`);
  const [port = "", protocol = "tcp"] = what.split("/");
  return {
    ends: [full(from), full(to)],
    port: Number(port),
    protocol: protocol.toUpperCase() as Row["protocol"],
  };
}

let dir: string;
let store: Store;
let registry: ResourceRegistry;
let part: SdnPart;
beforeAll(async () => {
  dir = mkdtempSync("/tmp/prec-");
  store = openMemoryStore();
  registry = new ResourceRegistry({ store, clock: systemClock });
  const client = new LocalClient({ component: "controller" }, { registry, clock: systemClock });
  part = new SdnPart({ client, layout: openDirectory(dir), clock: systemClock, log: silentLog });
  await part.start();
  for (const [name, labels] of Object.entries(NAMESPACES))
    await client.create("Namespace", { metadata: { name, labels } });
  const metadata = { namespace: "default", name: "net" };
  await client.create("Network", { metadata, spec: { vlan: 7, subnets: ["10.7.0.0/24"] } });
  for (const [key, labels] of Object.entries(PODS)) {
    const [namespace, name] = key.split("/") as [string, string];
    if (namespace !== "default") continue;
    const ports = name === "web" ? [{ name: "metrics", port: 9100 }] : [];
    const spec = { interfaces: [{ name: "eth0", network: "net" }], ports };
    await registry.create(kindByName("VirtualMachine"), namespace, { metadata: { name, labels }, spec });
  }
  await reconcilePorts(client, (await client.list("VirtualMachine")).items, []);
  const addresses = async () =>
    (await client.list("Port")).items.map(({ status }) => status?.addresses?.length ?? 0);
  await waitFor(
    async () => (await addresses()).join() === "1,1,1,1",
    () => "an address for each port",
    30_000,
    5,
  );
});
afterAll(async () => {
  await part?.close();
  await store?.close();
  rmSync(dir, { recursive: true, force: true });
});

/** By the controller that was told what is stored; undefined for rows that are about other namespaces. */
async function live({ ends, port, protocol }: Row): Promise<boolean | undefined> {
  if (ends.some((end) => end.includes("/") && !end.startsWith("default/"))) return undefined;
  const [source, destination] = ends.map((end) => (end.includes("/") ? `${end}-eth0` : end));
  const explain = part.methods["sdn.explain"] as (params: object) => Explanation;
  return explain({ source, destination, port, protocol }).allowed;
}

function offline(policies: readonly ApiObject[], { ends, port, protocol }: Row): boolean {
  const pods = Object.entries(PODS).map(([key, labels]) => {
    const [namespace, name] = key.split("/");
    const containers = [
      { name: "c", ports: key === "default/web" ? [{ name: "metrics", containerPort: 9100 }] : [] },
    ];
    return { apiVersion: "v1", kind: "Pod", metadata: { namespace, name, labels }, spec: { containers } };
  });
  const namespaces = Object.entries(NAMESPACES).map(([name, labels]) => ({
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name, labels },
  }));
  const documents = [...namespaces, ...pods, ...policies].map((value) => ({ value, where: "recipe" }));
  const cluster = analysis.clusterOf(analysis.readManifest(documents));
  expect(cluster.problems).toEqual([]);
  const [from, to] = ends.map((end) => analysis.findEnd(cluster, end)) as [analysis.End, analysis.End];
  const answer = new analysis.Evaluator(cluster.policies).answer(from, to);
  return analysis.isAllowed(answer, analysis.connections(protocol, { first: port, last: port }));
}

describe("the policies of examples/policies", () => {
  it("are all of them tried", () => {
    const files = readdirSync(FOLDER).map((file) => file.replace(/\.yaml$/, ""));
    expect(Object.keys(RECIPES).sort()).toEqual(files.sort());
  });

  it.each(Object.entries(RECIPES))("%s", async (name, { yes, no, with: other }) => {
    const kind = kindByName("NetworkPolicy");
    const policies = [name, ...(other === undefined ? [] : [other])].map(document);
    for (const policy of policies) {
      const { warnings } = await registry.create(kind, "default", policy, { fieldValidation: "Strict" });
      expect(warnings).toEqual([]);
    }
    // What has been stored is told to the controller in the next turns of the event loop.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    const verdicts: unknown[] = [];
    for (const text of [...yes, ...no]) {
      const row = rowOf(text);
      verdicts.push([text, offline(policies, row), await live(row)]);
    }
    const all = { namespace: "default", matches: () => true };
    await registry.deleteCollection(kind, all, {});
    expect(verdicts).toEqual(
      [...yes, ...no].map((text) => {
        const isAllowed = yes.includes(text);
        const isElsewhere = /prod|dev/.test(text);
        return [text, isAllowed, isElsewhere ? undefined : isAllowed];
      }),
    );
  });
});
