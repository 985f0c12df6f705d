// The link to one configured controller: dials, keeps one connection, dials again with growing pauses.
//
//   waiting ──pause over──► dialling ──connected──► active ──hello agreed──► established
//      ▲                       │ failed                │ closed                  │ closed
//      └───────────────────────┴───────────────────────┴─────────────────────────┘
//
// Thread: main.

import { connect, type Socket } from "node:net";
import { describeError, systemReason } from "../../base/errors/index.js";
import type { Timer } from "../../base/time/index.js";
import { bootstrapCaCert, connectTls, mustBootstrap, type TlsFiles } from "../../base/tls/index.js";
import { Connection, type ConnectionModules } from "./connection.js";
import type { ControllerTarget } from "./controller-target.js";
import type { SwitchEvent } from "./switch-model.js";

export interface ControllerSpec {
  /** As in the Controller row: "unix:/run/openflow.sock", "tcp:127.0.0.1:6653". */
  readonly target: string;
  /** The longest pause between two attempts. */
  readonly maxBackoffMs?: number;
  /** Silence before an echo request; 0 = none. */
  readonly probeIntervalMs?: number;
  /** For ssl and pssl targets. */
  readonly tls?: TlsFiles | undefined;
}

/** A target that is dialled. */
export type DialTarget = ControllerTarget & { readonly type: "unix" | "tcp" | "ssl" };

export interface ControllerStatus {
  readonly target: string;
  readonly isConnected: boolean;
  /** Of a connection; nothing without one. */
  readonly role: "other" | "master" | "slave" | undefined;
  readonly state: "BACKOFF" | "CONNECTING" | "ACTIVE" | "IDLE" | "VOID";
  /** The last error there was, also when all is well again. */
  readonly lastError: string | undefined;
  /** By the agent's clock: when it last became connected, and when it last ceased to be; each only if it ever did. */
  readonly connectedAtMs: number | undefined;
  readonly disconnectedAtMs: number | undefined;
}

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 8_000;
/** Dialling on this machine costs nothing, and a controller that was restarted is waiting. */
const BACKOFF_LOCAL_MAX_MS = 1_000;
/** How long a connection has to last for the next pause to be short. */
const LASTS_MS = 1_000;
const CONNECT_TIMEOUT_MS = 10_000;
export const DEFAULT_PROBE_INTERVAL_MS = 5_000;

export class ControllerLink {
  readonly #spec: ControllerSpec;
  readonly #target: DialTarget;
  readonly #modules: ConnectionModules;
  readonly #onChange: () => void;
  readonly #onExchanged: (message: Uint8Array) => void;
  #socket: Socket | undefined;
  #connection: Connection | undefined;
  #timer: Timer | undefined;
  #backoffMs = BACKOFF_FIRST_MS;
  #lastError: string | undefined;
  /** What the log was told since the last connection. */
  #loggedError: string | undefined;
  #connectedAtMs: number | undefined;
  #disconnectedAtMs: number | undefined;
  #isUp = false;
  #isClosed = false;

  /** Starts dialling. `onChange` is called whenever the status changed, `onExchanged` with every message either way. */
  constructor(
    spec: ControllerSpec,
    target: DialTarget,
    modules: ConnectionModules,
    onChange: () => void,
    onExchanged: (message: Uint8Array) => void,
  ) {
    this.#spec = spec;
    this.#target = target;
    this.#modules = modules;
    this.#onChange = onChange;
    this.#onExchanged = onExchanged;
    this.#dial();
  }

  /** The connection, once versions are agreed. */
  get connection(): Connection | undefined {
    return this.#connection?.isEstablished === true ? this.#connection : undefined;
  }

  offer(event: SwitchEvent): void {
    this.connection?.offer(event);
  }

