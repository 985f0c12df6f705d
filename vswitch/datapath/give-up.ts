// Takes a port from one thread of this process for another one, as between processes: by its descriptors and what is
// known of it. Thread: the one that serves the port.
import { duplicateFile } from "../../base/linux/index.js";
import type { HandedPort, Port } from "../../base/packet/index.js";

/** What a port may have beside its contract. */
export interface PortThatMoves extends Port {
  /** Takes no more frames than it has at hand, by these queues or all; false while it has some. */
  stop?(queues?: readonly number[]): boolean;
  /** Absent, or undefined: it can only be opened anew. */
  handOver?(): HandedPort | undefined;
}

/**
 * Closes the port, which has stopped, and returns what another thread needs to go on with it; the descriptors are the
 * caller's. undefined: it has to be opened anew.
 */
export function giveUp(port: PortThatMoves): HandedPort | undefined {
  const handed = port.handOver?.();
  // The port's own end with it, as does what it had mapped.
  const given = handed === undefined ? undefined : { ...handed, fds: handed.fds.map(duplicateFile) };
  port.close();
  return given;
}
