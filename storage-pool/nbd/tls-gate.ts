// TLS in front of the NBD server: listens where clients come, ends TLS, and passes the rest to the server's own sockets.
//
//   client ─► gate ─┬─ in the clear ─► plain socket (server: TLS "allowed"; none where TLS is required)
//                   └─ after STARTTLS, inside TLS ─► inner socket (server: TLS "active"; a session of its own)
//
// Node has TLS, the poll loop has not: this runs beside it, for connections that ask for encryption and not for speed.
// Source: NBD protocol, "TLS support". Thread: main.
import { connect, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { PlinthError } from "../../base/errors/index.js";
import { CONNECTIONS_PER_SOCKET_MAX, NBD_HANDSHAKE_MS } from "../limits.js";
import { type ExportDirectory, NbdSession, type SessionOutput } from "./nbd-session.js";
import { encodeGreeting, encodeOptionReply, NBD_OPT_STARTTLS, NBD_REP_ACK } from "./nbd-wire.js";
import { TlsGateSession } from "./tls-gate-session.js";

export interface TlsGateOptions {
  /** A listening socket; the gate's from now on. */
  readonly fd: number;
  readonly tls: TlsOptions;
  /** Unix socket of the server's inside of TLS. */
  readonly innerPath: string;
  /** Unix socket for those who stay in the clear; undefined: nobody may. */
  readonly plainPath: string | undefined;
  /** A client and the server could not agree on TLS; `client` is its address, "" at a unix socket. */
  readonly onRefused: (client: string, why: string) => void;
}

const KEEPALIVE_IDLE_MS = 120_000;
const NOTHING_OFFERED: ExportDirectory = { list: () => [], find: () => undefined };

export class TlsGate {
  readonly #options: TlsGateOptions;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  /** Those of them that are not yet at the server's sockets, which limit the others; oldest first. */
  readonly #arriving = new Set<Socket>();

  private constructor(options: TlsGateOptions) {
    this.#options = options;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** Resolves when it listens. */
  static async open(options: TlsGateOptions): Promise<TlsGate> {
    const gate = new TlsGate(options);
    await new Promise<void>((resolve, reject) => {
      gate.#server.once("error", (cause: NodeJS.ErrnoException) =>
        reject(new PlinthError(cause.code ?? "EIO", `cannot listen: ${cause.message}`, { cause })),
      );
      gate.#server.listen({ fd: options.fd }, resolve);
    });
    // A connection that could not be accepted is its client's loss, not the daemon's.
    gate.#server.on("error", () => {});
    return gate;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const client of this.#clients) client.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    const [oldest] = this.#arriving;
    // Clients that say nothing must not keep others out.
    if (oldest !== undefined && this.#arriving.size >= CONNECTIONS_PER_SOCKET_MAX) {
      this.#arriving.delete(oldest);
      oldest.destroy();
    }
    this.#clients.add(client);
    this.#arriving.add(client);
    client.once("close", () => {
      this.#clients.delete(client);
      this.#arriving.delete(client);
    });
    client.on("error", () => client.destroy());
    client.setNoDelay(true);
    client.setKeepAlive(true, KEEPALIVE_IDLE_MS);
    const { plainPath } = this.#options;
    if (plainPath === undefined) this.#insist(client);
    else this.#offer(client, plainPath);
  }

  /** Everything but STARTTLS is refused here. */
  #insist(client: Socket): void {
    const session = new NbdSession(NOTHING_OFFERED, "required");
    const stop = this.#limitTime(client);
    let held: Buffer = Buffer.alloc(0);
    let flags: number | undefined;
    const take = (bytes: Buffer): void => {
      held = Buffer.concat([held, bytes]);
      if (flags === undefined && held.byteLength >= 4) flags = held.readUInt32BE(0);
      const output: SessionOutput = session.receive(held);
      for (const reply of output.replies) client.write(reply);
      held = held.subarray(output.consumed);
      if (output.state === "closed") client.end();
      if (output.state !== "starttls") return;
      client.off("data", take);
      stop();
      this.#secure(client, held, flags ?? 0);
    };
    take(Buffer.alloc(0));
    client.on("data", take);
  }

  /** What is said in the clear goes to the server, which answers; STARTTLS ends that. */
  #offer(client: Socket, plainPath: string): void {
    const session = new TlsGateSession();
    const server = connect(plainPath);
    const stop = this.#limitTime(client);
    let held: Buffer = Buffer.alloc(0);
    const drop = (): void => {
      client.destroy();
    };
    const take = (bytes: Buffer): void => {
      const { forward, rest } = session.receive(Buffer.concat([held, bytes]));
      if (forward.byteLength > 0 && !server.write(forward)) {
        client.pause();
        server.once("drain", () => client.resume());
      }
      held = Buffer.from(rest);
      if (session.state === "passing") {
        client.off("data", take);
        this.#arriving.delete(client);
        stop();
        client.pipe(server);
        return;
      }
      if (session.state !== "starttls") return;
      client.off("data", take);
      stop();
      server.off("close", drop);
      server.unpipe(client);
      server.destroy();
      client.write(encodeOptionReply(NBD_OPT_STARTTLS, NBD_REP_ACK, new Uint8Array()));
      this.#secure(client, held, session.clientFlags);
    };
    client.on("data", take);
    client.once("close", () => server.destroy());
    server.on("error", drop);
    server.on("close", drop);
    server.pipe(client, { end: false });
  }

  /** Upgrades; inside, the handshake begins anew but for the greeting and the flags. `early` is TLS already. */
  #secure(client: Socket, early: Buffer, flags: number): void {
    client.pause();
    if (early.byteLength > 0) client.unshift(early);
    // One for each client: only so is it known whose connection became secure.
    const tls = createTlsServer({ ...this.#options.tls, handshakeTimeout: NBD_HANDSHAKE_MS });
    tls.once("secureConnection", (inside) => {
      this.#arriving.delete(client);
      this.#join(inside, flags);
    });
    const { remoteAddress = "" } = client;
    // What OpenSSL says in words, without its numbers and source lines.
    tls.on("tlsClientError", (cause: Error & { readonly reason?: string }) => {
      client.destroy();
      this.#options.onRefused(remoteAddress, cause.reason ?? cause.message);
    });
    tls.emit("connection", client);
  }

  #join(inside: Socket, flags: number): void {
    const server = connect(this.#options.innerPath);
    const size = encodeGreeting().byteLength;
    const answer = Buffer.alloc(4);
    answer.writeUInt32BE(flags);
    server.write(answer);
    const skip = (): void => {
      const greeting = server.read(size) as Buffer | null;
      if (greeting === null) return;
      server.off("readable", skip);
      server.pipe(inside);
      inside.pipe(server);
    };
    server.on("readable", skip);
    for (const socket of [server, inside]) {
      socket.on("error", () => {});
      socket.on("close", () => {
        server.destroy();
        // Whatever was sent last leaves with TLS's own goodbye.
        inside.end();
      });
    }
  }

  #limitTime(client: Socket): () => void {
    const timer = setTimeout(() => client.destroy(), NBD_HANDSHAKE_MS);
    const stop = (): void => clearTimeout(timer);
    client.once("close", stop);
    return stop;
  }
}
