// Listens where Manager rows ask for it (`ovs-vsctl set-manager ptcp:6640`). Thread: main.
// Invariant: after `follow`, exactly the targets that could be opened are open; the others have a reason.
import { describeError } from "../../base/errors/index.js";
import type { DatabaseServer } from "../db/index.js";

export class Managers {
  readonly #server: DatabaseServer;
  readonly #open = new Map<string, { close(): Promise<void> }>();
  /** Why a target is not open. */
  readonly errors = new Map<string, string>();

  constructor(server: DatabaseServer) {
    this.#server = server;
  }

  async follow(targets: readonly string[]): Promise<void> {
    for (const [target, listener] of this.#open) {
      if (targets.includes(target)) continue;
      this.#open.delete(target);
      await listener.close();
    }
    this.errors.clear();
    for (const target of targets) {
      if (this.#open.has(target)) continue;
      try {
        this.#open.set(target, await this.#server.listen(target));
      } catch (thrown) {
        this.errors.set(target, describeError(thrown));
      }
    }
  }

  isOpen(target: string): boolean {
    return this.#open.has(target);
  }
}
