// The world of the proofs on a running data centre: the API by HTTPS with the kubeconfig, as any user's program.
import { waitFor } from "../../base/time/index.js";
import { connectWithKubeconfig, objectPath } from "../api/index.js";
import { applyOne } from "../apply/apply.js";
import { parseDocuments } from "../apply/documents.js";
import type { DirectoryLayout } from "../daemons/directory.js";
import type { DaemonSpec } from "../daemons/up/daemon-set.js";
import { isReady, killDaemon } from "../daemons/up/supervisor.js";
import { type KindName, kindByName, type ResourceInput } from "../resources/index.js";
import { describeWaiting } from "./waiting.js";
import type { ExecResult, Resource, World } from "./world.js";

export interface LiveWorldOptions {
  readonly namespace: string;
  /** The example's manifest: YAML documents. */
  readonly example: string;
  readonly say: (text: string) => void;
}

export interface LiveWorld extends World {
  /** Resolves when every VM of the namespace that should run does; says what it waits for. */
  untilMachinesRun(deadlineMs: number, say: (text: string) => void): Promise<void>;
  close(): void;
}

const EXEC_DEADLINE_MS = 15_000;
const REMOVE_DEADLINE_MS = 60_000;

/** Throws KUBECONFIG_UNREADABLE or API_UNREACHABLE. */
export async function connectWorld(
  layout: DirectoryLayout,
  daemons: readonly DaemonSpec[],
  options: LiveWorldOptions,
): Promise<LiveWorld> {
  const client = await connectWithKubeconfig(layout.kubeconfig, { component: "plinth-up" });
  const { namespace } = options;
  const named = (kind: string, name: string) => ({
    kind: kind as KindName,
    name: { name, ...(kindByName(kind as KindName).namespaced ? { namespace } : {}) },
  });
  const daemon = (name: string): DaemonSpec => {
    const found = daemons.find((spec) => spec.name === name);
    if (found === undefined) throw new Error(`there is no daemon ${name}`);
    return found;
  };
  const get = async (kind: string, name: string) => {
    const target = named(kind, name);
    return (await client.get(target.kind, target.name)) as Resource | undefined;
  };
  const list = async (kind: string) =>
    (await client.list(kind as KindName, { namespace })).items as unknown as Resource[];
  const act = (kind: string, name: string, action: string, body: object, deadlineMs?: number) => {
    const target = named(kind, name);
    const path = objectPath(kindByName(target.kind), target.name, action);
    return client.transport.json({
      method: "POST",
      path,
      body,
      ...(deadlineMs === undefined ? {} : { timeoutMs: deadlineMs }),
    });
  };
  return {
    namespace,
    get,
    list,
    async exec(vm, script, timeoutMs = EXEC_DEADLINE_MS) {
      const body = { command: ["sh", "-c", script], timeoutMs };
      return (await act("VirtualMachine", vm, "exec", body, timeoutMs + 5_000)) as ExecResult;
    },
    async patch(kind, name, patch) {
      const target = named(kind, name);
      await client.patch(target.kind, target.name, patch);
    },
    async create(document) {
      const { kind } = document as Resource;
      await client.create(kind as KindName, document as unknown as ResourceInput<KindName>);
    },
    async remove(kind, name) {
      const target = named(kind, name);
      await client.delete(target.kind, target.name);
      await waitFor(
        async () => (await get(kind, name)) === undefined,
        `${kind} ${name} is not deleted`,
        REMOVE_DEADLINE_MS,
        100,
      );
    },
    async applyExample() {
      for (const document of parseDocuments(options.example, "examples/three-tier.yaml", namespace)) {
        await applyOne(client, document);
      }
    },
    async act(kind, name, action, body) {
      await act(kind, name, action, body);
    },
    kill(name) {
      if (!killDaemon(daemon(name))) throw new Error(`${name} was not running`);
    },
    ready: (name) => isReady(daemon(name)),
    say: options.say,
    async untilMachinesRun(deadlineMs, say) {
      let waiting = "";
      await waitFor(
        async () => {
          const machines = (await list("VirtualMachine")).filter(({ spec }) => spec.powerState === "Running");
          const rest = machines.filter(({ status }) => status?.phase !== "Running");
          waiting = describeWaiting(rest);
          say(
            `${machines.length - rest.length} of ${machines.length} VMs run${waiting === "" ? "" : ` (${waiting})`}`,
          );
          return machines.length > 0 && rest.length === 0;
        },
        () => `not all VMs run: ${waiting}`,
        deadlineMs,
        250,
      );
    },
    close: () => client.close(),
  };
}
