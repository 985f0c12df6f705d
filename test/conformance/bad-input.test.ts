// Bad input to the resource API and to every command: the right status with the field and what was expected there,
// nothing half-applied, errors on standard error with an exit code that is not 0.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { ControllerProcess } from "../support/controller-process.js";
import { plinthRefuses } from "../support/refusal.js";
import { PLINTH, ROOT, run, runOk } from "../support/run.js";

interface Answer {
  readonly status: number;
  readonly body: {
    readonly kind?: string;
    readonly message?: string;
    readonly details?: { readonly causes?: readonly { readonly field: string; readonly message: string }[] };
    readonly items?: readonly { readonly metadata: { readonly name: string } }[];
    readonly metadata?: { readonly generation: number };
    readonly spec?: object;
  };
}

let controller: ControllerProcess;
let token: string;
const agent = new Agent({ keepAlive: true, rejectUnauthorized: false, maxSockets: 4 });

beforeAll(async () => {
  controller = await ControllerProcess.create();
  await controller.start();
  token = readFileSync(join(controller.dir, "token"), "utf8").trim();
}, 60_000);
afterAll(async () => {
  agent.destroy();
  await controller?.destroy();
});

function send(method: string, path: string, body?: unknown, type = "application/json"): Promise<Answer> {
  const bytes = typeof body === "string" ? body : JSON.stringify(body);
  const headers = {
    authorization: `Bearer ${token}`,
    ...(body === undefined ? {} : { "content-type": type }),
  };
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port: controller.port,
      method,
      path,
      headers,
      agent,
      timeout: 20_000,
    };
    const sent = request(options, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }));
    });
    sent.on("timeout", () => sent.destroy(new Error(`no answer to ${method} ${path}`)));
    sent.on("error", reject);
    sent.end(bytes);
  });
}

const PLURALS: Readonly<Record<string, string>> = {
  Network: "networks",
  Volume: "volumes",
  VirtualMachine: "virtualmachines",
  NetworkPolicy: "networkpolicies",
  NetworkFunction: "networkfunctions",
};

function collection(kind: string): string {
  const group = kind === "NetworkPolicy" ? "networking.k8s.io/v1" : "plinth.dev/v1alpha1";
  return `/apis/${group}/namespaces/default/${PLURALS[kind]}`;
}

function document(kind: string, spec: object, name = "x"): object {
  const apiVersion = kind === "NetworkPolicy" ? "networking.k8s.io/v1" : "plinth.dev/v1alpha1";
  return { apiVersion, kind, metadata: { name }, spec };
}

const policy = (port: object) => ({ podSelector: {}, ingress: [{ ports: [port] }] });
const nic = { name: "a", network: "n" };

