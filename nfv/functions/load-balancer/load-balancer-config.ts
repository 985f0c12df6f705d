// What a load balancer is told to do, checked field by field: it comes over the control socket.
import { nfvError } from "../../errors.js";
import { ENDPOINTS_MAX, HTTP_PATH_MAX, SERVICES_MAX } from "../../limits.js";

export interface ServicePort {
  /** The port that clients use, and the one that endpoints listen on. 1 to 65535. */
  readonly port: number;
  readonly targetPort: number;
  readonly protocol: "TCP" | "UDP";
}

export interface Endpoint {
  readonly name: string;
  /** IPv4, dotted. */
  readonly address: string;
  readonly macAddress: string;
  /** Gets no new connections; those it has go on. */
  readonly draining: boolean;
}

export type CheckProtocol = "TCP" | "HTTP" | "ICMP";

export interface HealthCheck {
  /** TCP and HTTP go to the target port of the first TCP port. */
  readonly protocol: CheckProtocol;
  /** What HTTP asks for; absent for the others. */
  readonly path?: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly healthyThreshold: number;
  readonly unhealthyThreshold: number;
}

export interface LoadBalancerConfig {
  readonly name: string;
  readonly type: "LoadBalancer";
  /** Path of the stream socket on which the switch's port arrives. */
  readonly socket: string;
  /** The MAC address that answers for the virtual address. */
  readonly macAddress: string;
  /** The virtual address, IPv4. */
  readonly address: string;
  /** Where probes come from, IPv4; without it endpoints count as healthy. */
  readonly probeAddress?: string;
  readonly ports: readonly ServicePort[];
  readonly endpoints: readonly Endpoint[];
  readonly healthCheck: HealthCheck;
}

const DEFAULT_CHECK: HealthCheck = {
  protocol: "TCP",
  intervalMs: 1000,
  timeoutMs: 500,
  healthyThreshold: 2,
  unhealthyThreshold: 3,
};

type Fields = Readonly<Record<string, unknown>>;

/** Throws FUNCTION_INVALID naming the field and what was expected. */
export function parseLoadBalancerConfig(params: Fields): LoadBalancerConfig {
  if (params["type"] !== "LoadBalancer") throw invalid("type", '"LoadBalancer"');
  const ports = list(params, "ports", 1, SERVICES_MAX).map((entry, i) => parsePort(entry, `ports[${i}]`));
  const endpoints = list(params, "endpoints", 0, ENDPOINTS_MAX).map((entry, i) =>
    parseEndpoint(entry, `endpoints[${i}]`),
  );
  unique(
    ports.map(({ port, protocol }) => `${protocol} ${port}`),
    "ports",
  );
  unique(
    endpoints.map(({ name }) => name),
    "endpoints",
  );
  unique(
    endpoints.map(({ address }) => address),
    "endpoints",
  );
  const probe = params["probeAddress"];
  const healthCheck = parseCheck(params["healthCheck"]);
  const probes = probe !== undefined && probe !== null;
  if (probes && healthCheck.protocol !== "ICMP" && !ports.some(({ protocol }) => protocol === "TCP")) {
    throw invalid(
      "healthCheck.protocol",
      `ICMP, for there is no TCP port that ${healthCheck.protocol} could check`,
    );
  }
  return {
    name: text(params, "name", "name"),
    type: "LoadBalancer",
    socket: text(params, "socket", "socket"),
    macAddress: mac(params, "macAddress", "macAddress"),
    address: ipv4(params, "address", "address"),
    ...(probes ? { probeAddress: ipv4(params, "probeAddress", "probeAddress") } : {}),
    ports,
    endpoints,
    healthCheck,
  };
}

function parsePort(entry: Fields, field: string): ServicePort {
  const protocol = entry["protocol"] ?? "TCP";
  if (protocol !== "TCP" && protocol !== "UDP") throw invalid(`${field}.protocol`, "TCP or UDP");
  const port = integer(entry, "port", `${field}.port`, 1, 65_535);
  const targetPort =
    entry["targetPort"] === undefined ? port : integer(entry, "targetPort", `${field}.targetPort`, 1, 65_535);
  return { port, targetPort, protocol };
}

