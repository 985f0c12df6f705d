// What a command line is given to speak with the world.

import type { CommandLog } from "./command-log.js";

export interface CommandIo {
  /** Standard output, as it is. */
  readonly out: (text: string) => void;
  /** Standard error, as it is. */
  readonly err: (text: string) => void;
  /** The whole of a file, "-" = standard input. Rejects with the system's error. */
  readonly read: (path: string) => Promise<Uint8Array>;
  /** The socket of a bridge by its name; undefined when there is none. */
  readonly endpointOf: (bridge: string) => string | undefined;
  /** Where lines of the log go; absent = as the original writes them, to standard error. */
  readonly log?: CommandLog;
  /** Settles when the user wants to stop (Ctrl-C). */
  readonly interrupted: Promise<void>;
}