describe("a document is refused with 422, its field and what was expected", () => {
  test.each<[kind: string, spec: object, field: string, message: string]>([
    ["Network", { vlan: 4095, subnets: ["10.0.0.0/24"] }, "spec.vlan", "must be between 1 and 4094"],
    ["Network", { vlan: 0, subnets: ["10.0.0.0/24"] }, "spec.vlan", "must be between 1 and 4094"],
    ["Network", { vlan: "ten", subnets: ["10.0.0.0/24"] }, "spec.vlan", "must be an integer"],
    ["Network", { subnets: ["10.0.0.0/24"] }, "spec.vlan", "Required"],
    ["Network", { vlan: 1, subnets: ["10.0.0.0/24", "10.0.0.128/25"] }, "spec.subnets[1]", "overlaps with"],
    ["Network", { vlan: 1, subnets: ["10.9.0.0/16"] }, "spec.subnets[0]", 'of network "taken"'],
    ["Network", { vlan: 9, subnets: ["10.0.0.0/24"] }, "spec.vlan", 'used by network "taken"'],
    ["Network", { vlan: 1, subnets: ["10.0.0.1/24"] }, "spec.subnets[0]", "without host bits"],
    ["Network", { vlan: 1, subnets: "10.0.0.0/24" }, "spec.subnets", "must be a"],
    ["Volume", { size: "5Ti" }, "spec.size", "from 1Mi to 4Ti"],
    ["Volume", { size: "-1Gi" }, "spec.size", "from 1Mi to 4Ti"],
    ["Volume", { size: {} }, "spec.size", "must be"],
    ["Volume", { size: "1Gi", copies: 99 }, "spec.copies", "between 1 and 5"],
    ["NetworkPolicy", policy({ port: 70_000 }), "spec.ingress[0].ports[0].port", "between 1 and 65535"],
    ["NetworkPolicy", policy({ port: 0 }), "spec.ingress[0].ports[0].port", "between 1 and 65535"],
    ["NetworkPolicy", policy({ port: "no_name!" }), "spec.ingress[0].ports[0].port", "must"],
    ["NetworkPolicy", policy({ port: 90, endPort: 80 }), "spec.ingress[0].ports[0].endPort", "greater than"],
    ["NetworkPolicy", policy({ protocol: "ICMP" }), "spec.ingress[0].ports[0].protocol", '"TCP", "UDP"'],
    ["VirtualMachine", { memory: "lots", interfaces: [nic] }, "spec.memory", "must be"],
    ["VirtualMachine", { powerState: "Flying" }, "spec.powerState", '"Running"'],
    ["VirtualMachine", { interfaces: [nic, nic] }, "spec.interfaces[1].name", "Duplicate"],
  ])("%s %j: %s", async (kind, spec, field, message) => {
    const taken = document("Network", { vlan: 9, subnets: ["10.9.0.0/24"] }, "taken");
    expect([201, 409]).toContain((await send("POST", collection("Network"), taken)).status);
    const { status, body } = await send("POST", collection(kind), document(kind, spec));
    expect([status, body.kind], JSON.stringify(body)).toEqual([422, "Status"]);
    expect(body.details?.causes).toContainEqual(
      expect.objectContaining({ field, message: expect.stringContaining(message) }),
    );
    expect((await send("GET", `${collection(kind)}/x`)).status).toBe(404);
  });

  test("a patch that would make it so changes nothing", async () => {
    const path = `${collection("Network")}/steady`;
    await send(
      "POST",
      collection("Network"),
      document("Network", { vlan: 77, subnets: ["10.77.0.0/24"] }, "steady"),
    );
    const before = await send("GET", path);
    const bad = await send("PATCH", path, { spec: { vlan: 9999 } }, "application/merge-patch+json");
    expect([bad.status, bad.body.details?.causes?.[0]?.field]).toEqual([422, "spec.vlan"]);
    // The status comes when the SDN controller has seen it.
    const { metadata, spec } = (await send("GET", path)).body;
    expect([metadata?.generation, spec]).toEqual([before.body.metadata?.generation, before.body.spec]);
  });

  test("every field of the example with a value of any other kind is accepted or refused by name", async () => {
    const example = parseAllDocuments(readFileSync(join(ROOT, "examples", "three-tier.yaml"), "utf8"));
    const values = [
      null,
      true,
      -1,
      1e300,
      "",
      "x".repeat(300),
      "../..",
      "\u0000",
      [null],
      { a: null },
      "5000Ti",
    ];
    const requests: { path: string; body: unknown }[] = [];
    const seen = new Set<string>();
    for (const document of example) {
      const object = document.toJS() as { kind: string; metadata: { namespace?: string }; spec?: object };
      if (object.spec === undefined || seen.has(object.kind)) continue;
      seen.add(object.kind);
      object.metadata.namespace = "default";
      for (const place of placesOf(object.spec)) {
        for (const value of values) {
          const body = { ...object, spec: replaceAt(object.spec, place, value) };
          requests.push({ path: `${collection(object.kind)}?dryRun=All`, body });
        }
      }
    }
    expect(seen.size).toBeGreaterThanOrEqual(5);
    for (const { path, body } of requests) {
      const { status, body: answer } = await send("POST", path, body);
      expect([201, 422], `${JSON.stringify(body)}: ${JSON.stringify(answer)}`).toContain(status);
      if (status === 422) expect(answer.details?.causes?.[0]?.field, JSON.stringify(body)).toMatch(/^spec/);
    }
  });
});

