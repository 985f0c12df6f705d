// Registers this machine as a Host and keeps saying that its agent lives. Thread: main.
import { cpus, hostname, totalmem } from "node:os";
import type { Facility } from "../../../base/linux/index.js";
import type { Logger } from "../../../base/log/index.js";
import type { Clock, Timer } from "../../../base/time/index.js";
import type { AcceleratorVerdict } from "../../../hypervisor-core/index.js";
import { formatTime, isApiError, type ResourceClient, updateStatus, withCondition } from "../../api/index.js";

export interface HostRegistrationOptions {
  readonly name: string;
  readonly facilities: readonly Facility[];
  readonly accelerator: () => AcceleratorVerdict | undefined;
}

/** The controller takes a host for silent after 10 s. */
const HEARTBEAT_MS = 2_500;
/** For the daemons of Plinth itself and the system around them. */
const RESERVED_MEMORY_BYTES = 512 * 1024 * 1024;

/** This machine's name as the name of an object: a DNS label. */
export function hostName(name: string = hostname()): string {
  const label = name
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .slice(0, 63)
    .replace(/^-+|-+$/g, "");
  return label === "" ? "host" : label;
}

/** What machines can be given: the processors, and the memory of this machine or of the group we live in. */
export function hostCapacity(): { readonly cpus: number; readonly memoryBytes: number } {
  const limitBytes = (process as { constrainedMemory?: () => number }).constrainedMemory?.() ?? 0;
  const total = totalmem();
  const usable = limitBytes > 0 && limitBytes < total ? limitBytes : total;
  return { cpus: Math.max(1, cpus().length), memoryBytes: Math.max(0, usable - RESERVED_MEMORY_BYTES) };
}

export class HostRegistration {
  readonly #options: HostRegistrationOptions;
  readonly #modules: { readonly client: ResourceClient; readonly clock: Clock; readonly log: Logger };
  readonly #capacity = hostCapacity();
  #timer: Timer | undefined;
  #beat: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(
    options: HostRegistrationOptions,
    modules: { readonly client: ResourceClient; readonly clock: Clock; readonly log: Logger },
  ) {
    this.#options = options;
    this.#modules = modules;
    this.beat();
  }

  /** Reports now, and then at every interval. */
  beat(): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    this.#beat = this.#report()
      .catch((thrown: unknown) => this.#modules.log.debug({ err: thrown }, "heartbeat not taken"))
      .then(() => {
        if (!this.#closed) this.#timer = this.#modules.clock.after(HEARTBEAT_MS, () => this.beat());
      });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#beat;
  }

  async #report(): Promise<void> {
    const { client, clock } = this.#modules;
    const { name, facilities } = this.#options;
    const accelerator = this.#options.accelerator();
    const written = await updateStatus(client, "Host", { name }, (current) => ({
      capacity: this.#capacity,
      ...(accelerator === undefined ? {} : { accelerator: accelerator.accelerator }),
      facilities: facilities.map((each) => this.#facility(each, accelerator)),
      lastHeartbeatTime: formatTime(clock.wallMs()),
      conditions: withCondition(current.status?.conditions, {
        type: "Ready",
        status: "True",
        reason: "AgentReports",
        message: "",
      }),
    }));
    if (written !== undefined) return;
    await client.create("Host", { metadata: { name } }).catch((thrown: unknown) => {
      if (!isApiError(thrown, "AlreadyExists")) throw thrown;
    });
    await this.#report();
  }

  /** For KVM only a booted guest counts, not what the kernel offers. */
  #facility(facility: Facility, accelerator: AcceleratorVerdict | undefined) {
    const { name, available, reason } = facility;
    if (name === "kvm" && accelerator !== undefined) {
      const works = accelerator.accelerator === "kvm";
      return { name, available: works, ...(works ? {} : { reason: accelerator.reason }) };
    }
    return { name, available, ...(reason === "" ? {} : { reason }) };
  }
}
