// Bytes that may not be UTF-8 as text and back: a byte B that is part of no character becomes the lone half of a surrogate
// pair U+DC00 + B, which no UTF-8 gives, so that who takes the text can name the byte. Pure.
// Source: RFC 3629, 3 and 4; the escapes are those of PEP 383.

const ESCAPE = 0xdc00;
const ESCAPED_BYTE = /[\udc80-\udcff]/u;
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of `bytes`, with escapes for those that are no UTF-8. */
export function decodeEscapedUtf8(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return decodeParts(bytes);
  }
}

function decodeParts(bytes: Uint8Array): string {
  let text = "";
  let begin = 0;
  let at = 0;
  while (at < bytes.length) {
    const { length, isWhole } = sequenceAt(bytes, at);
    if (isWhole) at += length;
    else {
      text += strict.decode(bytes.subarray(begin, at)) + String.fromCharCode(ESCAPE + (bytes[at] as number));
      begin = ++at;
    }
  }
  return text + strict.decode(bytes.subarray(begin));
}

/** The first bytes of `text` that are no UTF-8, up to the one that is wrong; 0 is what follows its end. */
export function invalidSequenceIn(text: string): readonly number[] {
  const first = text.search(ESCAPED_BYTE);
  if (first < 0) return [];
  const bytes = [...text.slice(first)].flatMap((one) => {
    const point = one.codePointAt(0) as number;
    return point > ESCAPE && point < 0xe000 ? [point - ESCAPE] : [...Buffer.from(one)];
  });
  return bytes.concat(0).slice(0, sequenceAt(Uint8Array.of(...bytes.slice(0, 4), 0), 0).length);
}

/** How many bytes from `at` on are a character's, or would be but for the last of them. */
function sequenceAt(bytes: Uint8Array, at: number): { readonly length: number; readonly isWhole: boolean } {
  const first = bytes[at] as number;
  if (first < 0x80) return { length: 1, isWhole: true };
  if (first < 0xc2 || first > 0xf4) return { length: 1, isWhole: false };
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  for (let i = 1; i < size; i++) {
    const byte = bytes[at + i] ?? 0;
    const [least, most] = i === 1 ? secondBytes(first) : [0x80, 0xbf];
    if (byte < least || byte > most) return { length: i + 1, isWhole: false };
  }
  return { length: size, isWhole: true };
}

/** What may follow `first`: neither overlong forms, surrogates nor anything beyond U+10FFFF. */
function secondBytes(first: number): readonly [least: number, most: number] {
  if (first === 0xe0) return [0xa0, 0xbf];
  if (first === 0xed) return [0x80, 0x9f];
  if (first === 0xf0) return [0x90, 0xbf];
  if (first === 0xf4) return [0x80, 0x8f];
  return [0x80, 0xbf];
}