  get status(): ControllerStatus {
    const role = this.connection?.role;
    return {
      target: this.#spec.target,
      isConnected: this.connection !== undefined,
      role: role === "equal" ? "other" : role,
      state: this.#state(),
      lastError: this.#lastError,
      connectedAtMs: this.#connectedAtMs,
      disconnectedAtMs: this.#disconnectedAtMs,
    };
  }

  #state(): ControllerStatus["state"] {
    if (this.#isClosed) return "VOID";
    if (this.connection !== undefined) return this.connection.isProbing ? "IDLE" : "ACTIVE";
    return this.#socket === undefined ? "BACKOFF" : "CONNECTING";
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#connection?.close("the controller was removed");
    this.#socket?.destroy();
  }

  #dial(): void {
    const target = this.#target;
    const { tls } = this.#spec;
    if (target.type === "ssl" && mustBootstrap(tls)) {
      bootstrapCaCert(target, tls, CONNECT_TIMEOUT_MS).then(
        () => this.#isClosed || this.#dial(),
        (error: Error) => this.#onDown(error.message),
      );
      return;
    }
    try {
      this.#follow(this.#open(target), target.type === "ssl" ? "secureConnect" : "connect");
    } catch (error) {
      // The SSL row or its files are not in order.
      this.#onDown(describeError(error));
    }
  }

  #open(target: DialTarget): Socket {
    switch (target.type) {
      case "unix":
        return connect({ path: target.path });
      case "tcp":
        return connect(target.port, target.host);
      case "ssl":
        return connectTls(target, this.#spec.tls);
    }
  }

  #follow(socket: Socket, connected: "connect" | "secureConnect"): void {
    this.#socket = socket;
    const onError = (error: Error): void => this.#onDown(systemReason(error));
    socket.once("error", onError);
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => {
      socket.destroy(new Error("Connection timed out"));
    });
    socket.once(connected, () => {
      socket.setTimeout(0);
      socket.off("error", onError);
      if (this.#isClosed) socket.destroy();
      else this.#attach(socket);
    });
  }

  #backoffMaxMs(): number {
    const wanted = this.#spec.maxBackoffMs ?? BACKOFF_MAX_MS;
    return this.#target.type === "unix" ? Math.min(wanted, BACKOFF_LOCAL_MAX_MS) : wanted;
  }

  #attach(socket: Socket): void {
    this.#connection = new Connection(
      socket,
      {
        name: this.#spec.target,
        kind: "controller",
        probeIntervalMs: this.#spec.probeIntervalMs ?? DEFAULT_PROBE_INTERVAL_MS,
        onEstablished: () => this.#onUp(),
        onExchanged: this.#onExchanged,
        onClosed: (reason) => this.#onDown(reason),
      },
      this.#modules,
    );
  }

  #onUp(): void {
    this.#isUp = true;
    this.#loggedError = undefined;
    this.#connectedAtMs = this.#modules.clock.nowMs();
    this.#modules.log.info({ controller: this.#spec.target }, "connected to the controller");
    this.#onChange();
  }

  #onDown(reason: string): void {
    this.#connection = undefined;
    this.#socket = undefined;
    if (this.#isClosed) return;
    if (this.#loggedError !== reason) {
      this.#modules.log.warn({ controller: this.#spec.target, reason }, "no connection to the controller");
    }
    this.#loggedError = this.#lastError = reason;
    if (this.#isUp) this.#endUp(this.#modules.clock.nowMs());
    this.#timer = this.#modules.clock.after(this.#backoffMs, () => this.#dial());
    this.#backoffMs = Math.min(this.#backoffMs * 2, this.#backoffMaxMs());
    this.#onChange();
  }
  /** A connection that lasted was a success; of one that ends at once the next will hardly be better. */
  #endUp(nowMs: number): void {
    this.#isUp = false;
    this.#disconnectedAtMs = nowMs;
    if (nowMs - (this.#connectedAtMs ?? nowMs) >= Math.max(this.#backoffMs, LASTS_MS))
      this.#backoffMs = BACKOFF_FIRST_MS;
  }
}
