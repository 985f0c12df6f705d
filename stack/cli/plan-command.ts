// `plinth plan -f FILE`: which machines would gain or lose which connections if the objects in files were applied.
// Nothing is changed. The exit code is 1 when an invariant would be broken.
import type { Command } from "commander";
import { callControl } from "../../base/jsonrpc/index.js";
import { type ChangeReview, formatBreach, type PlanLine } from "../../sdn-controller/index.js";
import { readDocuments } from "../apply/documents.js";
import { defaultDirectory, directoryLayout } from "../daemons/directory.js";
import { withDir } from "./options.js";
import { type OutputOptions, show, withOutput } from "./output.js";

interface PlanOptions extends OutputOptions {
  readonly dir?: string;
  readonly namespace: string;
  readonly filename: string[];
}

export function register(program: Command): void {
  withOutput(withDir(program.command("plan")))
    .description(
      "say which machines would gain or lose which connections by applying files; nothing is changed",
    )
    .requiredOption("-f, --filename <file...>", "YAML or JSON file, directory, or - for standard input")
    .option("-n, --namespace <namespace>", "namespace of objects that name none", "default")
    .action(planAction);
}

async function planAction(options: PlanOptions): Promise<void> {
  const documents = await readDocuments(options.filename, options.namespace);
  const socket = directoryLayout(defaultDirectory(options.dir)).controllerControlSocket;
  const objects = documents.map(({ object }) => object);
  const review = (await callControl(socket, "sdn.plan", { objects })) as ChangeReview;
  show(options, review, () => formatReview(review));
  if (review.breaches.length > 0) process.exitCode = 1;
}

function formatReview({ plan, breaches }: ChangeReview): string {
  const unknown = plan !== undefined && "tooMany" in plan ? plan.tooMany : undefined;
  const { gained, lost } = plan === undefined || "tooMany" in plan ? { gained: [], lost: [] } : plan;
  const line = (sign: string) => (one: PlanLine) =>
    `${sign} ${one.source} => ${one.destination} : ${one.connections}`;
  const summary =
    unknown !== undefined
      ? `What would be gained or lost is not worked out: ${unknown}.`
      : gained.length + lost.length === 0
        ? "Reachability stays as it is."
        : `${gained.length} gained, ${lost.length} lost.`;
  return [...gained.map(line("+")), ...lost.map(line("-")), summary, ...breaches.map(formatBreach)].join(
    "\n",
  );
}
