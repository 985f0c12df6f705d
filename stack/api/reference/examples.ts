// One object of each kind as a user would write it, for the API's own documentation. A test admits every one of them.
import { apiVersionOf, type ResourceKind } from "../../resources/index.js";

/** What stands beside apiVersion, kind and metadata.name; namespaced kinds are in the namespace `shop`. */
const EXAMPLES: Readonly<Record<string, { readonly name: string; readonly rest?: object }>> = {
  Namespace: { name: "shop" },
  ResourceQuota: {
    name: "small",
    rest: { spec: { hard: { cpu: "8", memory: "16Gi", "requests.storage": "1Ti" } } },
  },
  ServiceAccount: { name: "robot" },
  ClusterRole: {
    name: "network-viewer",
    rest: {
      rules: [
        { apiGroups: ["plinth.dev"], resources: ["networks", "ports"], verbs: ["get", "list", "watch"] },
      ],
    },
  },
  ClusterRoleBinding: {
    name: "network-viewers",
    rest: {
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "network-viewer" },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: "operators" }],
    },
  },
  Role: {
    name: "restart",
    rest: {
      rules: [{ apiGroups: ["plinth.dev"], resources: ["virtualmachines/reboot"], verbs: ["create"] }],
    },
  },
  RoleBinding: {
    name: "jane",
    rest: {
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "edit" },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "jane" }],
    },
  },
  Secret: { name: "login", rest: { type: "Opaque", stringData: { password: "change-me" } } },
  Event: {
    name: "web1.restarted",
    rest: {
      involvedObject: {
        apiVersion: "plinth.dev/v1alpha1",
        kind: "VirtualMachine",
        namespace: "shop",
        name: "web1",
      },
      type: "Normal",
      reason: "Restarted",
      message: "restarted after an update",
    },
  },
  NetworkPolicy: {
    name: "db",
    rest: {
      spec: {
        podSelector: { matchLabels: { tier: "db" } },
        policyTypes: ["Ingress"],
        ingress: [
          {
            from: [{ podSelector: { matchLabels: { tier: "app" } } }],
            ports: [{ protocol: "TCP", port: 5432 }],
          },
        ],
      },
    },
  },
  AdminNetworkPolicy: {
    name: "no-telnet",
    rest: {
      spec: {
        priority: 10,
        subject: { namespaces: {} },
        ingress: [
          {
            name: "telnet",
            action: "Deny",
            from: [{ namespaces: {} }],
            ports: [{ portNumber: { protocol: "TCP", port: 23 } }],
          },
        ],
      },
    },
  },
  BaselineAdminNetworkPolicy: {
    name: "default",
    rest: {
      spec: {
        subject: { namespaces: {} },
        ingress: [{ name: "closed-unless-opened", action: "Deny", from: [{ namespaces: {} }] }],
      },
    },
  },
  Host: { name: "local", rest: { spec: { unschedulable: false, cpuOvercommit: 2 } } },
  StoragePool: { name: "fast", rest: { spec: { disks: ["/srv/disk1"] } } },
  Image: {
    name: "debian",
    rest: { spec: { type: "Disk", path: "/srv/images/debian.qcow2", format: "qcow2" } },
  },
  Network: { name: "front", rest: { spec: { vlan: 10, subnets: ["10.10.0.0/24", "fd00:10::/64"] } } },
  Volume: { name: "db-data", rest: { spec: { size: "10Gi", copies: 1 } } },
  VolumeSnapshot: { name: "before-update", rest: { spec: { volume: "db-data" } } },
  Port: { name: "appliance", rest: { spec: { network: "front", addresses: ["10.10.0.50"] } } },
  VirtualMachine: {
    name: "web1",
    rest: {
      spec: {
        cpus: 1,
        memory: "256Mi",
        image: "debian",
        interfaces: [{ name: "eth0", network: "front" }],
        disks: [{ name: "data", volume: "web1-data" }],
        ports: [{ name: "http", port: 80 }],
      },
    },
  },
  NetworkFunction: {
    name: "web",
    rest: {
      spec: {
        type: "LoadBalancer",
        network: "front",
        loadBalancer: {
          address: "10.10.0.100",
          ports: [{ port: 80 }],
          selector: { matchLabels: { tier: "web" } },
        },
      },
    },
  },
  Invariant: {
    name: "db-only-from-app",
    rest: {
      spec: {
        assert: "Never",
        from: { podSelector: { matchLabels: { tier: "web" } } },
        to: { podSelector: { matchLabels: { tier: "db" } } },
      },
    },
  },
};

/** Undefined for a kind that has none. */
export function exampleOf(kind: ResourceKind): object | undefined {
  const example = EXAMPLES[kind.kind];
  if (example === undefined) return undefined;
  const { name, rest = {} } = example;
  const labels = kind.kind === "VirtualMachine" ? { labels: { tier: "web" } } : {};
  return {
    apiVersion: apiVersionOf(kind),
    kind: kind.kind,
    metadata: { name, ...(kind.namespaced ? { namespace: "shop" } : {}), ...labels },
    ...rest,
  };
}
