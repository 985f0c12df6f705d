// Where NBD clients come besides DIR/nbd.sock: TCP addresses, unix sockets, sockets that we were started with; with TLS
// or without. The poll loop listens itself where there is no TLS; with TLS a gate stands in front of it.
// Thread: main.
import { lookup } from "node:dns/promises";
import { rmSync } from "node:fs";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { describeError, PlinthError } from "../base/errors/index.js";
import { listenTcp, listenUnix } from "../base/linux/index.js";
import type { Logger } from "../base/log/index.js";
import type { NbdPlace } from "./nbd/nbd-listener.js";
import { type NbdTls, readNbdTls } from "./nbd/nbd-tls.js";
import { TlsGate } from "./nbd/tls-gate.js";
import type { TargetHandle } from "./target/target-handle.js";

const NBD_PORT = 10_809;
/** Refused clients are told of no more often: whoever comes again and again does not fill the log. */
const REFUSED_INTERVAL_MS = 10_000;

export interface NbdEndpoint {
  readonly at:
    | { readonly kind: "tcp"; readonly host: string; readonly port: number }
    | { readonly kind: "unix"; readonly path: string }
    /** A listening socket; ours from now on. */
    | { readonly kind: "inherited"; readonly fd: number };
  /** Volumes and volume@snapshot; the first is the default export too. Undefined: everything. */
  readonly exports: readonly string[] | undefined;
  readonly readOnly: boolean;
  /** Undefined: in the clear only. */
  readonly tls: NbdTls | undefined;
}

export class NbdEndpoints {
  readonly #target: TargetHandle;
  readonly #dir: string;
  readonly #log: Logger;
  #refusedMs = Number.NEGATIVE_INFINITY;
  /** Not told of. */
  #refusedCount = 0;
  readonly #gates: TlsGate[] = [];
  /** Sockets of gates. */
  readonly #paths: string[] = [];
  #count = 0;

  /** `dir` holds the sockets behind the gates. */
  constructor(target: TargetHandle, dir: string, log: Logger) {
    this.#target = target;
    this.#dir = dir;
    this.#log = log;
  }

  /**
   * A URI for each export, or one when everything is offered; none for sockets that others opened. Throws EADDRINUSE, ADDRESS_UNKNOWN, SOCKET_PATH_… and
   * NBD_TLS_UNUSABLE.
   */
  async open(endpoint: NbdEndpoint): Promise<string[]> {
    const { at, exports, readOnly, tls } = endpoint;
    const name = `endpoint ${this.#count++} ${at.kind}`;
    const port =
      tls === undefined
        ? await this.#target.ask("listen", { name, place: await placeOf(at), exports, readOnly })
        : await this.#openGate(endpoint, tls);
    return (exports ?? [""]).flatMap((each) => nbdUri(endpoint, port, each) ?? []);
  }

  async close(): Promise<void> {
    for (const gate of this.#gates) await gate.close();
    for (const path of this.#paths) rmSync(path, { force: true });
  }

  async #openGate({ at, exports, readOnly }: NbdEndpoint, tls: NbdTls): Promise<number> {
    const options = readNbdTls(tls);
    const number = this.#gates.length;
    const inner = await this.#behind(`tls-${number}.sock`, "active", exports, readOnly);
    const plain = tls.required
      ? undefined
      : await this.#behind(`tls-${number}-plain.sock`, "allowed", exports, readOnly);
    const { fd, port } = await listenAt(at);
    const onRefused = (client: string, why: string): void => this.#noteRefused(client, why);
    this.#gates.push(await TlsGate.open({ fd, tls: options, innerPath: inner, plainPath: plain, onRefused }));
    if (at.kind === "unix") this.#paths.push(resolve(at.path));
    return port;
  }

  #noteRefused(client: string, why: string): void {
    const nowMs = performance.now();
    if (nowMs - this.#refusedMs < REFUSED_INTERVAL_MS) {
      this.#refusedCount++;
      return;
    }
    this.#log.warn({ client, why, others: this.#refusedCount }, "a client could not agree on TLS with us");
    this.#refusedMs = nowMs;
    this.#refusedCount = 0;
  }

  async #behind(
    file: string,
    tls: "active" | "allowed",
    exports: readonly string[] | undefined,
    readOnly: boolean,
  ): Promise<string> {
    const path = join(this.#dir, file);
    await this.#target.ask("listen", { name: path, place: { kind: "unix", path }, exports, readOnly, tls });
    return path;
  }
}

async function placeOf(at: NbdEndpoint["at"]): Promise<NbdPlace> {
  if (at.kind === "unix") return { kind: "unix", path: resolve(at.path) };
  if (at.kind === "inherited") return at;
  return { kind: "tcp", address: await addressOfHost(at.host), port: at.port };
}

async function addressOfHost(host: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch (cause) {
    throw new PlinthError("ADDRESS_UNKNOWN", `cannot listen at ${host}: ${describeError(cause)}`, { cause });
  }
}

async function listenAt(at: NbdEndpoint["at"]): Promise<{ fd: number; port: number }> {
  if (at.kind === "inherited") return { fd: at.fd, port: 0 };
  if (at.kind === "unix") return { fd: listenUnix(resolve(at.path)), port: 0 };
  return listenTcp(await addressOfHost(at.host), at.port);
}

/** As clients take it; where an inherited socket is, only its owner knows. Source: NBD doc/uri.md. */
function nbdUri({ at, tls }: NbdEndpoint, port: number, name: string): string | undefined {
  const scheme = tls?.required === true ? "nbds" : "nbd";
  const path = name.split("/").map(encodeURIComponent).join("/");
  if (at.kind === "inherited") return undefined;
  if (at.kind === "unix")
    return `${scheme}+unix:///${path}?socket=${encodeURI(resolve(at.path)).replaceAll("&", "%26")}`;
  const host = at.host === "0.0.0.0" || at.host === "::" ? "localhost" : at.host;
  const shown = isIP(host) === 6 ? `[${host}]` : host;
  return `${scheme}://${shown}${port === NBD_PORT ? "" : `:${port}`}/${path}`;
}
