// VirtualMachine: a machine under QEMU, its interfaces and its disks.
import Type from "typebox";
import { parseAddress } from "./cidr.js";
import type { FieldErrors } from "./field-errors.js";
import { defineKind, PLINTH_API_VERSION, plinthKind, type ValidationContext } from "./kind.js";
import { isDnsSubdomain, isPortName, PORT_NAME_EXPECTED, SUBDOMAIN_EXPECTED } from "./names.js";
import { validateMac } from "./port.js";
import { parseQuantity, quantityBytes } from "./quantity.js";
import { Conditions, listKeys, OneOf, Quantity, resourceSchema } from "./schema.js";

export const MEMORY_BYTES_MIN = 32 * 2 ** 20;
export const MEMORY_BYTES_MAX = 4 * 2 ** 40;
export const INTERFACES_MAX = 8;
export const DISKS_MAX = 16;

const VirtualMachineInterface = Type.Object({
  name: Type.String({
    minLength: 1,
    description: "Name of the interface, unique in the machine; its Port is called MACHINE-INTERFACE.",
  }),
  network: Type.String({ minLength: 1, description: "Name of the Network in the same namespace." }),
  address: Type.Optional(
    Type.String({ description: "IP address it must get; chosen by the controller when absent." }),
  ),
  macAddress: Type.Optional(
    Type.String({ description: "Unicast MAC address; chosen by the controller when absent." }),
  ),
});

const VirtualMachineDisk = Type.Object({
  name: Type.String({ minLength: 1, description: "Name of the disk, unique in the machine." }),
  volume: Type.String({ minLength: 1, description: "Name of the Volume in the same namespace." }),
});

const VirtualMachinePort = Type.Object({
  name: Type.String({ description: "A name that network policies can use for this port." }),
  port: Type.Integer({ minimum: 1, maximum: 65535, description: "Port number." }),
  protocol: OneOf(["TCP", "UDP", "SCTP"], { default: "TCP", description: "Transport protocol." }),
});

const VirtualMachineStatus = Type.Object(
  {
    phase: Type.Optional(
      OneOf(["Pending", "Scheduling", "Starting", "Running", "Paused", "Stopping", "Stopped", "Failed"], {
        description: "Where the machine is in its life.",
      }),
    ),
    host: Type.Optional(Type.String({ description: "Name of the Host that runs it." })),
    accelerator: Type.Optional(
      Type.String({ description: "kvm, or tcg where hardware virtualisation is missing." }),
    ),
    interfaces: Type.Optional(
      Type.Array(
        Type.Object({
          name: Type.String({ description: "Name of the interface." }),
          port: Type.String({ description: "Name of its Port." }),
          macAddress: Type.Optional(Type.String({ description: "MAC address in use." })),
          addresses: Type.Optional(Type.Array(Type.String(), { description: "IP addresses in use." })),
        }),
        { ...listKeys("name"), description: "Addresses by interface." },
      ),
    ),
    observedGeneration: Type.Optional(Type.Integer({ description: "Generation that the status reflects." })),
    conditions: Type.Optional(Conditions),
  },
  { description: "What is." },
);

export const VirtualMachineSchema = resourceSchema(
  PLINTH_API_VERSION,
  "VirtualMachine",
  "A virtual machine. Its labels are what network policies and load balancers select by.",
  {
    spec: Type.Object(
      {
        powerState: OneOf(["Running", "Stopped", "Paused"], {
          default: "Running",
          description: "Whether it runs, is off, or is frozen in memory.",
        }),
        cpus: Type.Integer({ default: 1, minimum: 1, maximum: 64, description: "Number of virtual CPUs." }),
        memory: Quantity({ default: "128Mi", description: "Main memory, 32Mi to 4Ti." }),
        image: Type.String({ default: "guest", minLength: 1, description: "Name of the Image it boots." }),
        host: Type.Optional(
          Type.String({ description: "Name of the Host it runs on; set by the scheduler when absent." }),
        ),
        interfaces: Type.Array(VirtualMachineInterface, {
          ...listKeys("name"),
          default: [],
          maxItems: INTERFACES_MAX,
          description: "Network interfaces, in the order in which the machine sees them.",
        }),
        disks: Type.Array(VirtualMachineDisk, {
          ...listKeys("name"),
          default: [],
          maxItems: DISKS_MAX,
          description: "Disks, in the order in which the machine sees them.",
        }),
        ports: Type.Array(VirtualMachinePort, {
          ...listKeys("name"),
          default: [],
          maxItems: 64,
          description: "Named ports, for network policies that use names.",
        }),
        userData: Type.Optional(
          Type.String({
            maxLength: 65536,
            description:
              "Shell script that the built-in guest image runs when it boots; other images do not see it.",
          }),
        ),
      },
      { description: "What is wanted.", default: {} },
    ),
    status: Type.Optional(VirtualMachineStatus),
  },
);
export type VirtualMachine = Type.Static<typeof VirtualMachineSchema>;