test.each<[what: string, method: string, path: string, body: unknown, status: number]>([
  ["an unknown kind", "POST", "/apis/plinth.dev/v1alpha1/namespaces/default/spaceships", {}, 404],
  ["an unknown group", "GET", "/apis/nowhere.dev/v1/things", undefined, 404],
  ["a kind at another's path", "POST", collection("Network"), document("Volume", { size: "1Gi" }), 400],
  [
    "a missing namespace",
    "POST",
    collection("Volume").replace("default", "none"),
    document("Volume", { size: "1Gi" }),
    404,
  ],
  ["no JSON", "POST", collection("Network"), '{"a"', 400],
  ["no object", "POST", collection("Network"), "[1,2]", 400],
  ["a prototype", "POST", collection("Network"), '{"__proto__":{"a":1}}', 400],
  ["endless nesting", "POST", "/api/v1/namespaces", `{"metadata":${nest(100_000)}}`, 400],
  ["a path that is none", "GET", "/api/v1/namespaces/%zz", undefined, 400],
  ["a bad selector", "GET", "/api/v1/namespaces?labelSelector=%28%28", undefined, 400],
  ["a bad limit", "GET", "/api/v1/namespaces?limit=-1", undefined, 400],
  ["a bad watch", "GET", "/api/v1/namespaces?watch=1&resourceVersion=abc", undefined, 400],
])("%s is answered with a Status", async (_what, method, path, body, status) => {
  const answer = await send(method, path, body);
  expect([answer.status, answer.body.kind], JSON.stringify(answer.body)).toEqual([status, "Status"]);
  expect(answer.body.message).not.toBe("");
});

test("too many bytes are refused by their announcement alone", async () => {
  const options = {
    host: "127.0.0.1",
    port: controller.port,
    method: "POST",
    path: "/api/v1/namespaces",
    agent,
  };
  const headers = {
    authorization: `Bearer ${token}`,
    "content-type": "application/json",
    "content-length": 4 << 20,
  };
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const sent = request({ ...options, headers, timeout: 20_000 }, (response) => {
      resolve(response.statusCode);
      sent.destroy();
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer")));
    sent.on("error", reject);
    sent.flushHeaders();
  });
  expect(status).toBe(413);
});

test.each(["merge-patch+json", "strategic-merge-patch+json", "json-patch+json"])(
  "a %s that nests without end is refused",
  async (type) => {
    const deep = `{"metadata":{"annotations":${nest(100_000)}}}`;
    const steps = Array.from({ length: 500 }, (_, i) => {
      const path = `/metadata/labels${"/a".repeat(i)}`;
      return { op: "add", path, value: {} };
    });
    const body = type === "json-patch+json" ? JSON.stringify(steps) : deep;
    const { status } = await send("PATCH", "/api/v1/namespaces/default", body, `application/${type}`);
    expect(status).toBe(400);
    expect((await send("GET", "/api/v1/namespaces/default")).status).toBe(200);
  },
);

test("apply of many documents leaves nothing behind when one is bad", async () => {
  const good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: half}\n";
  const folder = join(controller.dir, "documents");
  mkdirSync(folder);
  writeFileSync(join(folder, "1.yaml"), good);
  const bad: readonly (readonly [string, RegExp])[] = [
    ["apiVersion: plinth.dev/v1alpha1\nkind: Spaceship\nmetadata: {name: a}\n", /no kind "Spaceship"/],
    ["apiVersion: v1\nkind: Namespace\nmetadata: {name: [}\n", /2\.yaml, document 1/],
    ["apiVersion: v1\nkind: Namespace\n", /metadata\.name/],
    ["apiVersion: v1\nkind: Namespace\nmetadata: {name: Big}\n", /namespace\/Big: metadata\.name: Invalid/],
    [
      "apiVersion: plinth.dev/v1alpha1\nkind: Network\nmetadata: {name: a, namespace: half}\nspec: {vlan: 4095, subnets: [10.0.0.0/24]}\n",
      /network\/a: spec\.vlan: Invalid value: 4095: must be between 1 and 4094/,
    ],
  ];
  for (const [text, reason] of bad) {
    writeFileSync(join(folder, "2.yaml"), text);
    expect(await plinthRefuses(["apply", "-f", folder, "--dir", controller.dir])).toMatch(reason);
  }
  const { body } = await send("GET", "/api/v1/namespaces");
  expect(body.items?.map(({ metadata }) => metadata.name)).not.toContain("half");
});

