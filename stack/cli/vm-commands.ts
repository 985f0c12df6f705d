// `plinth vm start | stop | pause | reboot | exec | console`: what one does with a machine.
import type { Command } from "commander";
import { WebSocket } from "ws";
import { PlinthError } from "../../base/errors/index.js";
import { objectPath } from "../api/index.js";
import { virtualMachineKind } from "../resources/index.js";
import { type Connection, type ConnectionOptions, usingApi, withConnection } from "./connection.js";
import { withTimeout } from "./options.js";
import { print } from "./output.js";

const EXEC_TIMEOUT = { default: 60, max: 600 };
/** How much later than the command we give up on the answer. */
const ANSWER_MARGIN_MS = 15_000;
/** Ctrl-] leaves the console, as in telnet and virsh. */
const ESCAPE_BYTE = 0x1d;

export function register(program: Command): void {
  const vm = program.command("vm").description("start, stop and talk to virtual machines");
  const powerStates = { start: "Running", stop: "Stopped", pause: "Paused" } as const;
  for (const [verb, powerState] of Object.entries(powerStates)) {
    withConnection(vm.command(`${verb} <name...>`).description(`set powerState to ${powerState}`)).action(
      (names: string[], options: ConnectionOptions) =>
        usingApi(options, async ({ client, namespace }) => {
          for (const name of names) {
            await client.patch("VirtualMachine", { namespace, name }, { spec: { powerState } });
            print(`virtualmachine/${name}: powerState ${powerState}`);
          }
        }),
    );
  }
  withConnection(vm.command("reboot <name...>").description("restart the machine's system")).action(
    (names: string[], options: ConnectionOptions) =>
      usingApi(options, async ({ client, namespace }) => {
        for (const name of names) {
          const path = objectPath(virtualMachineKind, { namespace, name }, "reboot");
          await client.transport.json({ method: "POST", path, body: {} });
          print(`virtualmachine/${name}: rebooting`);
        }
      }),
  );
  const execCommand = vm
    .command("exec <name> <command...>")
    .description("run a program in the machine: exec web1 -- ip addr");
  withTimeout(withConnection(execCommand), EXEC_TIMEOUT)
    .option("-i, --stdin", "give it our standard input")
    .action((name: string, command: string[], options: ExecOptions) =>
      usingApi(options, (connection) => exec(connection, name, command, options)),
    );
  withConnection(
    vm.command("console <name>").description("the machine's serial console; Ctrl-] leaves"),
  ).action((name: string, options: ConnectionOptions) =>
    usingApi(options, (connection) => attachConsole(connection, name)),
  );
}

interface ExecOptions extends ConnectionOptions {
  readonly stdin?: boolean;
  readonly timeout: number;
}

/** Ends with the program's exit code. */
async function exec(
  connection: Connection,
  name: string,
  command: string[],
  options: ExecOptions,
): Promise<void> {
  const { client, namespace } = connection;
  const timeoutMs = options.timeout * 1000;
  const chunks: Buffer[] = [];
  if (options.stdin) for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  const answer = (await client.transport.json({
    method: "POST",
    path: objectPath(virtualMachineKind, { namespace, name }, "exec"),
    body: {
      command,
      timeoutMs,
      ...(options.stdin ? { stdin: inputText(Buffer.concat(chunks)) } : {}),
    },
    timeoutMs: timeoutMs + ANSWER_MARGIN_MS,
  })) as { exitCode?: number; stdout?: string; stderr?: string; timedOut?: boolean };
  process.stdout.write(answer.stdout ?? "");
  process.stderr.write(answer.stderr ?? "");
  if (answer.timedOut)
    process.stderr.write(`plinth: ended after ${options.timeout} s (--timeout gives it longer)\n`);
  process.exitCode = answer.exitCode ?? 0;
}

/** Input goes to the machine as text. Throws INPUT_INVALID for bytes that would come out as others. */
export function inputText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new PlinthError(
      "INPUT_INVALID",
      "--stdin takes text in UTF-8: send other bytes through base64, and base64 -d in the machine",
    );
  }
}

async function attachConsole({ client, namespace }: Connection, name: string): Promise<void> {
  const { server, ca, token } = client.transport.access;
  const path = objectPath(virtualMachineKind, { namespace, name }, "console");
  const url = new URL(path, server.replace(/^http/, "ws"));
  const socket = new WebSocket(url, {
    ca,
    headers: { authorization: `Bearer ${token}` },
    handshakeTimeout: 10_000,
  });
  const { stdin, stdout } = process;
  try {
    await new Promise<void>((resolve, reject) => {
      socket.on("open", () => {
        process.stderr.write(`Connected to the console of ${name}; Ctrl-] leaves.\r\n`);
        if (stdin.isTTY) stdin.setRawMode(true);
        stdin.on("data", (bytes: Buffer) => {
          if (stdin.isTTY && bytes.includes(ESCAPE_BYTE)) socket.close();
          else if (socket.readyState === socket.OPEN) socket.send(bytes);
        });
        stdin.on("end", () => socket.close());
      });
      socket.on("message", (data) => stdout.write(data as Buffer));
      socket.on("close", () => resolve());
      socket.on("unexpected-response", (_request, response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          reject(refusal(response.statusCode ?? 500, Buffer.concat(chunks).toString())),
        );
      });
      socket.on("error", (cause) => reject(new PlinthError("CONSOLE_FAILED", cause.message, { cause })));
    });
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
    stdin.removeAllListeners("data");
  }
}

function refusal(status: number, body: string): PlinthError {
  try {
    const { message } = JSON.parse(body) as { message?: string };
    if (message !== undefined) return new PlinthError("CONSOLE_REFUSED", message);
  } catch {
    // Not from our server; the status has to do.
  }
  return new PlinthError("CONSOLE_REFUSED", `the server answered ${status}`);
}
