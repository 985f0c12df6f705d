// What a write has to say beside its answer, as Warning headers: one for each, so that clients show each on a line.
// Source: RFC 7234, 5.5; Kubernetes, "Warnings" (code 299). Pure.

/** All of them together: some clients take no more than 16 KiB of headers. */
export const WARNINGS_SIZE_BYTES_MAX = 8 * 1024;
const LAST_SIZE_BYTES = 64;

/** Those that there is no room for are counted in the last. */
export function warningHeaders(warnings: readonly string[]): string[] {
  const headers: string[] = [];
  let size = 0;
  for (const [i, warning] of warnings.entries()) {
    const header = headerOf(warning);
    size += header.length;
    if (size > WARNINGS_SIZE_BYTES_MAX - LAST_SIZE_BYTES) {
      headers.push(headerOf(`${warnings.length - i} warnings more`));
      break;
    }
    headers.push(header);
  }
  return headers;
}

function headerOf(text: string): string {
  return `299 - "${text.replace(/[\\"]/g, "\\$&").replace(/[^\x20-\x7e]/g, "?")}"`;
}
