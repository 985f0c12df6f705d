// nfd, the daemon that runs network functions: one engine thread, one control socket. It persists nothing: whoever
// applied a function applies it again after a restart, and Maglev gives every connection the same endpoint as before.
import { createControlServer } from "../base/jsonrpc/index.js";
import { lockFile } from "../base/linux/index.js";
import type { Logger } from "../base/log/index.js";
import { EngineHandle } from "./chain/engine-handle.js";
import { nfvError } from "./errors.js";
import { parseLoadBalancerConfig } from "./functions/load-balancer/load-balancer-config.js";

export interface NfdOptions {
  /** Held locked while the daemon lives. */
  readonly lockPath: string;
  /** The control socket. */
  readonly socketPath: string;
  readonly log: Logger;
}

export interface Nfd {
  /** Settles when the daemon was asked to end on its control socket. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

/** Throws ALREADY_RUNNING before anything is touched, and what listening throws. */
export async function startNfd(options: NfdOptions): Promise<Nfd> {
  const lock = lockFile(options.lockPath);
  let shutdown: () => void = () => {};
  const closed = new Promise<void>((resolve) => {
    shutdown = resolve;
  });
  const engine = new EngineHandle((error) => {
    // An engine that died carries no traffic any more; a new process does, in a moment.
    options.log.fatal({ err: error }, "the engine died");
    process.exit(70);
  });
  try {
    const control = await createControlServer(
      options.socketPath,
      {
        "function.apply": async (params) => {
          const config = parseLoadBalancerConfig(params);
          await engine.apply(config);
          options.log.info({ name: config.name, endpoints: config.endpoints.length }, "function applied");
          return {};
        },
        "function.delete": async ({ name }) => {
          if (typeof name !== "string") throw nfvError("FUNCTION_INVALID", "name: expected a string", "name");
          await engine.delete(name);
          options.log.info({ name }, "function deleted");
          return {};
        },
        "function.list": () => engine.list(),
      },
      {
        name: "nfd",
        shutdown,
        onInternalError: (thrown, method) => options.log.error({ err: thrown, method }, "internal error"),
      },
    );
    return {
      closed,
      async close() {
        await control.close();
        await engine.close();
        lock.close();
      },
    };
  } catch (thrown) {
    await engine.close();
    lock.close();
    throw thrown;
  }
}
