// The main thread's proxy of the engine: requests are carried out in order between two breaths. Thread: main.
import { WorkerHandle } from "../../base/worker/index.js";
import type { LoadBalancerConfig } from "../functions/load-balancer/load-balancer-config.js";
import { ANSWER_DEADLINE_MS } from "../limits.js";
import type { FunctionStatus } from "./network-function.js";

export interface NamedStatus extends FunctionStatus {
  readonly name: string;
  /** True while the switch is connected. */
  readonly attached: boolean;
}

export class EngineHandle {
  readonly #worker: WorkerHandle;

  /** `onDied` is called once if the thread ends by itself. */
  constructor(onDied: (error: Error) => void) {
    this.#worker = new WorkerHandle(new URL("./engine-worker.js", import.meta.url), {
      name: "nfd-engine",
      answerDeadlineMs: ANSWER_DEADLINE_MS,
      onDied,
    });
  }

  /** Makes the function or changes it; live connections stay where they are. Rejects with FUNCTIONS_TOO_MANY or a socket error. */
  apply(config: LoadBalancerConfig): Promise<void> {
    return this.#worker.request("apply", config);
  }

  /** Rejects with FUNCTION_UNKNOWN. */
  delete(name: string): Promise<void> {
    return this.#worker.request("delete", name);
  }

  list(): Promise<readonly NamedStatus[]> {
    return this.#worker.request("list");
  }

  close(): Promise<void> {
    return this.#worker.close();
  }
}
