// A Controller row that asks the switch to listen ("ptcp:6653", "punix:PATH"): a service controller.
// Thread: main.

import type { ConnectionModules } from "./connection.js";
import type { ControllerSpec, ControllerStatus } from "./controller-link.js";
import { Listener, type ListenTarget } from "./listener.js";
import type { SwitchEvent } from "./switch-model.js";

export class ControllerListener {
  readonly #target: string;
  readonly #opening: Promise<Listener | undefined>;
  #listener: Listener | undefined;
  #lastError: string | undefined;

  constructor(spec: ControllerSpec, where: ListenTarget, modules: ConnectionModules, onChange: () => void) {
    const { target } = spec;
    this.#target = target;
    this.#opening = Listener.open(target, where, modules, spec.tls).then(
      (listener) => {
        this.#listener = listener;
        onChange();
        return listener;
      },
      (error: Error) => {
        this.#lastError = error.message;
        modules.log.error({ target }, error.message);
        onChange();
        return undefined;
      },
    );
  }

  get status(): ControllerStatus {
    return {
      target: this.#target,
      isConnected: (this.#listener?.connectionCount ?? 0) > 0,
      role: (this.#listener?.connectionCount ?? 0) > 0 ? "other" : undefined,
      state: this.#listener === undefined ? "VOID" : "ACTIVE",
      lastError: this.#lastError,
      connectedAtMs: undefined,
      disconnectedAtMs: undefined,
    };
  }

  offer(event: SwitchEvent): void {
    this.#listener?.offer(event);
  }

  async close(): Promise<void> {
    await (await this.#opening)?.close();
  }
}
