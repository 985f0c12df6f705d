// Ethernet addresses as numbers (48 bits fit a double). Source: IEEE 802-2014, clause 8. Pure.

/** The address as a number, or undefined when `text` is not six hex octets separated by colons. */
export function parseMac(text: string): number | undefined {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return undefined;
  return Number.parseInt(text.replaceAll(":", ""), 16);
}

export function formatMac(mac: number): string {
  const hex = mac.toString(16).padStart(12, "0");
  return (hex.match(/../g) as string[]).join(":");
}

/** Whether a port may own it: unicast and not all zero. */
export function isUnicastMac(mac: number): boolean {
  return mac !== 0 && Math.floor(mac / 2 ** 40) % 2 === 0;
}
