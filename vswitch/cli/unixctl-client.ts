// One command to a running daemon, as ovs-appctl sends it, and its answer as text or as data.
// Source: ovs-appctl(8); "set-options" and the shape of answers in JSON as Open vSwitch has had them since 3.4.
import { connectJsonRpc, JsonRpcFault } from "../../base/jsonrpc/index.js";

/** Nobody waits longer, whatever the command line says. */
const WAIT_MAX_MS = 24 * 3600 * 1000;

export interface UnixctlRequest {
  /** Path of the daemon's control socket. */
  readonly socket: string;
  readonly timeoutMs?: number | undefined;
  /** "json": data where the daemon has some, else {"reply": text, "reply-format": "plain"}. */
  readonly format?: "text" | "json";
}

/**
 * Resolves with what to print. Rejects with JsonRpcFault (the daemon's refusal), RPC_UNREACHABLE, RPC_TIMEOUT,
 * RPC_CLOSED or RPC_MALFORMED.
 */
export async function askUnixctl(
  command: string,
  args: readonly string[],
  { socket, timeoutMs = WAIT_MAX_MS, format = "text" }: UnixctlRequest,
): Promise<unknown> {
  const connection = await connectJsonRpc({ kind: "unix", path: socket }, { timeoutMs });
  try {
    const knowsJson = format === "json" && (await setFormat(connection, timeoutMs));
    const answer = await connection.call(command, args, timeoutMs);
    if (format === "text" || knowsJson || typeof answer !== "string") return answer;
    // A daemon that knows text only.
    return { reply: answer, "reply-format": "plain" };
  } finally {
    connection.close();
  }
}

async function setFormat(
  connection: Awaited<ReturnType<typeof connectJsonRpc>>,
  timeoutMs: number,
): Promise<boolean> {
  try {
    await connection.call("set-options", ["--format", "json"], timeoutMs);
    return true;
  } catch (thrown) {
    if (thrown instanceof JsonRpcFault) return false;
    throw thrown;
  }
}
