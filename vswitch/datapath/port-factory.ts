// Makes ports from what the configuration says of them. Types and options bear Open vSwitch's names; stream is ours.
//
//   dpdkvhostuserclient  options:vhost-server-path   QEMU listens, we dial
//   dpdkvhostuser        options:path                we listen, QEMU dials
//   stream               options:path, options:server=true
//   patch                options:peer                the other patch port's name
//   internal             a TAP device where the host allows it, else no device
//   tap                  a TAP device; options:n_rxq=queues, options:persist=true
//   system               a network device of the host; options:qdisc-bypass=true
//   afxdp                the same by AF_XDP; options:n_rxq=queues, options:xdp-mode
//   dummy                options:pcap, options:stream …  nothing but what tests give and take (dummy-port.ts)
//
// Thread: datapath worker.
import { PlinthError } from "../../base/errors/index.js";
import { closeFile } from "../../base/linux/index.js";
import { type HandedPort, type PacketPool, type Port, StreamPort } from "../../base/packet/index.js";
import type { GuestWindow } from "../../base/virtio/index.js";
import {
  AfxdpPort,
  DummyPort,
  InternalPort,
  PatchPort,
  SystemPort,
  TAP_QUEUES_MAX,
  TapPort,
  VhostUserPort,
  XDP_MODES,
  XDP_QUEUES_MAX,
} from "../port/index.js";
import { refusable } from "./errors.js";

const BEST_EFFORT = "best-effort";

export interface PortSpec {
  readonly name: string;
  readonly type: string;
  readonly options: Readonly<Record<string, string>>;
  readonly mac: Uint8Array;
  readonly mtu: number;
}

export interface PortFactoryModules {
  readonly pool: PacketPool;
  readonly window: GuestWindow;
  /** Whether TAP devices may be made for internal ports. */
  readonly hostDevices: boolean;
}

export class PortFactory {
  readonly #modules: PortFactoryModules;
  /** Patch ports by name, with the name of the peer they want. */
  readonly #patches = new Map<string, { readonly port: PatchPort; readonly peer: string }>();
  readonly #kinds = new WeakMap<Port, string>();

  constructor(modules: PortFactoryModules) {
    this.#modules = modules;
  }

  /**
   * Throws PORT_TYPE_UNKNOWN, PORT_OPTION_MISSING, PORT_OPTION_INVALID or PORT_FAILED. What another process has `handed` over is ours in any
   * case; what makes no sense of it is closed, and the port opened anew.
   */
  create(spec: PortSpec, handed?: HandedPort): Port {
    const port = refusable(spec.name, () => {
      try {
        return this.#create(spec, handed);
      } catch (thrown) {
        const code = thrown instanceof PlinthError ? thrown.code : "";
        // Options are looked at before what was handed over is taken.
        if (code === "HANDED_PORT_INVALID" || code === "PORT_OPTION_INVALID")
          for (const fd of handed?.fds ?? []) closeFile(fd);
        if (code !== "HANDED_PORT_INVALID") throw thrown;
        return this.#create(spec);
      }
    });
    this.#kinds.set(port, kindOf(spec));
    return port;
  }

  /** What decides whether a port of another process is the same one. */
  kindOf(port: Port): string {
    return this.#kinds.get(port) ?? "";
  }

  /** The port has been closed. */
  forget(name: string): void {
    const patch = this.#patches.get(name);
    patch?.port.disconnect();
    this.#patches.delete(name);
  }

