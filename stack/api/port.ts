// The port of the API: whether it can be had, and what to say when it cannot. Loads nothing of the server.
import { createServer } from "node:net";
import { PlinthError } from "../../base/errors/index.js";

export const API_HOST = "127.0.0.1";

/** Takes the port for a moment. Rejects with PORT_IN_USE or PORT_REFUSED; 0 is always free. */
export async function probePort(port: number, host: string = API_HOST): Promise<void> {
  if (port === 0) return;
  await new Promise<void>((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (cause) => reject(portError(port, host, cause)));
    probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve()));
  });
}

export function portError(port: number, host: string, cause: unknown): PlinthError {
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") {
    return new PlinthError("PORT_IN_USE", `port ${port} of ${host} is in use`, {
      cause,
      field: "--port",
      remedy: "stop what uses it, or choose another with --port (0 = any)",
    });
  }
  return new PlinthError("PORT_REFUSED", `cannot listen on port ${port} of ${host}: ${message}`, {
    cause,
    field: "--port",
  });
}
