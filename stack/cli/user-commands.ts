// `plinth user kubeconfig`: lets a person use the API under a name of their own, for whom roles are then bound.
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { formatKubeconfig, readKubeconfig } from "../api/index.js";
import { defaultDirectory, directoryLayout } from "../daemons/directory.js";
import { withDir } from "./options.js";
import { print } from "./output.js";

const DAY_MS = 86_400_000;
const DAYS_MAX = 3650;
const NAME_LENGTH_MAX = 64;

interface UserOptions {
  readonly dir?: string;
  readonly group: string[];
  readonly days: number;
  readonly namespace: string;
}

export function register(program: Command): void {
  const user = program.command("user").description("users of the API beside the administrator");
  withDir(user.command("kubeconfig <name>"))
    .description(
      "print a kubeconfig with a client certificate for a user; give it rights with kubectl create rolebinding NAME --clusterrole=view --user=<name>. Run where DIR is. A certificate cannot be called back before it ends",
    )
    .option("-g, --group <name...>", "group that the user is in; roles can be bound to groups too", [])
    .option("--days <count>", "how long it is valid", parseDays, 365)
    .option("-n, --namespace <namespace>", "namespace that its commands mean", "default")
    .action((name: string, options: UserOptions) => kubeconfig(name, options));
}

async function kubeconfig(name: string, options: UserOptions): Promise<void> {
  const groups = options.group.map((group) => checkName(group, "--group"));
  checkName(name, "name");
  if (name.startsWith("system:")) {
    throw new PlinthError(
      "USER_INVALID",
      `name: ${name}: names that start with system: are kept for the system`,
    );
  }
  // Loaded only here: making certificates takes packages that no other command needs.
  const { issueUserCertificate } = await import("../api/server.js");
  const layout = directoryLayout(defaultDirectory(options.dir));
  const { server, ca } = await readKubeconfig(layout.kubeconfig);
  const validMs = options.days * DAY_MS;
  const directory = join(layout.dir, "tls");
  const certificate = await issueUserCertificate(directory, { name, groups, validMs }, Date.now());
  print(formatKubeconfig({ server, ca, certificate }, name, options.namespace).trimEnd());
}

function checkName(text: string, field: string): string {
  if (text !== "" && text.length <= NAME_LENGTH_MAX && /^[\x21-\x7e]+$/.test(text)) return text;
  const expected = `expected 1 to ${NAME_LENGTH_MAX} printable ASCII characters without spaces`;
  throw new PlinthError("USER_INVALID", `${field}: ${JSON.stringify(text.slice(0, 80))}: ${expected}`);
}

function parseDays(text: string): number {
  const days = Number(text);
  if (/^\d+$/.test(text) && days >= 1 && days <= DAYS_MAX) return days;
  throw new InvalidArgumentError(`expected 1 to ${DAYS_MAX} days`);
}
