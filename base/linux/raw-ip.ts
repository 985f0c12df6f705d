// Raw IPv4 sockets: whole packets of one protocol, beside what the kernel does with them. The only importer of
// `raw-socket`, an optional package that compiles at install; it is loaded at first use, so that nothing else needs it.
// Source: raw(7); node_modules/raw-socket/README.md. Needs CAP_NET_RAW. The package polls libuv's default loop and its
// descriptor is inherited by children: hold a socket only where none are spawned. Thread: main.
//
//   RAW_SOCKET_MISSING  the package is not there, or was compiled for another Node
//   RAW_SOCKET_DENIED   the kernel refuses: CAP_NET_RAW is missing
//   RAW_SOCKET_FAILED   opening or sending failed for another reason, which the message says
import { createRequire } from "node:module";
import { PlinthError } from "../errors/index.js";
import { EPERM, raw, systemError } from "./errno.js";
import { closeFile } from "./file.js";
import { cSocket } from "./socket-calls.js";
import { noteDescriptor } from "./thread-ledger.js";

/** What we use of a socket of the package, which brings no types. */
export interface RawSocketHandle {
  on(event: "message", listener: (packet: Uint8Array, source: string) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  /** Queues; `done` is called once, later, unless the socket is closed before. */
  send(
    bytes: Buffer,
    offset: number,
    length: number,
    address: string,
    done: (error: Error | null, sent: number) => void,
  ): unknown;
  close(): unknown;
}

/** What we use of the package. */
export interface RawSocketPackage {
  createSocket(options: { readonly protocol: number; readonly bufferSize: number }): RawSocketHandle;
}

export interface RawIpOptions {
  /** IP protocol number, 1 to 255. */
  readonly protocol: number;
  /** One packet with its IPv4 header, as the kernel delivers it; the bytes are valid during the call only. */
  readonly onPacket: (packet: Uint8Array, source: string) => void;
  /** Receiving failed once; the socket stays open. */
  readonly onError?: (error: PlinthError) => void;
}

export interface RawIpSocket {
  /** Sends one payload (the kernel makes the IP header) to a dotted IPv4 address. Rejects with RAW_SOCKET_*. */
  send(payload: Uint8Array, destination: string): Promise<void>;
  /** Closing twice is allowed. What is not sent by then rejects. */
  close(): void;
}

/** Where the package comes from; tests put something else here. */
export type LoadRawSocket = () => unknown;

const PACKET_SIZE_MAX = 65_535;

/** Throws RAW_SOCKET_MISSING, RAW_SOCKET_DENIED or RAW_SOCKET_FAILED; nothing is left open then. */
export function openRawIp(options: RawIpOptions, load: LoadRawSocket = requirePackage): RawIpSocket {
  const rawSocket = loadPackage(load);
  let handle: RawSocketHandle;
  try {
    handle = rawSocket.createSocket({ protocol: options.protocol, bufferSize: PACKET_SIZE_MAX });
  } catch (thrown) {
    throw socketError(thrown, "opening a raw socket");
  }
  return new OpenRawIp(handle, options);
}

/** Why openRawIp() would fail here, for people; undefined when it would not. Tries both halves, leaves nothing open. */
export function rawIpProblem(load: LoadRawSocket = requirePackage): string | undefined {
  const problems: string[] = [];
  for (const attempt of [() => loadPackage(load), tryRawSocket]) {
    try {
      attempt();
    } catch (thrown) {
      if (!(thrown instanceof PlinthError)) throw thrown;
      problems.push(thrown.message);
    }
  }
  return problems.length === 0 ? undefined : problems.join("; ");
}

/** Nothing else holds a socket whose owner only waits for what it does: the package would close it when it is collected. */
const open = new Set<OpenRawIp>();

class OpenRawIp implements RawIpSocket {
  readonly #handle: RawSocketHandle;
  readonly #waiting = new Set<(error: PlinthError) => void>();
  #closed = false;

  constructor(handle: RawSocketHandle, { onPacket, onError }: RawIpOptions) {
    this.#handle = handle;
    open.add(this);
    handle.on("message", (packet, source) => {
      if (!this.#closed) onPacket(packet, source);
    });
    handle.on("error", (error) => {
      if (!this.#closed) onError?.(socketError(error, "receiving from a raw socket"));
    });
  }

  send(payload: Uint8Array, destination: string): Promise<void> {
    // The package would open a closed socket again on its own.
    if (this.#closed) return Promise.reject(closedError());
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      this.#handle.send(bytes, 0, bytes.byteLength, destination, (error) => {
        this.#waiting.delete(reject);
        if (error === null) resolve();
        else reject(socketError(error, `sending to ${destination}`));
      });
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    open.delete(this);
    this.#handle.close();
    for (const reject of this.#waiting) reject(closedError());
    this.#waiting.clear();
  }
}

function requirePackage(): unknown {
  return createRequire(import.meta.url)("raw-socket");
}

function loadPackage(load: LoadRawSocket): RawSocketPackage {
  let loaded: unknown;
  try {
    loaded = load();
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException | undefined)?.code;
    const why =
      code === "MODULE_NOT_FOUND"
        ? "the package raw-socket is not installed"
        : `the package raw-socket cannot be loaded (${firstLine(thrown)})`;
    throw missing(why, thrown);
  }
  if (typeof (loaded as Partial<RawSocketPackage> | undefined)?.createSocket === "function") {
    return loaded as RawSocketPackage;
  }
  throw missing("the package raw-socket is not what it was", undefined);
}

function missing(message: string, cause: unknown): PlinthError {
  return new PlinthError("RAW_SOCKET_MISSING", message, {
    remedy: "it compiles at install: install python3, make and g++ and run npm install again",
    cause,
  });
}

/** Opens and closes a raw ICMP socket. Throws RAW_SOCKET_DENIED or the errno's name. */
function tryRawSocket(): void {
  const AF_INET = 2;
  const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
  const IPPROTO_ICMP = 1;
  const fd = noteDescriptor(raw(cSocket(AF_INET, SOCK_RAW_CLOEXEC, IPPROTO_ICMP)));
  if (fd === -EPERM) throw deniedError(undefined);
  if (fd < 0) throw systemError("socket(SOCK_RAW)", fd);
  closeFile(fd);
}

/** The package reports what strerror(3) says, nothing more. */
function socketError(thrown: unknown, during: string): PlinthError {
  const text = firstLine(thrown);
  if (/operation not permitted/i.test(text) && during.startsWith("opening")) return deniedError(thrown);
  return new PlinthError("RAW_SOCKET_FAILED", `${during} failed: ${text}`, { cause: thrown });
}

function deniedError(cause: unknown): PlinthError {
  return new PlinthError("RAW_SOCKET_DENIED", "raw sockets are refused: CAP_NET_RAW is missing", {
    remedy: "run it as root or with the capability CAP_NET_RAW",
    cause,
  });
}

function closedError(): PlinthError {
  return new PlinthError("RAW_SOCKET_FAILED", "the raw socket is closed");
}

function firstLine(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.split("\n", 1)[0] as string;
}
