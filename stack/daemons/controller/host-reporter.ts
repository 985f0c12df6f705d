// What the SDN controller says of its switch, said of the Host whose switch it is. Thread: main.
import { hostname } from "node:os";
import type { Logger } from "../../../base/log/index.js";
import type { Clock, Timer } from "../../../base/time/index.js";
import type { SdnEvent, StatusCondition } from "../../../sdn-controller/index.js";
import { type ResourceClient, updateConditions } from "../../api/index.js";
import type { Host } from "../../resources/index.js";
import { PassRunner } from "./pass-runner.js";

/** A Host comes with its agent, which may start later than the controller. */
const HOST_AWAITED_MS = 1_000;

export class HostReporter {
  readonly #client: ResourceClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #runner: PassRunner;
  /** By type: those that are yet to be written. */
  readonly #waiting = new Map<string, StatusCondition>();
  #timer: Timer | undefined;

  constructor(modules: { readonly client: ResourceClient; readonly clock: Clock; readonly log: Logger }) {
    this.#client = modules.client;
    this.#clock = modules.clock;
    this.#log = modules.log;
    this.#runner = new PassRunner("writing the host's conditions", () => this.#pass(), modules);
  }

  /** What happened, as an Event. Never rejects. */
  async tell(event: SdnEvent): Promise<void> {
    this.#log.warn(event, event.message);
    try {
      const host = await this.#find();
      if (host !== undefined) await this.#client.recordEvent(host, event);
    } catch (thrown) {
      this.#log.warn({ err: thrown }, "the hosts cannot be read to tell of it");
    }
  }

  /** Writes the condition as soon as there is a Host and the store takes it; a later one of its type replaces it. */
  show(condition: StatusCondition): void {
    this.#waiting.set(condition.type, condition);
    this.#runner.trigger();
  }

  close(): Promise<void> {
    this.#timer?.cancel();
    return this.#runner.close();
  }

  async #pass(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const host = await this.#find();
    if (host === undefined) {
      this.#timer?.cancel();
      this.#timer = this.#clock.after(HOST_AWAITED_MS, () => this.#runner.trigger());
      return;
    }
    const written = [...this.#waiting.values()];
    await updateConditions(this.#client, "Host", host.metadata, written);
    for (const condition of written)
      if (this.#waiting.get(condition.type) === condition) this.#waiting.delete(condition.type);
  }

  async #find(): Promise<Host | undefined> {
    const { items } = await this.#client.list("Host");
    return items.find(({ metadata }) => metadata.name === hostname()) ?? items[0];
  }
}
