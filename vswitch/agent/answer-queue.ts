// The answers of one connection, written in the order of their requests however long each takes.
// Invariant: nothing of a request is written before everything of those in front of it. Thread: main.

import type { MessageSender } from "./message-sender.js";
import type { Answer } from "./requests.js";

export interface AnswerQueueModules {
  readonly sender: MessageSender;
  /** The switch is gone. */
  readonly onFailed: (error: Error) => void;
  /** An answer has been written: there is room for further requests. */
  readonly onProgress: () => void;
}

export interface AnswerDetails {
  readonly xid: number;
  /** The message as it came: errors quote it. */
  readonly request: Uint8Array;
  /** The answer may be long: it should not be made beside another. */
  readonly isLong?: boolean;
  /** Called when the answer is written. */
  readonly onWritten?: () => void;
}

export class AnswerQueue {
  readonly #modules: AnswerQueueModules;
  #last: Promise<void> = Promise.resolve();
  #outstanding = 0;
  #long = 0;

  constructor(modules: AnswerQueueModules) {
    this.#modules = modules;
  }

  /** Requests that wait for their answers. */
  get outstanding(): number {
    return this.#outstanding;
  }

  get hasLong(): boolean {
    return this.#long > 0;
  }

  answer(
    pending: Answer | Promise<Answer>,
    { xid, request, isLong = false, onWritten }: AnswerDetails,
  ): void {
    if (isLong) this.#long++;
    const { sender } = this.#modules;
    const whenThere = Promise.resolve(pending);
    this.deliver(1, whenThere, async () => {
      const result = await whenThere;
      if (typeof result === "string") sender.sendError(result, xid, request);
      else for (const message of result) sender.send(message, xid);
      if (isLong) this.#long--;
      onWritten?.();
    });
  }

  /**
   * Runs `deliver`, which answers so many requests, when all earlier answers have been written. `pending` is what it
   * waits for; it rejects only when the switch is gone.
   */
  deliver(requests: number, pending: Promise<unknown>, deliver: () => Promise<void>): void {
    pending.catch(() => {}); // handled in its turn below
    this.#outstanding += requests;
    this.#last = this.#last
      .then(deliver)
      .catch(this.#modules.onFailed)
      .finally(() => {
        this.#outstanding -= requests;
        this.#modules.onProgress();
      });
  }
}
