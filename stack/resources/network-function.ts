// NetworkFunction: something that packets pass through; now a layer-4 load balancer.
import Type from "typebox";
import { parseAddress } from "./cidr.js";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, PLINTH_API_VERSION, plinthKind, type ValidationContext } from "./kind.js";
import { isPortName, PORT_NAME_EXPECTED, validateSelector } from "./names.js";
import { asSet, Conditions, LabelSelectorSchema, listKeys, OneOf, resourceSchema } from "./schema.js";
import { validateReference } from "./virtual-machine.js";

const LoadBalancerPort = Type.Object({
  name: Type.Optional(Type.String({ description: "A name for people." })),
  port: Type.Integer({ minimum: 1, maximum: 65535, description: "Port of the virtual address." }),
  targetPort: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 65535,
      description: "Port on the machines; the same as port when absent.",
    }),
  ),
  protocol: OneOf(["TCP", "UDP"], { default: "TCP", description: "Transport protocol." }),
});

const HTTP_PATH_MAX = 256;

const HealthCheck = Type.Object(
  {
    protocol: OneOf(["TCP", "HTTP", "ICMP"], {
      default: "TCP",
      description:
        "TCP opens a connection to the target port of the first TCP port, HTTP asks there for path and wants a status from 200 to 399, ICMP sends an echo request to the machine.",
    }),
    path: Type.Optional(
      Type.String({ description: "What HTTP asks for; / when absent. Not used by TCP and ICMP." }),
    ),
    intervalMs: Type.Integer({
      default: 1000,
      minimum: 100,
      maximum: 3_600_000,
      description: "Time between checks.",
    }),
    timeoutMs: Type.Integer({
      default: 500,
      minimum: 10,
      maximum: 600_000,
      description: "How long an answer may take; not longer than intervalMs.",
    }),
    healthyThreshold: Type.Integer({
      default: 2,
      minimum: 1,
      maximum: 100,
      description: "Answers in a row that make healthy.",
    }),
    unhealthyThreshold: Type.Integer({
      default: 3,
      minimum: 1,
      maximum: 100,
      description: "Failures in a row that make unhealthy.",
    }),
  },
  { description: "How machines are checked.", default: {} },
);

const LoadBalancer = Type.Object(
  {
    address: Type.String({
      description: "The virtual address that clients use, in a subnet of the network.",
    }),
    ports: Type.Array(LoadBalancerPort, {
      ...listKeys("port", "protocol"),
      minItems: 1,
      maxItems: 32,
      description: "Ports that are balanced.",
    }),
    selector: LabelSelectorSchema("Selects the virtual machines that serve, by their labels."),
    healthCheck: HealthCheck,
    drain: Type.Array(Type.String(), {
      ...asSet,
      default: [],
      maxItems: 256,
      description: "Names of machines that get no new connections; the ones they have go on.",
    }),
  },
  { description: "A layer-4 load balancer that keeps the client's address." },
);

export const NetworkFunctionSchema = resourceSchema(
  PLINTH_API_VERSION,
  "NetworkFunction",
  "A network function in the path of packets.",
  {
    spec: Type.Object(
      {
        type: OneOf(["LoadBalancer"], { description: "What the function does." }),
        network: Type.String({
          minLength: 1,
          description: "Name of the Network in the same namespace. Cannot be changed.",
        }),
        loadBalancer: Type.Optional(LoadBalancer),
      },
      { description: "What is wanted." },
    ),
    status: Type.Optional(
      Type.Object(
        {
          address: Type.Optional(Type.String({ description: "The virtual address in use." })),
          macAddress: Type.Optional(Type.String({ description: "The MAC address that answers for it." })),
          probeAddress: Type.Optional(Type.String({ description: "Address that health checks come from." })),
          host: Type.Optional(Type.String({ description: "Name of the Host that runs it." })),
          endpoints: Type.Optional(
            Type.Array(
              Type.Object({
                name: Type.String({ description: "Name of the machine." }),
                address: Type.String({ description: "Its address in the network." }),
                macAddress: Type.String({ description: "Its MAC address in the network." }),
                draining: Type.Boolean({ description: "True when it gets no new connections." }),
              }),
              { ...listKeys("name"), description: "The machines that serve; written by the controller." },
            ),
          ),
          health: Type.Optional(
            Type.Array(
              Type.Object({
                name: Type.String({ description: "Name of the machine." }),
                state: OneOf(["Healthy", "Unhealthy", "Draining", "Unknown"], {
                  description: "Result of the checks.",
                }),
                reason: Type.Optional(Type.String({ description: "Why." })),
              }),
              { ...listKeys("name"), description: "Health by machine; written by the host's agent." },
            ),
          ),
          conditions: Type.Optional(Conditions),
        },
        { description: "What is." },
      ),
    ),
  },
);
export type NetworkFunction = Type.Static<typeof NetworkFunctionSchema>;

