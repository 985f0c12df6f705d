// Options that every command which talks to the API has, and the client that they lead to.
import type { Command } from "commander";
import { ApiClient, readKubeconfig } from "../api/index.js";
import { defaultDirectory, directoryLayout } from "../daemons/directory.js";
import { withDir } from "./options.js";

export interface ConnectionOptions {
  readonly dir?: string;
  readonly kubeconfig?: string;
  readonly namespace?: string;
}

export interface Connection {
  readonly client: ApiClient;
  /** Given with -n, else the kubeconfig's. */
  readonly namespace: string;
}

export function withConnection(command: Command): Command {
  return withDir(command)
    .option("--kubeconfig <file>", "kubeconfig to use in place of DIR/kubeconfig")
    .option("-n, --namespace <namespace>", "namespace (default: the kubeconfig's)");
}

/** Throws KUBECONFIG_UNREADABLE. Close the client when done. */
async function connectApi(options: ConnectionOptions): Promise<Connection> {
  const path = options.kubeconfig ?? directoryLayout(defaultDirectory(options.dir)).kubeconfig;
  const { namespace, ...access } = await readKubeconfig(path);
  const client = new ApiClient({
    ...access,
    onWarning: (text) =>
      process.stderr.write(`Warning: ${text.replace(/^299 - "(.*)"$/, "$1").replace(/\\"/g, '"')}\n`),
  });
  return { client, namespace: options.namespace ?? namespace };
}

/** Runs `work` with a client that is closed afterwards. */
export async function usingApi<T>(
  options: ConnectionOptions,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await connectApi(options);
  try {
    return await work(connection);
  } finally {
    connection.client.close();
  }
}