const CPU = { base: "decimal", amountOf: (vm: VirtualMachine) => vm.spec.cpus } as const;
const MEMORY = { base: "binary", amountOf: (vm: VirtualMachine) => quantityBytes(vm.spec.memory) } as const;

export const virtualMachineKind = defineKind<VirtualMachine>({
  ...plinthKind,
  kind: "VirtualMachine",
  plural: "virtualmachines",
  singular: "virtualmachine",
  shortNames: ["vm", "vms"],
  namespaced: true,
  nameForm: "label",
  schema: VirtualMachineSchema,
  actions: [
    { name: "exec", method: "POST" },
    { name: "reboot", method: "POST" },
    { name: "console", method: "GET" },
  ],
  columns: [
    { name: "Phase", description: "Where it is in its life", value: (vm) => vm.status?.phase ?? "Pending" },
    { name: "Host", description: "Where it runs", value: (vm) => vm.status?.host ?? vm.spec.host },
    {
      name: "Addresses",
      description: "IP addresses",
      value: (vm) => vm.status?.interfaces?.flatMap((each) => each.addresses ?? []).join(","),
    },
    { name: "CPUs", type: "integer", description: "Virtual CPUs", wide: true, value: (vm) => vm.spec.cpus },
    { name: "Memory", description: "Main memory", wide: true, value: (vm) => vm.spec.memory },
    { name: "Image", description: "Boots from", wide: true, value: (vm) => vm.spec.image },
    { name: "Accelerator", description: "kvm or tcg", wide: true, value: (vm) => vm.status?.accelerator },
  ],
  // Also while it is off: it may be started at any time.
  consumes: { cpu: CPU, "requests.cpu": CPU, memory: MEMORY, "requests.memory": MEMORY },
  validate: validateVirtualMachine,
});

function validateVirtualMachine(
  vm: VirtualMachine,
  errors: FieldErrors,
  context: ValidationContext<VirtualMachine>,
): void {
  const { spec } = vm;
  const memory = parseQuantity(spec.memory);
  if (memory === undefined || memory < MEMORY_BYTES_MIN || memory > MEMORY_BYTES_MAX) {
    errors.invalid("spec.memory", spec.memory, "must be a quantity from 32Mi to 4Ti");
  }
  validateReference("spec.image", spec.image, errors);
  if (spec.host !== undefined) validateReference("spec.host", spec.host, errors);
  const interfaceNames = new Set<string>();
  for (const [i, each] of spec.interfaces.entries()) {
    const field = `spec.interfaces[${i}]`;
    validateInnerName(`${field}.name`, each.name, interfaceNames, errors);
    validateReference(`${field}.network`, each.network, errors);
    validateMac(`${field}.macAddress`, each.macAddress, errors);
    if (each.address !== undefined && parseAddress(each.address) === undefined) {
      errors.invalid(`${field}.address`, each.address, "must be an IP address such as 10.10.0.5");
    }
  }
  validateDisks(vm, errors);
  const portNames = new Set<string>();
  for (const [i, port] of spec.ports.entries()) {
    const field = `spec.ports[${i}].name`;
    if (!isPortName(port.name)) errors.invalid(field, port.name, PORT_NAME_EXPECTED);
    if (portNames.has(port.name)) errors.duplicate(field, port.name);
    portNames.add(port.name);
  }
  const before = context.previous?.spec.host;
  if (before !== undefined && spec.host !== before) {
    errors.invalid("spec.host", spec.host, `cannot be changed once it is set (to ${JSON.stringify(before)})`);
  }
}

function validateDisks(vm: VirtualMachine, errors: FieldErrors): void {
  const names = new Set<string>();
  const volumes = new Set<string>();
  for (const [i, disk] of vm.spec.disks.entries()) {
    const field = `spec.disks[${i}]`;
    validateInnerName(`${field}.name`, disk.name, names, errors);
    validateReference(`${field}.volume`, disk.volume, errors);
    if (volumes.has(disk.volume)) errors.duplicate(`${field}.volume`, disk.volume);
    volumes.add(disk.volume);
  }
}

function validateInnerName(field: string, name: string, seen: Set<string>, errors: FieldErrors): void {
  if (!isPortName(name)) {
    errors.invalid(
      field,
      name,
      "must be at most 15 lower-case letters, digits or '-', with at least one letter",
    );
  }
  if (seen.has(name)) errors.duplicate(field, name);
  seen.add(name);
}

/** A name that another object could have; whether it exists is reported by conditions. */
export function validateReference(field: string, name: string, errors: FieldErrors): void {
  if (!isDnsSubdomain(name)) errors.invalid(field, name, SUBDOMAIN_EXPECTED);
}
