// The rules of every kind, by example: what is refused, at which field, and what was expected.
import { describe, expect, test } from "vitest";
import { VOLUME_SIZE_BYTES_MAX as POOL_VOLUME_SIZE_BYTES_MAX } from "../../storage-pool/index.js";
import {
  ALL_KINDS,
  type ApiObject,
  conform,
  FieldErrors,
  findKind,
  findKindByWord,
  type SchemaNode,
} from "./index.js";
import { VOLUME_SIZE_BYTES_MAX } from "./volume.js";

test("a Volume may be as large as storage pools take it", () => {
  expect(VOLUME_SIZE_BYTES_MAX).toBe(POOL_VOLUME_SIZE_BYTES_MAX);
});

function admit(document: object, siblings: ApiObject[] = [], previous?: ApiObject) {
  const { apiVersion, kind: kindName } = document as ApiObject;
  const kind = findKind(apiVersion, kindName);
  if (kind === undefined) throw new Error(`no kind ${apiVersion} ${kindName}`);
  const report = { errors: new FieldErrors(), unknownFields: [] as string[] };
  const object = conform(kind.schema as SchemaNode, document, "", report) as ApiObject;
  if (report.errors.list.length === 0) {
    kind.complete?.(object);
    kind.validate?.(object, report.errors, { previous, siblings });
  }
  return { object, errors: report.errors.list, unknownFields: report.unknownFields };
}

const plinth = (kind: string, spec: object, name = "x"): ApiObject =>
  ({
    apiVersion: "plinth.dev/v1alpha1",
    kind,
    metadata: { name, namespace: "default" },
    spec,
  }) as unknown as ApiObject;
const policy = (spec: object): ApiObject =>
  ({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "p" },
    spec,
  }) as unknown as ApiObject;

