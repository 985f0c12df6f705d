// `plinth policy explain A B:port` and `plinth policy drops`: why a connection is allowed or not, and what was dropped.
import { type Command, InvalidArgumentError } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { callControl } from "../../base/jsonrpc/index.js";
import type { Explanation, SdnMetrics } from "../../sdn-controller/index.js";
import { defaultDirectory, directoryLayout } from "../daemons/directory.js";
import { type ConnectionOptions, usingApi, withConnection } from "./connection.js";
import { withDir } from "./options.js";
import { formatRows, type OutputOptions, print, show, withOutput } from "./output.js";

interface ExplainOptions extends ConnectionOptions, OutputOptions {
  readonly protocol: string;
}

interface Target {
  readonly machine: string;
  readonly port?: number;
}

/** Machines that one line names. */
const DROP_MACHINES_SHOWN = 4;

export function register(program: Command): void {
  const policy = program.command("policy").description("network policies at work");
  withOutput(withConnection(policy.command("explain")))
    .argument("<source>", "machine that connects, as NAME or NAMESPACE/NAME")
    .argument("<destination>", "machine and port that it connects to, as NAME:PORT", parseTarget)
    .description("say whether a connection is allowed, and which policy and rule decides")
    .option("--protocol <protocol>", "TCP, UDP, SCTP or ICMP", "TCP")
    .action(explainAction);
  const drops = policy
    .command("drops")
    .description("count dropped packets by reason and by the port or policy that was the cause");
  withOutput(withDir(drops)).action(async (options: OutputOptions & { dir?: string }) => {
    const { drops } = (await ask(options.dir, "sdn.metrics", {})) as SdnMetrics;
    const sorted = [...drops].sort((a, b) => b.packets - a.packets);
    show(options, sorted, () => (sorted.length === 0 ? "Nothing was dropped." : formatDrops(sorted)));
  });
}

async function explainAction(source: string, target: Target, options: ExplainOptions): Promise<void> {
  await usingApi(options, async ({ client, namespace }) => {
    const { items } = await client.list("Port");
    const portsOf = (machine: string): { key: string; network: string }[] => {
      const [name, space] = machine.split("/").reverse() as [string, string | undefined];
      const ports = items.filter(
        (port) => port.spec.virtualMachine === name && port.metadata.namespace === (space ?? namespace),
      );
      if (ports.length === 0) throw new PlinthError("NOT_FOUND", `machine ${machine} has no port`);
      return ports.map((port) => ({
        key: `${port.metadata.namespace}/${port.metadata.name}`,
        network: `${port.metadata.namespace}/${port.spec.network}`,
      }));
    };
    const destinations = portsOf(target.machine);
    const pairs = portsOf(source).flatMap((from) =>
      destinations.filter((to) => to.network === from.network).map((to) => ({ from, to })),
    );
    if (pairs.length === 0) print(`${source} and ${target.machine} have no network in common.`);
    for (const { from, to } of pairs) {
      const answer = (await ask(options.dir, "sdn.explain", {
        source: from.key,
        destination: to.key,
        protocol: options.protocol.toUpperCase(),
        ...(target.port === undefined ? {} : { port: target.port }),
      })) as Explanation;
      const verdict = answer.allowed ? "allowed" : "denied";
      show(options, answer, () => `${from.network}: ${verdict}\n  ${answer.text.join("\n  ")}`);
    }
  });
}

function ask(dir: string | undefined, method: string, params: Record<string, unknown>): Promise<unknown> {
  return callControl(directoryLayout(defaultDirectory(dir)).controllerControlSocket, method, params);
}

function formatDrops(drops: SdnMetrics["drops"]): string {
  const rows = drops.map((drop) => [String(drop.packets), drop.reason, formatSource(drop)]);
  return formatRows(["PACKETS", "REASON", "RESOURCE"], rows);
}

/** Machines that policies cannot tell apart are counted together. */
function formatSource({ resource, machines, policies }: SdnMetrics["drops"][number]): string {
  if (machines === undefined || machines.length === 0) return resource;
  const shown = machines.slice(0, DROP_MACHINES_SHOWN).join(", ");
  const more = machines.length - DROP_MACHINES_SHOWN;
  const by =
    policies === undefined || policies.length === 0 ? "" : ` by NetworkPolicy ${policies.join(", ")}`;
  return `VirtualMachine ${shown}${more > 0 ? ` and ${more} more` : ""}${by}`;
}

function parseTarget(text: string): Target {
  const match = /^([^:]+)(?::(\d{1,5}))?$/.exec(text);
  if (match === null) throw new InvalidArgumentError("expected NAME:PORT");
  const machine = match[1] as string;
  return match[2] === undefined ? { machine } : { machine, port: Number(match[2]) };
}
