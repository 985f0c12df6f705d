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
  /** For monitor and snoop, which can be spoken to while they run; absent = they cannot. */
  readonly background?: Background;
  /** Settles when the user wants to stop (Ctrl-C). */
  readonly interrupted: Promise<void>;
}

/** What a command needs to go on without the terminal that it was started at. */
export interface Background {
  /** Where its control socket is, and its file of the process number. */
  readonly runDirectory: string;
  /** This process is the one in the background. */
  readonly isDetached: boolean;
  /** Starts the same command line in the background. Resolves with 0 once it is ready, else with its exit code. */
  readonly detach: () => Promise<number>;
  /** Tells who waits that all is ready. The directory is then the root, unless `staysHere`. */
  readonly ready: (staysHere: boolean) => void;
}