describe("documents that are refused", () => {
  const front = { vlan: 10, subnets: ["10.10.0.0/24"] };
  const port = (each: object) => policy({ podSelector: {}, ingress: [{ ports: [each] }] });
  const peer = (each: object) => policy({ podSelector: {}, ingress: [{ from: [each] }] });
  const balancer = (each: object) =>
    plinth("NetworkFunction", {
      type: "LoadBalancer",
      network: "front",
      loadBalancer: { address: "10.10.0.100", ports: [{ port: 80 }], selector: {}, ...each },
    });
  test.each<[string, ApiObject, string, RegExp]>([
    ["VLAN too large", plinth("Network", { ...front, vlan: 5000 }), "spec.vlan", /between 1 and 4094/],
    ["VLAN zero", plinth("Network", { ...front, vlan: 0 }), "spec.vlan", /between 1 and 4094/],
    ["VLAN as text", plinth("Network", { ...front, vlan: "ten" }), "spec.vlan", /"ten": must be an integer/],
    ["VLAN missing", plinth("Network", { subnets: ["10.0.0.0/24"] }), "spec.vlan", /Required value/],
    ["no subnets", plinth("Network", { vlan: 1, subnets: [] }), "spec.subnets", /at least 1/],
    ["bad CIDR", plinth("Network", { vlan: 1, subnets: ["10.0.0.0/33"] }), "spec.subnets[0]", /CIDR block/],
    [
      "host bits",
      plinth("Network", { vlan: 1, subnets: ["10.0.0.5/24"] }),
      "spec.subnets[0]",
      /without host bits/,
    ],
    ["multicast", plinth("Network", { vlan: 1, subnets: ["224.0.0.0/24"] }), "spec.subnets[0]", /unicast/],
    [
      "overlap",
      plinth("Network", { vlan: 1, subnets: ["10.0.0.0/16", "10.0.5.0/24"] }),
      "spec.subnets[1]",
      /overlaps/,
    ],
    [
      "gateway outside",
      plinth("Network", { ...front, gateway: "10.11.0.1" }),
      "spec.gateway",
      /in one of spec.subnets/,
    ],
    [
      "gateway broadcast",
      plinth("Network", { ...front, gateway: "10.10.0.255" }),
      "spec.gateway",
      /host address/,
    ],
    ["DNS server", plinth("Network", { ...front, dnsServers: ["one"] }), "spec.dnsServers[0]", /IP address/],
    ["MTU", plinth("Network", { ...front, mtu: 100 }), "spec.mtu", /between 576 and 9216/],
    ["spec missing", plinth("Network", undefined as unknown as object), "spec", /Required value/],
    ["volume too large", plinth("Volume", { size: "5Ti" }), "spec.size", /from 1Mi to 4Ti/],
    ["volume size text", plinth("Volume", { size: "lots" }), "spec.size", /quantity such as/],
    ["volume odd", plinth("Volume", { size: "1048577" }), "spec.size", /multiple of 4096/],
    ["compression", plinth("Volume", { size: "1Gi", compression: "lz4" }), "spec.compression", /deflate/],
    [
      "compression of what is encrypted",
      plinth("Volume", { size: "1Gi", compression: "deflate", encrypted: true }),
      "spec.compression",
      /must be none for an encrypted volume/,
    ],
    ["VM memory", plinth("VirtualMachine", { memory: "1Ki" }), "spec.memory", /from 32Mi/],
    ["VM cpus", plinth("VirtualMachine", { cpus: 1.5 }), "spec.cpus", /an integer/],
    [
      "VM power",
      plinth("VirtualMachine", { powerState: "On" }),
      "spec.powerState",
      /supported values: "Running"/,
    ],
    [
      "VM interface twice",
      plinth("VirtualMachine", {
        interfaces: [
          { name: "a", network: "n" },
          { name: "a", network: "n" },
        ],
      }),
      "spec.interfaces[1].name",
      /Duplicate/,
    ],
    [
      "VM MAC",
      plinth("VirtualMachine", {
        interfaces: [{ name: "a", network: "n", macAddress: "01:00:00:00:00:01" }],
      }),
      "spec.interfaces[0].macAddress",
      /unicast MAC/,
    ],
    [
      "VM volume twice",
      plinth("VirtualMachine", {
        disks: [
          { name: "a", volume: "v" },
          { name: "b", volume: "v" },
        ],
      }),
      "spec.disks[1].volume",
      /Duplicate/,
    ],
    [
      "VM port",
      plinth("VirtualMachine", { ports: [{ name: "http", port: 0 }] }),
      "spec.ports[0].port",
      /between 1 and 65535/,
    ],
    ["image", plinth("Image", { type: "Disk" }), "spec.path", /path of the disk image/],
    [
      "image field",
      plinth("Image", { type: "Builtin", path: "/x" }),
      "spec.path",
      /not used by type Builtin/,
    ],
    ["pool disk", plinth("StoragePool", { disks: ["relative"] }), "spec.disks[0]", /absolute path/],
    [
      "pool thresholds",
      plinth("StoragePool", { thresholds: { warningPercent: 90, criticalPercent: 80 } }),
      "spec.thresholds.criticalPercent",
      /more than warningPercent \(90\)/,
    ],
    // "m" of a quantity is a thousandth.
    [
      "pool scrub",
      plinth("StoragePool", { scrub: { bandwidth: "50m" } }),
      "spec.scrub.bandwidth",
      /whole bytes/,
    ],
    [
      "pool threshold",
      plinth("StoragePool", { thresholds: { warningPercent: 0 } }),
      "spec.thresholds.warningPercent",
      /1/,
    ],
    ["balancer address", balancer({ address: "::1" }), "spec.loadBalancer.address", /IPv4/],
    [
      "balancer ports",
      balancer({ ports: [{ port: 80 }, { port: 80 }] }),
      "spec.loadBalancer.ports[1].port",
      /Duplicate/,
    ],
    [
      "balancer check",
      balancer({ healthCheck: { intervalMs: 100 } }),
      "spec.loadBalancer.healthCheck.timeoutMs",
      /at most intervalMs/,
    ],
    [
      "balancer check protocol",
      balancer({ healthCheck: { protocol: "SCTP" } }),
      "spec.loadBalancer.healthCheck.protocol",
      /supported values: "TCP", "HTTP", "ICMP"/,
    ],
    [
      "balancer check without a TCP port",
      balancer({ ports: [{ port: 53, protocol: "UDP" }] }),
      "spec.loadBalancer.healthCheck.protocol",
      /needs a port with protocol TCP/,
    ],
    [
      "balancer check path",
      balancer({ healthCheck: { protocol: "HTTP", path: "/a b" } }),
      "spec.loadBalancer.healthCheck.path",
      /without blanks/,
    ],
    [
      "balancer check path without HTTP",
      balancer({ healthCheck: { path: "/" } }),
      "spec.loadBalancer.healthCheck.path",
      /not used by protocol TCP/,
    ],
    [
      "balancer selector",
      balancer({ selector: { matchLabels: { "a b": "c" } } }),
      "spec.loadBalancer.selector.matchLabels",
      /qualified name/,
    ],
    ["impossible port", port({ port: 70000 }), "spec.ingress[0].ports[0].port", /between 1 and 65535/],
    ["port name", port({ port: "Not A Name" }), "spec.ingress[0].ports[0].port", /port name/],
    ["port type", port({ port: true }), "spec.ingress[0].ports[0].port", /integer or a string/],
    [
      "endPort below",
      port({ port: 90, endPort: 80 }),
      "spec.ingress[0].ports[0].endPort",
      /greater than or equal/,
    ],
    ["endPort named", port({ port: "http", endPort: 80 }), "spec.ingress[0].ports[0].endPort", /named port/],
    ["protocol", port({ protocol: "ICMP" }), "spec.ingress[0].ports[0].protocol", /supported values: "TCP"/],
    ["empty peer", peer({}), "spec.ingress[0].from[0]", /must specify a peer/],
    [
      "peer both",
      peer({ podSelector: {}, ipBlock: { cidr: "10.0.0.0/8" } }),
      "spec.ingress[0].from[0]",
      /both ipBlock/,
    ],
    ["peer CIDR", peer({ ipBlock: { cidr: "ten" } }), "spec.ingress[0].from[0].ipBlock.cidr", /CIDR/],
    [
      "except outside",
      peer({ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/9"] } }),
      "spec.ingress[0].from[0].ipBlock.except[0]",
      /strict subset/,
    ],
    [
      "selector operator",
      peer({ podSelector: { matchExpressions: [{ key: "a", operator: "In" }] } }),
      "spec.ingress[0].from[0].podSelector.matchExpressions[0].values",
      /when operator is In/,
    ],
    [
      "policy type",
      policy({ podSelector: {}, policyTypes: ["Both"] }),
      "spec.policyTypes[0]",
      /"Ingress", "Egress"/,
    ],
  ])("%s", (_, document, field, message) => {
    const { errors } = admit(document);
    expect(errors.map((error) => error.field)).toContain(field);
    expect(errors.find((error) => error.field === field)?.message).toMatch(message);
  });

  test("a network may not take what another of its namespace has", () => {
    const other = plinth("Network", { vlan: 10, subnets: ["10.10.0.0/16"], mtu: 1500 }, "front");
    const { errors } = admit(plinth("Network", { vlan: 10, subnets: ["10.10.3.0/24"] }), [other]);
    expect(errors.map((error) => [error.field, error.message])).toEqual([
      ["spec.vlan", 'Invalid value: 10: is used by network "front"'],
      ["spec.subnets[0]", 'Invalid value: "10.10.3.0/24": overlaps with 10.10.0.0/16 of network "front"'],
    ]);
  });

  test("what cannot be changed is named", () => {
    const before = admit(plinth("Volume", { size: "1Gi" })).object;
    const { errors } = admit(plinth("Volume", { size: "512Mi", pool: "fast" }), [], before);
    expect(errors.map((error) => error.field)).toEqual(["spec.size", "spec.pool"]);
  });
});

describe("documents that are accepted", () => {
  test("defaults are filled in", () => {
    const { object, errors } = admit(plinth("VirtualMachine", { memory: 134217728 }));
    expect(errors).toEqual([]);
    expect(object["spec"]).toEqual({
      powerState: "Running",
      cpus: 1,
      memory: "134217728",
      image: "guest",
      interfaces: [],
      disks: [],
      ports: [],
    });
    expect(admit(plinth("Host", undefined as unknown as object)).object["spec"]).toEqual({
      unschedulable: false,
      cpuOvercommit: 4,
    });
  });

  test("blocks of a policy may have bits behind their length, with a warning", () => {
    const ipBlock = { cidr: "10.1.2.3/8", except: ["10.9.9.9/16", "10.8.0.0/16"] };
    const { object, errors } = admit(policy({ podSelector: {}, ingress: [{ from: [{ ipBlock }] }] }));
    expect(errors).toEqual([]);
    const kind = ALL_KINDS.find((each) => each.kind === "NetworkPolicy");
    expect(kind?.advise?.(object)).toEqual([
      "spec.ingress[0].from[0].ipBlock.cidr: 10.1.2.3/8 has bits behind its length and counts as 10.0.0.0/8",
      "spec.ingress[0].from[0].ipBlock.except[0]: 10.9.9.9/16 has bits behind its length and counts as 10.9.0.0/16",
    ]);
    const to = [{ ipBlock: { cidr: "2001:db8::1/32" } }];
    expect(kind?.advise?.(admit(policy({ podSelector: {}, egress: [{ to }] })).object)).toEqual([
      "spec.egress[0].to[0].ipBlock.cidr: 2001:db8::1/32 has bits behind its length and counts as 2001:db8::/32",
    ]);
  });

  test("a policy gets its types and protocols", () => {
    const egress = [{ ports: [{ port: 53 }] }];
    const completed = {
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
      egress: [{ ports: [{ protocol: "TCP", port: 53 }] }],
    };
    // As the API server of Kubernetes: a selector that is not there is an empty one.
    for (const spec of [{ podSelector: {}, egress }, { podSelector: null, egress }, { egress }])
      expect(admit(policy(spec))).toMatchObject({ errors: [], object: { spec: completed } });
    expect(admit(policy({})).object["spec"]).toEqual({ podSelector: {}, policyTypes: ["Ingress"] });
    const peer = { from: [{ podSelector: null }] };
    expect(admit(policy({ ingress: [peer] })).errors[0]?.field).toBe("spec.ingress[0].from[0]");
  });

  test("a namespace is labelled with its name, whatever else it says", () => {
    const labelled = (labels: object | undefined) =>
      admit({ apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels } }).object.metadata
        .labels;
    const own = { "kubernetes.io/metadata.name": "shop" };
    expect(labelled(undefined)).toEqual(own);
    expect(labelled({ tier: "x", "kubernetes.io/metadata.name": "other" })).toEqual({ tier: "x", ...own });
  });

  test("a secret's plain text becomes base64", () => {
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "s" }, stringData: { a: "b" } };
    expect(admit(secret).object).toMatchObject({ type: "Opaque", data: { a: "Yg==" } });
    expect(admit({ ...secret, data: { a: "?" }, stringData: null }).errors[0]?.field).toBe("data[a]");
  });

  test("unknown fields are named and dropped", () => {
    const { object, unknownFields } = admit(
      plinth("Network", { vlan: 1, subnets: ["10.0.0.0/24"], vlam: 2 }),
    );
    expect(unknownFields).toEqual(["spec.vlam"]);
    expect(object["spec"]).not.toHaveProperty("vlam");
  });
});

