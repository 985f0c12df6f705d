// What strerror(3) says of a system error of Node's, which tells the call and the address instead.

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "No such file or directory",
  ECONNREFUSED: "Connection refused",
  ECONNRESET: "Connection reset by peer",
  EPIPE: "Broken pipe",
  EACCES: "Permission denied",
  EISDIR: "Is a directory",
  ENOTDIR: "Not a directory",
  ENOTSOCK: "Socket operation on non-socket",
  EPROTOTYPE: "Protocol wrong type for socket",
  ELOOP: "Too many levels of symbolic links",
  EHOSTUNREACH: "No route to host",
  ENETUNREACH: "Network is unreachable",
  EINVAL: "Invalid argument",
  ENODEV: "No such device",
  ETIMEDOUT: "Connection timed out",
};

/** The words of strerror(3); of anything else its message. */
export function systemReason(thrown: unknown): string {
  const { code, message } = thrown as NodeJS.ErrnoException;
  return REASONS[code ?? ""] ?? message;
}