  #create(spec: PortSpec, handed?: HandedPort): Port {
    const { name } = spec;
    const { pool, window } = this.#modules;
    // Memory that its owner can truncate (testpmd, hugetlbfs) could take the worker down: only on request.
    const allowUnsealed = isSet(spec, "allow-unsealed-memory");
    const more = handed === undefined ? {} : { handed };
    switch (spec.type) {
      case "dpdkvhostuserclient": {
        const path = need(spec, "vhost-server-path");
        return new VhostUserPort({ name, pool, window, path, role: "dial", allowUnsealed, ...more });
      }
      case "dpdkvhostuser": {
        const path = need(spec, "path");
        return new VhostUserPort({ name, pool, window, path, role: "listen", allowUnsealed, ...more });
      }
      case "stream": {
        const role = isSet(spec, "server") ? "listen" : "dial";
        return new StreamPort({ name, pool, window, path: need(spec, "path"), role, ...more });
      }
      case "patch":
        return this.#createPatch(spec);
      case "internal":
        return this.#modules.hostDevices ? this.#createTap(spec, handed) : new InternalPort({ name, pool });
      case "tap":
        return this.#createTap(spec, handed);
      case "afxdp":
        return this.#createAfxdp(spec);
      case "system": {
        const qdiscBypass = isSet(spec, "qdisc-bypass");
        return new SystemPort({ name, pool, window, mtu: spec.mtu, qdiscBypass, ...more });
      }
      case "dummy":
        return new DummyPort({ name, pool, options: spec.options });
      default:
        throw new PlinthError("PORT_TYPE_UNKNOWN", `"${spec.type}" is no type of port`, { field: "type" });
    }
  }

  #createTap(spec: PortSpec, handed: HandedPort | undefined): Port {
    const { name, mtu, mac } = spec;
    const { pool } = this.#modules;
    const queues = queuesOf(spec, TAP_QUEUES_MAX);
    const persistent = isSet(spec, "persist");
    const more = handed === undefined ? {} : { handed };
    return new TapPort({ name, pool, mtu, queues, persistent, mac, ...more });
  }

  #createAfxdp(spec: PortSpec): Port {
    const { name, options, mtu } = spec;
    const wanted = options["xdp-mode"] ?? BEST_EFFORT;
    const mode = XDP_MODES.find((one) => one === wanted);
    if (mode === undefined && wanted !== BEST_EFFORT)
      throw invalid("xdp-mode", wanted, `${[BEST_EFFORT, ...XDP_MODES].join(", ")} are`);
    const { pool, window } = this.#modules;
    const queues = queuesOf(spec, XDP_QUEUES_MAX);
    return new AfxdpPort({ name, pool, window, mtu, queues, ...(mode === undefined ? {} : { mode }) });
  }

  #createPatch(spec: PortSpec): Port {
    const peer = spec.options["peer"] ?? "";
    const port = new PatchPort({ name: spec.name, pool: this.#modules.pool });
    this.#patches.set(spec.name, { port, peer });
    const other = this.#patches.get(peer);
    if (other !== undefined && other.peer === spec.name && other.port !== port) port.connect(other.port);
    return port;
  }
}

export function kindOf({ type, options }: Pick<PortSpec, "type" | "options">): string {
  return JSON.stringify([type, ...Object.entries(options).sort()]);
}

function queuesOf({ options }: PortSpec, max: number): number {
  const { n_rxq: text = "1" } = options;
  const queues = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (queues < 1 || queues > max) throw invalid("n_rxq", text, `1–${max} are`);
  return queues;
}

/** In whatever case, as Open vSwitch reads them. */
function isSet({ options }: PortSpec, option: string): boolean {
  const text = options[option] ?? "false";
  if (/^true$/i.test(text)) return true;
  if (/^false$/i.test(text)) return false;
  throw invalid(option, text, "true, false are");
}

function invalid(option: string, value: string, expected: string): PlinthError {
  const field = `options:${option}`;
  return new PlinthError("PORT_OPTION_INVALID", `${field} cannot be "${value}": ${expected} possible`, {
    field,
  });
}

function need(spec: PortSpec, option: string): string {
  const value = spec.options[option];
  if (value !== undefined && value !== "") return value;
  throw new PlinthError(
    "PORT_OPTION_MISSING",
    `port ${spec.name} of type ${spec.type} needs options:${option}`,
    {
      field: `options:${option}`,
    },
  );
}