describe("kinds", () => {
  test("are found by every word that people use", () => {
    for (const word of ["vm", "vms", "VirtualMachine", "virtualmachines", "virtualmachines.plinth.dev"]) {
      expect(findKindByWord(word)?.kind).toBe("VirtualMachine");
    }
    const words = ALL_KINDS.flatMap((kind) => [kind.plural, kind.singular, ...kind.shortNames]);
    expect(new Set(words.filter((word, i) => words.indexOf(word) !== i))).toEqual(new Set());
  });

  test("document every field", () => {
    const missing: string[] = [];
    const walk = (schema: SchemaNode, path: string): void => {
      for (const [name, property] of Object.entries(schema.properties ?? {})) {
        const at = `${path}.${name}`;
        const described = (property.description ?? property.items?.description) !== undefined;
        if (!described && property.type !== "object") missing.push(at);
        walk(property, at);
        if (property.items !== undefined) walk(property.items, at);
      }
    };
    for (const kind of ALL_KINDS) walk(kind.schema as SchemaNode, kind.kind);
    expect(missing).toEqual([]);
  });

  test("have columns that bear an object with nothing but a name", () => {
    for (const kind of ALL_KINDS) {
      const object = admit(plinthLike(kind.kind)).object;
      for (const column of kind.columns) expect(() => column.value(object)).not.toThrow();
    }
  });
});

function plinthLike(kindName: string): object {
  const kind = ALL_KINDS.find((each) => each.kind === kindName)!;
  const specs: Record<string, object> = {
    Network: { vlan: 1, subnets: ["10.0.0.0/24"] },
    NetworkPolicy: { podSelector: {} },
    AdminNetworkPolicy: { priority: 1, subject: { namespaces: {} } },
    BaselineAdminNetworkPolicy: { subject: { namespaces: {} } },
    NetworkFunction: { type: "LoadBalancer", network: "n" },
    Port: { network: "n" },
    Volume: { size: "1Gi" },
    VolumeSnapshot: { volume: "v" },
    Image: { type: "Builtin" },
  };
  const apiVersion = kind.group === "" ? kind.version : `${kind.group}/${kind.version}`;
  return {
    apiVersion,
    kind: kindName,
    metadata: { name: "x" },
    spec: specs[kindName] ?? {},
    involvedObject: {},
  };
}