function parseEndpoint(entry: Fields, field: string): Endpoint {
  return {
    name: text(entry, "name", `${field}.name`),
    address: ipv4(entry, "address", `${field}.address`),
    macAddress: mac(entry, "macAddress", `${field}.macAddress`),
    draining: entry["draining"] === true,
  };
}

function parseCheck(value: unknown): HealthCheck {
  if (value === undefined || value === null) return DEFAULT_CHECK;
  if (typeof value !== "object" || Array.isArray(value)) throw invalid("healthCheck", "an object");
  const given = { ...DEFAULT_CHECK, ...value } as unknown as Fields;
  const check = {
    ...parseCheckProtocol(given),
    intervalMs: integer(given, "intervalMs", "healthCheck.intervalMs", 50, 3_600_000),
    timeoutMs: integer(given, "timeoutMs", "healthCheck.timeoutMs", 10, 3_600_000),
    healthyThreshold: integer(given, "healthyThreshold", "healthCheck.healthyThreshold", 1, 100),
    unhealthyThreshold: integer(given, "unhealthyThreshold", "healthCheck.unhealthyThreshold", 1, 100),
  };
  if (check.timeoutMs > check.intervalMs)
    throw invalid("healthCheck.timeoutMs", `at most intervalMs (${check.intervalMs})`);
  return check;
}

function parseCheckProtocol(given: Fields): Pick<HealthCheck, "protocol" | "path"> {
  const { protocol, path } = given;
  if (protocol !== "TCP" && protocol !== "HTTP" && protocol !== "ICMP")
    throw invalid("healthCheck.protocol", "TCP, HTTP or ICMP");
  if (protocol !== "HTTP") {
    if (path !== undefined) throw invalid("healthCheck.path", "nothing unless protocol is HTTP");
    return { protocol };
  }
  if (path === undefined) return { protocol, path: "/" };
  if (typeof path !== "string" || path.length > HTTP_PATH_MAX || !/^\/[!-~]*$/.test(path))
    throw invalid(
      "healthCheck.path",
      `a path such as /healthz, at most ${HTTP_PATH_MAX} characters, no blanks`,
    );
  return { protocol, path };
}

function list(from: Fields, key: string, min: number, max: number): readonly Fields[] {
  const value = from[key];
  if (!Array.isArray(value) || value.length < min || value.length > max)
    throw invalid(key, `a list of ${min} to ${max} objects`);
  for (const entry of value) {
    if (typeof entry !== "object" || entry === null || Array.isArray(entry))
      throw invalid(key, "a list of objects");
  }
  return value as readonly Fields[];
}

function text(from: Fields, key: string, field: string): string {
  const value = from[key];
  if (typeof value !== "string" || value === "") throw invalid(field, "a string");
  return value;
}

function integer(from: Fields, key: string, field: string, min: number, max: number): number {
  const value = from[key];
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw invalid(field, `a whole number from ${min} to ${max}`);
  }
  return value;
}

function ipv4(from: Fields, key: string, field: string): string {
  const value = text(from, key, field);
  const parts = value.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) {
    throw invalid(field, "an IPv4 address such as 10.10.0.100");
  }
  return value;
}

function mac(from: Fields, key: string, field: string): string {
  const value = text(from, key, field);
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(value))
    throw invalid(field, "a MAC address such as 02:00:00:00:00:01");
  return value.toLowerCase();
}

function unique(values: readonly string[], field: string): void {
  const twice = values.find((value, i) => values.indexOf(value) !== i);
  if (twice !== undefined) throw invalid(field, `each entry once; ${twice} is there twice`);
}

function invalid(field: string, expected: string) {
  return nfvError("FUNCTION_INVALID", `${field}: expected ${expected}`, field);
}
