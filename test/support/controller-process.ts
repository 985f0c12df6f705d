// A `plinth controller` of a test: its own directory, a free port, and the end of it.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { DaemonProcess } from "./daemon-process.js";

export class ControllerProcess extends DaemonProcess {
  readonly dir: string;
  readonly port: number;

  private constructor(dir: string, port: number) {
    super({
      args: ["controller", "--dir", dir, "--port", String(port)],
      controlSocket: join(dir, "run", "controller.sock"),
    });
    this.dir = dir;
    this.port = port;
  }

  static async create(): Promise<ControllerProcess> {
    return new ControllerProcess(mkdtempSync("/tmp/pctl-"), await freePort());
  }

  get kubeconfig(): string {
    return join(this.dir, "kubeconfig");
  }

  async destroy(): Promise<void> {
    await this.end("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
