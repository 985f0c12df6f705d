// What a proof may touch: the resource API, commands inside guests, and the daemons of this machine.
// The proofs see the system as its user does; nothing here reaches around the API except to kill a daemon.
import type { DaemonName } from "../daemons/up/daemon-set.js";

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** It was ended because its time was over. */
  readonly timedOut?: boolean;
}

/** A resource as the API returns it. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly uid: string };
  // biome-ignore lint/suspicious/noExplicitAny: proofs read many kinds and state what they expect of each.
  readonly spec: any;
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly status?: any;
}

export interface World {
  /** The namespace of the example. */
  readonly namespace: string;
  /** Runs `script` with sh in the guest; its own exit code is a result, not an error. */
  exec(vm: string, script: string, timeoutMs?: number): Promise<ExecResult>;
  get(kind: string, name: string): Promise<Resource | undefined>;
  list(kind: string): Promise<readonly Resource[]>;
  /** JSON merge patch (RFC 7386) of spec or metadata. */
  patch(kind: string, name: string, patch: object): Promise<void>;
  create(document: object): Promise<void>;
  /** Resolves when the object is gone. */
  remove(kind: string, name: string): Promise<void>;
  /** Applies the documents of the example again. */
  applyExample(): Promise<void>;
  /** POST to a subresource such as volumes/NAME/revert. */
  act(kind: string, name: string, action: string, body: object): Promise<void>;
  /** SIGKILL, as a crash; the supervisor is expected to bring the daemon back. */
  kill(daemon: DaemonName): void;
  /** True when the daemon answers on its control socket. */
  ready(daemon: DaemonName): Promise<boolean>;
  /** Progress within a long proof. */
  say(text: string): void;
}

export interface Proof {
  /** A sentence that is true when the proof holds. */
  readonly name: string;
  /** Returns what was seen, with numbers; throws when it does not hold. */
  run(world: World): Promise<string>;
}

/** Thrown by a proof that does not hold: what was expected and what was seen. */
export function expectThat(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(message);
}
