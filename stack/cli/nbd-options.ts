// Where NBD clients come, and how they are met: the options of `plinth storaged` and `plinth volume serve`.
import { type Command, InvalidArgumentError, Option } from "commander";
import { PlinthError } from "../../base/errors/index.js";
import { inheritedListeners } from "../../base/linux/index.js";
import type { NbdEndpoint, NbdTls } from "../../storage-pool/index.js";

/** IANA's number for NBD. Of storage-pool only types come here, or every `plinth volume` would load its daemon. */
export const NBD_PORT = 10_809;

export interface ListenFlags {
  readonly listen?: readonly NbdEndpoint["at"][];
  readonly readOnly: boolean;
  readonly tls: "off" | "on" | "require";
  readonly tlsCertificates?: string;
  readonly tlsVerifyPeer: boolean;
  readonly tlsPsk?: string;
}

export function withNbdListen(command: Command): Command {
  return command
    .option(
      "--listen <where>",
      `where NBD clients come: HOST, HOST:PORT, [IPV6]:PORT or a path with a slash (again for more; port ${NBD_PORT} unless given, 0 lets the system choose)`,
      (text: string, before: readonly NbdEndpoint["at"][] = []) => [...before, parsePlace(text)],
    )
    .option("--read-only", "refuse to write through what --listen offers", false)
    .addOption(
      new Option("--tls <mode>", "encryption there: off, on (for clients that ask for it) or require")
        .choices(["off", "on", "require"])
        .default("off"),
    )
    .option("--tls-certificates <dir>", "directory with server-cert.pem, server-key.pem and ca-cert.pem")
    .option("--tls-verify-peer", "clients must show a certificate of ca-cert.pem", false)
    .option("--tls-psk <file>", "keys that both sides know, lines of NAME:HEXKEY");
}

/**
 * The endpoints of the options, and of sockets that we were started with. `fallback`: when there are neither. Throws
 * NBD_TLS_UNUSABLE and LISTEN_FDS_INVALID.
 */
export async function nbdEndpoints(
  flags: ListenFlags,
  exports?: readonly string[],
  fallback: readonly NbdEndpoint["at"][] = [],
): Promise<NbdEndpoint[]> {
  const tls = await tlsOf(flags);
  const inherited = inheritedListeners().map((fd) => ({ kind: "inherited", fd }) as const);
  const asked = [...(flags.listen ?? []), ...inherited];
  return (asked.length > 0 ? asked : fallback).map((at) => ({ at, exports, readOnly: flags.readOnly, tls }));
}

async function tlsOf(flags: ListenFlags): Promise<NbdTls | undefined> {
  const { tls, tlsCertificates: certificates, tlsVerifyPeer: verifyPeer, tlsPsk: keys } = flags;
  if (tls !== "off") {
    const asked = { required: tls === "require", certificates, verifyPeer, keys };
    // Before anything is made: files that cannot be used are named at once.
    const { readNbdTls } = await import("../../storage-pool/index.js");
    readNbdTls(asked);
    return asked;
  }
  if (certificates === undefined && keys === undefined && !verifyPeer) return undefined;
  throw new PlinthError("NBD_TLS_UNUSABLE", "options of TLS are given, but TLS is off", {
    remedy: "--tls on or --tls require",
  });
}

function parsePlace(text: string): NbdEndpoint["at"] {
  if (text.includes("/")) return { kind: "unix", path: text };
  const [, bracketed, plain, port = String(NBD_PORT)] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port) > 65_535) {
    throw new InvalidArgumentError("expected HOST, HOST:PORT, [IPV6]:PORT or a path with a slash");
  }
  return { kind: "tcp", host, port: Number(port) };
}
