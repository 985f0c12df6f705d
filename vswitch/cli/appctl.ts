// `plinth appctl`: one inspection command to a running daemon, as ovs-appctl sends it.
import { connectJsonRpc } from "../../base/jsonrpc/index.js";

export interface AppctlOptions {
  /** Path of the daemon's unixctl socket. */
  readonly target: string;
  readonly timeoutMs?: number;
}

/** Resolves with the daemon's answer. Rejects with JsonRpcFault (its refusal), RPC_UNREACHABLE or RPC_TIMEOUT. */
export async function runAppctl(
  command: string,
  args: readonly string[],
  options: AppctlOptions,
): Promise<string> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const connection = await connectJsonRpc({ kind: "unix", path: options.target }, { timeoutMs });
  try {
    const answer = await connection.call(command, args, timeoutMs);
    return typeof answer === "string" ? answer : `${JSON.stringify(answer)}\n`;
  } finally {
    connection.close();
  }
}
