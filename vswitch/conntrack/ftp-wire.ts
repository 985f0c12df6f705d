// What an FTP control connection announces about data connections: reading it, and writing it with another end.
// Source: RFC 959, 4.1.2 (PORT) and 5.4 (227), RFC 2428 (EPRT, EPSV). Pure.
import {
  formatIpv4Address,
  formatIpv6Address,
  ipv4Bytes,
  parseIpv6Address,
  tryParseIpv4Address,
} from "../../base/wire/index.js";

/** Longer lines announce nothing. */
export const FTP_LINE_MAX = 256;
/** A data connection never goes to a port of a service. */
export const FTP_DATA_PORT_MIN = 1024;
/** Octets of the longest argument that encodeFtpEnd writes: an IPv6 address, a delimiter, a port. */
export const FTP_END_MAX = 45;

/** How the end of a data connection is written. */
export type FtpForm =
  /** "10,0,0,1,5,1" */
  | { readonly kind: "numbers" }
  /** "10.0.0.1|1281" with this delimiter. */
  | { readonly kind: "extended"; readonly delimiter: string }
  /** "1281" */
  | { readonly kind: "port" };

export interface FtpAnnouncement {
  /** Who will be called: the client (PORT, EPRT) or the server (227, 229). */
  readonly passive: boolean;
  /** 4 or 16 bytes; absent (229) = the address that speaks. */
  readonly address: Uint8Array | undefined;
  readonly port: number;
  readonly form: FtpForm;
  /** Where in the line address and port stand. */
  readonly at: number;
  readonly size: number;
}

/** No digit, letter, dot or colon: these are what it delimits. */
const DELIMITER = "([!-\\-/;-@[-`{-~])";
const EPRT = new RegExp(`^(EPRT\\s+${DELIMITER}([12])\\2)(.+?)\\2(\\d{1,5})\\2\\s*$`, "i");
const EPSV = new RegExp(`^(229[ -].*?\\(${DELIMITER}\\2\\2)(\\d{1,5})\\2\\)`);

/** What one line of the client's, or of the server's, announces; without its end or with it. Undefined when nothing. */
export function parseFtpLine(line: string, fromClient: boolean): FtpAnnouncement | undefined {
  if (line.length > FTP_LINE_MAX) return undefined;
  if (!fromClient) return parseReply(line);
  const port = /^(PORT\s+)(\d{1,3}(?:,\d{1,3}){5})\s*$/i.exec(line);
  if (port !== null) return sixNumbers(port[2] as string, (port[1] as string).length, false);
  const extended = EPRT.exec(line);
  if (extended === null) return undefined;
  const [, before, delimiter, family, address, number] = extended as unknown as string[];
  const bytes = family === "1" ? ipv4(address as string) : ipv6(address as string);
  if (bytes === undefined) return undefined;
  const form: FtpForm = { kind: "extended", delimiter: delimiter as string };
  const at = (before as string).length;
  const size = (address as string).length + 1 + (number as string).length;
  return announcement({ passive: false, address: bytes, port: Number(number), form, at, size });
}

function parseReply(line: string): FtpAnnouncement | undefined {
  const passive = /^(227[ -].*?)(?<![\d,])(\d{1,3}(?:,\d{1,3}){5})(?![\d,])/.exec(line);
  if (passive !== null) return sixNumbers(passive[2] as string, (passive[1] as string).length, true);
  const extended = EPSV.exec(line);
  if (extended === null) return undefined;
  const [, before, , number] = extended as unknown as string[];
  const at = (before as string).length;
  const size = (number as string).length;
  return announcement({
    passive: true,
    address: undefined,
    port: Number(number),
    form: { kind: "port" },
    at,
    size,
  });
}

function sixNumbers(text: string, at: number, passive: boolean): FtpAnnouncement | undefined {
  const numbers = text.split(",").map(Number);
  if (numbers.some((number) => number > 255)) return undefined;
  const [high, low] = numbers.slice(4) as [number, number];
  const address = Uint8Array.from(numbers.slice(0, 4));
  const port = high * 256 + low;
  return announcement({ passive, address, port, form: { kind: "numbers" }, at, size: text.length });
}

function announcement(told: FtpAnnouncement): FtpAnnouncement | undefined {
  return told.port < FTP_DATA_PORT_MIN || told.port > 65_535 ? undefined : told;
}

/** Address (4 or 16 bytes; unused where only the port is written) and port in the form of an announcement. */
export function encodeFtpEnd(form: FtpForm, address: Uint8Array, port: number): Uint8Array {
  return new TextEncoder().encode(endText(form, address, port));
}

function endText(form: FtpForm, address: Uint8Array, port: number): string {
  if (form.kind === "port") return String(port);
  if (form.kind === "numbers") return [...address, port >>> 8, port & 0xff].join(",");
  const view = new DataView(address.buffer, address.byteOffset);
  const text = address.byteLength === 4 ? formatIpv4Address(view.getUint32(0)) : formatIpv6Address(address);
  return `${text}${form.delimiter}${port}`;
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
