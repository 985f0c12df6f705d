// The changes that one connection asks for: singly, in batches, and in bundles.
// Invariant: changes of one read are handed to the switch as one batch, before any later request. Thread: main.

import type { Logger } from "../../base/log/index.js";
import type { BundleAdd, BundleControl, OfpErrorName } from "../../base/openflow/index.js";
import type { Clock, Timer } from "../../base/time/index.js";
import type { AnswerQueue } from "./answer-queue.js";
import { Bundles, type PendingChange } from "./bundles.js";
import { BUNDLE_IDLE_MS } from "./limits.js";
import type { MessageSender } from "./message-sender.js";
import type { ChangeRefusal, EncodedFlowMod, SwitchChange, SwitchModel } from "./switch-model.js";

export interface ChangeQueueModules {
  readonly model: SwitchModel;
  /** This connection, as changes name their origin. */
  readonly origin: number;
  readonly answers: AnswerQueue;
  readonly sender: MessageSender;
  readonly clock: Clock;
  readonly log: Logger;
  /** For logs. */
  readonly connection: string;
}

export class ChangeQueue {
  readonly #modules: ChangeQueueModules;
  readonly #bundles = new Bundles();
  #timer: Timer | undefined;
  #batch: PendingChange[] = [];

  constructor(modules: ChangeQueueModules) {
    this.#modules = modules;
  }

  /** Bundles that were not committed are gone. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** The change waits for flush(). */
  add(change: SwitchChange | EncodedFlowMod, request: Uint8Array): void {
    this.#batch.push({ change, request });
  }

  /** Hands all that waits to the switch. Only refusals are answered. */
  flush(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    const { model, origin, answers, sender } = this.#modules;
    const done = model.change(
      batch.map(({ change }) => change),
      origin,
    );
    answers.deliver(batch.length, done, async () => {
      for (const [i, refusal] of (await done).entries()) {
        const entry = batch[i];
        if (refusal === undefined || entry === undefined) continue;
        this.#note(refusal);
        sender.sendError(refusal.error, entry.change.xid, entry.request);
      }
    });
  }

  // --- Bundles

  /** Only an error is answered: behind the answers to what came before. */
  addToBundle(message: BundleAdd, request: Uint8Array): void {
    const error = this.#bundles.add(message, request, this.#modules.clock.nowMs());
    this.#arm();
    if (error !== undefined) this.refuse(error, message.xid, request);
  }

  controlBundle(message: BundleControl, request: Uint8Array): void {
    const outcome = this.#bundles.control(message, request, this.#modules.clock.nowMs());
    this.#arm();
    if ("error" in outcome) {
      this.refuse(outcome.error, message.xid, request);
      return;
    }
    const { bundleId, xid } = message;
    const reply = { type: "bundle_control", xid, bundleId, control: outcome.reply, flags: 0 } as const;
    if (outcome.changes !== undefined) this.#commit(outcome.changes, reply, request);
    else this.#modules.answers.answer([reply], { xid, request });
  }

  refuse(error: OfpErrorName, xid: number, request: Uint8Array): void {
    this.flush();
    this.#modules.answers.answer(error, { xid, request });
  }

  /** The refused message's own error comes first, then the commit's. */
  #commit(changes: readonly PendingChange<SwitchChange>[], reply: BundleControl, request: Uint8Array): void {
    const { model, origin, answers, sender } = this.#modules;
    const done = model.changeAtomically(
      changes.map(({ change }) => change),
      origin,
    );
    answers.deliver(1, done, async () => {
      const refusal = await done;
      if (refusal === undefined) {
        sender.send(reply, reply.xid);
        return;
      }
      this.#note(refusal);
      const failed = changes[refusal.index];
      if (failed !== undefined) sender.sendError(refusal.error, failed.change.xid, failed.request);
      sender.sendError("OFPBFC_MSG_FAILED", reply.xid, request);
    });
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#bundles.count === 0) return;
    const { clock } = this.#modules;
    this.#timer = clock.after(BUNDLE_IDLE_MS, () => {
      this.#timer = undefined;
      for (const { xid, request } of this.#bundles.expire(clock.nowMs()))
        this.refuse("OFPBFC_TIMEOUT", xid, request);
      this.#arm();
    });
  }

  #note(refusal: ChangeRefusal): void {
    const { log, connection } = this.#modules;
    const fields = { connection, error: refusal.error };
    if (refusal.isMalformed === true) log.warn(fields, refusal.message);
    else log.debug(fields, refusal.message);
  }
}
