// Control sockets of our daemons: named methods that take one object and return one value.
// Every control socket also answers `ping` → {name, version, pid} and `shutdown` (when the daemon offers it).
import { PlinthError } from "../errors/index.js";
import { isObject } from "../json/index.js";
import { checkUnixPath } from "../unix-path/index.js";
import { errorOfFault, JsonRpcFault } from "./errors.js";
import { connectJsonRpc } from "./jsonrpc-client.js";
import { listenJsonRpc } from "./jsonrpc-server.js";
import { CALL_TIMEOUT_MS } from "./limits.js";

/** Checks its own params: they come from outside. Throws PlinthError with `field` for the caller to see. */
export type ControlMethod = (params: Readonly<Record<string, unknown>>) => unknown;

export interface ControlServerOptions {
  /** The daemon's name, as `ping` reports it. */
  readonly name?: string;
  readonly version?: string;
  /** Permission bits of the socket, 0600 unless given. */
  readonly mode?: number;
  /** What `shutdown` does; it is answered before this runs. Without it the method is refused. */
  readonly shutdown?: () => void;
  /** Called for every failure that is no PlinthError: our bug, to be logged. */
  readonly onInternalError?: (thrown: unknown, method: string) => void;
}

export interface ControlServer {
  readonly path: string;
  close(): Promise<void>;
}

/** Serves `methods` on a unix socket at `path`. Throws as `listenJsonRpc`. */
export async function createControlServer(
  path: string,
  methods: Readonly<Record<string, ControlMethod>>,
  options: ControlServerOptions = {},
): Promise<ControlServer> {
  const table = new Map<string, ControlMethod>(Object.entries(methods));
  table.set("ping", () => ({
    name: options.name ?? "plinth",
    version: options.version ?? "0.1.0",
    pid: process.pid,
  }));
  const { shutdown } = options;
  if (shutdown !== undefined && !table.has("shutdown")) {
    table.set("shutdown", () => {
      setImmediate(shutdown);
      return {};
    });
  }
  const server = await listenJsonRpc(
    { kind: "unix", path },
    {
      async request({ method, params }) {
        const run = table.get(method);
        if (run === undefined) {
          throw new PlinthError("METHOD_UNKNOWN", `there is no method ${method.slice(0, 60)}`, {
            remedy: `methods: ${[...table.keys()].sort().join(", ")}`,
          });
        }
        try {
          return await run(paramsObject(method, params));
        } catch (thrown) {
          if (!(thrown instanceof PlinthError)) options.onInternalError?.(thrown, method);
          throw thrown;
        }
      },
    },
    { mode: options.mode ?? 0o600 },
  );
  return { path, close: () => server.close() };
}

function paramsObject(method: string, params: readonly unknown[]): Record<string, unknown> {
  const [only] = params;
  if (params.length === 0) return {};
  if (params.length > 1 || !isObject(only)) {
    throw new PlinthError("PARAMS_INVALID", `${method} takes one object`, { field: "params" });
  }
  return only;
}

/**
 * One call to a daemon's control socket on a connection of its own.
 * Rejects with the daemon's own PlinthError (code, message, field), RPC_UNREACHABLE, RPC_TIMEOUT or RPC_CLOSED.
 */
export async function callControl(
  path: string,
  method: string,
  params: Readonly<Record<string, unknown>> = {},
  timeoutMs: number = CALL_TIMEOUT_MS,
): Promise<unknown> {
  checkUnixPath(path);
  const connection = await connectJsonRpc({ kind: "unix", path }, { timeoutMs });
  try {
    return await connection.call(method, [params], timeoutMs);
  } catch (thrown) {
    if (thrown instanceof JsonRpcFault) throw errorOfFault(thrown);
    throw thrown;
  } finally {
    connection.close();
  }
}
