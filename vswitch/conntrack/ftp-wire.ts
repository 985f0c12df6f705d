// What an FTP control connection announces about data connections.
// Source: RFC 959, 4.1.2 (PORT) and 5.4 (227), RFC 2428 (EPRT, EPSV). Pure.
import { ipv4Bytes, parseIpv6Address, tryParseIpv4Address } from "../../base/wire/index.js";

/** Longer lines announce nothing. */
export const FTP_LINE_MAX = 256;

export interface FtpAnnouncement {
  /** Who will be called: the client (PORT, EPRT) or the server (227, 229). */
  readonly passive: boolean;
  /** 4 or 16 bytes; absent (229) = the address that speaks. */
  readonly address: Uint8Array | undefined;
  readonly port: number;
}

/** The announcement that a segment of the client's, or of the server's, begins with; undefined when it is none. */
export function parseFtp(payload: Uint8Array, fromClient: boolean): FtpAnnouncement | undefined {
  const end = payload.indexOf(13);
  if (end < 0 || end > FTP_LINE_MAX) return undefined;
  const line = String.fromCharCode(...payload.slice(0, end));
  if (fromClient) {
    const port = /^PORT\s+(\d{1,3}(?:,\d{1,3}){5})\s*$/i.exec(line);
    if (port !== null) return sixNumbers(port[1] as string, false);
    const extended = /^EPRT\s+([!-~])([12])\1([^|]+)\1(\d{1,5})\1\s*$/i.exec(line);
    if (extended === null) return undefined;
    const [, , family, address, number] = extended as unknown as string[];
    const bytes = family === "1" ? ipv4(address as string) : ipv6(address as string);
    return bytes === undefined ? undefined : announcement(false, bytes, Number(number));
  }
  const passive = /^227[ -].*?(\d{1,3}(?:,\d{1,3}){5})/.exec(line);
  if (passive !== null) return sixNumbers(passive[1] as string, true);
  const extended = /^229[ -].*?\(([!-~])\1\1(\d{1,5})\1\)/.exec(line);
  return extended === null ? undefined : announcement(true, undefined, Number(extended[2]));
}

function sixNumbers(text: string, passive: boolean): FtpAnnouncement | undefined {
  const numbers = text.split(",").map(Number);
  if (numbers.some((number) => number > 255)) return undefined;
  const [high, low] = numbers.slice(4) as [number, number];
  return announcement(passive, Uint8Array.from(numbers.slice(0, 4)), high * 256 + low);
}

/** A data connection never goes to a port of a service. */
function announcement(
  passive: boolean,
  address: Uint8Array | undefined,
  port: number,
): FtpAnnouncement | undefined {
  return port < 1024 || port > 65_535 ? undefined : { passive, address, port };
}

function ipv4(text: string): Uint8Array | undefined {
  const address = tryParseIpv4Address(text);
  return address === undefined ? undefined : ipv4Bytes(address);
}

function ipv6(text: string): Uint8Array | undefined {
  try {
    return parseIpv6Address(text);
  } catch {
    return undefined;
  }
}
