// Bytes as a hexadecimal dump, sixteen to a line with their characters. Pure. Source: as ovs-ofctl prints them.

const LINE_SIZE = 16;

/** The same without characters: "00000000  04 0e 00 10 …", with nothing behind the last byte. */
export function formatPlainHexDump(bytes: Uint8Array): string {
  return formatHexDump(bytes).replaceAll(/ *\|.*\|$/gm, "");
}

/** Lines "00000000  04 0e 00 10 …-… |....|", each with its newline; none for no bytes. */
export function formatHexDump(bytes: Uint8Array): string {
  let dump = "";
  for (let at = 0; at < bytes.byteLength; at += LINE_SIZE) {
    const line = bytes.subarray(at, at + LINE_SIZE);
    let digits = "";
    for (let i = 0; i < LINE_SIZE; i++) {
      const byte = line[i];
      digits += byte === undefined ? "  " : byte.toString(16).padStart(2, "0");
      // The halves are joined where there is a second one or could be.
      digits += i === LINE_SIZE / 2 - 1 && byte !== undefined ? "-" : " ";
    }
    const characters = Array.from(line, (byte) =>
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".",
    ).join("");
    dump += `${at.toString(16).padStart(8, "0")}  ${digits}|${characters.padEnd(LINE_SIZE)}|\n`;
  }
  return dump;
}