export const networkFunctionKind = defineKind<NetworkFunction>({
  ...plinthKind,
  kind: "NetworkFunction",
  plural: "networkfunctions",
  singular: "networkfunction",
  shortNames: ["nf", "nfs"],
  namespaced: true,
  schema: NetworkFunctionSchema,
  comparesSiblings: true,
  columns: [
    { name: "Type", description: "What it does", value: (each) => each.spec.type },
    { name: "Network", description: "The network", value: (each) => each.spec.network },
    {
      name: "Address",
      description: "Virtual address",
      value: (each) => each.status?.address ?? each.spec.loadBalancer?.address,
    },
    {
      name: "Healthy",
      description: "Machines that serve",
      value: (each) => {
        const healthy = (each.status?.health ?? []).filter((one) => one.state === "Healthy").length;
        return `${healthy}/${each.status?.endpoints?.length ?? 0}`;
      },
    },
    {
      name: "Ports",
      description: "Ports",
      wide: true,
      value: (each) => each.spec.loadBalancer?.ports.map((port) => `${port.port}/${port.protocol}`).join(","),
    },
    {
      name: "Check",
      description: "How machines are checked",
      wide: true,
      value: (each) => {
        const check = each.spec.loadBalancer?.healthCheck;
        return check?.protocol === "HTTP" ? `HTTP ${check.path ?? "/"}` : check?.protocol;
      },
    },
  ],
  validate: validateNetworkFunction,
});

function validateNetworkFunction(
  each: NetworkFunction,
  errors: FieldErrors,
  context: ValidationContext<NetworkFunction>,
): void {
  const { spec } = each;
  validateReference("spec.network", spec.network, errors);
  if (context.previous !== undefined && context.previous.spec.network !== spec.network) {
    errors.invalid("spec.network", spec.network, "cannot be changed");
  }
  if (spec.loadBalancer === undefined) {
    errors.required("spec.loadBalancer", "needed by type LoadBalancer");
    return;
  }
  const balancer = spec.loadBalancer;
  const field = "spec.loadBalancer";
  if (parseAddress(balancer.address)?.bits !== 32) {
    errors.invalid(`${field}.address`, balancer.address, "must be an IPv4 address such as 10.10.0.100");
  }
  const taken = context.siblings.find(
    (other) => other.spec.network === spec.network && other.spec.loadBalancer?.address === balancer.address,
  );
  if (taken !== undefined) {
    errors.invalid(`${field}.address`, balancer.address, `is used by ${JSON.stringify(taken.metadata.name)}`);
  }
  validateSelector(balancer.selector, `${field}.selector`, errors);
  const seen = new Set<string>();
  for (const [i, port] of balancer.ports.entries()) {
    const key = `${port.protocol} ${port.port}`;
    if (seen.has(key)) errors.duplicate(`${field}.ports[${i}].port`, port.port);
    seen.add(key);
    if (port.name !== undefined && !isPortName(port.name)) {
      errors.invalid(`${field}.ports[${i}].name`, port.name, PORT_NAME_EXPECTED);
    }
  }
  validateHealthCheck(balancer, `${field}.healthCheck`, errors);
}

function validateHealthCheck(
  balancer: Type.Static<typeof LoadBalancer>,
  field: string,
  errors: FieldErrors,
): void {
  const check = balancer.healthCheck;
  if (check.timeoutMs > check.intervalMs) {
    errors.invalid(`${field}.timeoutMs`, check.timeoutMs, `must be at most intervalMs (${check.intervalMs})`);
  }
  if (check.protocol !== "ICMP" && !balancer.ports.some(({ protocol }) => protocol === "TCP")) {
    errors.invalid(`${field}.protocol`, check.protocol, "needs a port with protocol TCP; ICMP needs none");
  }
  if (check.path === undefined) return;
  if (check.protocol !== "HTTP") errors.forbidden(`${field}.path`, `not used by protocol ${check.protocol}`);
  else if (check.path.length > HTTP_PATH_MAX || !/^\/[!-~]*$/.test(check.path)) {
    errors.invalid(
      `${field}.path`,
      check.path,
      `must be a path such as /healthz, at most ${HTTP_PATH_MAX} characters, without blanks`,
    );
  }
}
