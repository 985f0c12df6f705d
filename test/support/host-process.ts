// A `plinth host` of a test, in the directory of a controller of the same test.
import { join } from "node:path";
import { DaemonProcess } from "./daemon-process.js";

export class HostProcess extends DaemonProcess {
  constructor(dir: string) {
    super({
      args: ["host", "--dir", dir, "--name", "test"],
      controlSocket: join(dir, "run", "host.sock"),
    });
  }
}