describe("the command line", () => {
  test("every command has help", async () => {
    const commands = commandsOf(await runOk(process.execPath, [PLINTH, "--help"]));
    expect(commands.length).toBeGreaterThan(15);
    await inPairs(commands, async (name) => {
      const help = await run(process.execPath, [PLINTH, name, "--help"], { deadlineMs: 20_000 });
      expect([help.code, help.stderr], name).toEqual([0, ""]);
      expect(help.stdout).toContain(`Usage: plinth ${name}`);
    });
  });

  test("an option that nobody knows is named", async () => {
    const commands = [
      "up",
      "controller",
      "host",
      "get",
      "vm",
      "storaged",
      "nfd",
      "vsctl",
      "ofctl",
      "appctl",
      "policy",
    ];
    await inPairs(commands, async (name) => {
      expect(await plinthRefuses([name, "--no-such-option"])).toContain("--no-such-option");
    });
  });

  test("wrong words are named", async () => {
    const dir = ["--dir", controller.dir];
    const wrong: readonly (readonly [readonly string[], RegExp])[] = [
      [["spaceship"], /unknown command 'spaceship'/],
      [["vm", "fly"], /unknown command 'fly'/],
      [["nfd", "extra"], /too many arguments/],
      [["controller", "--port", "99999"], /99999.*0 to 65535/],
      [["up", "--port", "x"], /'x'.*0 to 65535/],
      [["get", "spaceships", ...dir], /no kind "spaceships"/],
      [["get", "vm", "-o", "banana", ...dir], /banana.*json/],
      [["get", "vm", "--dir", "/nowhere"], /plinth up/],
      [["vm", "exec", "nobody", ...dir, "--", "ls"], /"nobody" not found/],
      [["explain", "vm.spec.wings"], /no field "wings"/],
      [["logs", "nobody", ...dir], /no log of nobody/],
      [["down", "--dir", "/nowhere"], /no data centre in \/nowhere/],
      [["vsctl", "--wrong", "show"], /unrecognized option '--wrong'/],
      [["ofctl", "dump-flows", "br0", "--dir", "/nowhere"], /br0 is not a bridge or a socket/],
      [["appctl", "version", "--dir", "/nowhere"], /\/nowhere\/switch\/vswitchd.ctl/],
      [["host", "describe", "-o", "banana", ...dir], /json or yaml/],
      [["host", "describe", ...dir], /cannot connect to/],
      [["volume", "list", "--dir", "/nowhere"], /cannot connect to/],
    ];
    await inPairs(wrong, async ([args, reason]) => {
      expect(await plinthRefuses(args)).toMatch(reason);
    });
  });
});

function nest(depth: number): string {
  return `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
}

type Place = readonly (string | number)[];

function placesOf(value: unknown, at: Place = []): Place[] {
  if (typeof value !== "object" || value === null) return [at];
  const children = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return [at, ...children.flatMap(([name, child]) => placesOf(child, [...at, name]))];
}

function replaceAt(value: unknown, place: Place, by: unknown): unknown {
  const [name, ...rest] = place;
  if (name === undefined) return by;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<
    string | number,
    unknown
  >;
  copy[name] = replaceAt(copy[name], rest, by);
  return copy;
}

function commandsOf(help: string): string[] {
  const [, list = ""] = help.split("Commands:\n");
  return [...list.matchAll(/^ {2}([a-z][a-z-]*)/gm)]
    .map(([, name]) => name as string)
    .filter((name) => name !== "help");
}

/** Two at a time: as many as the machine has cores. */
async function inPairs<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all([worker(), worker()]);
}
