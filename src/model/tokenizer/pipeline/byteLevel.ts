/** Bytes as printable characters: GPT-2's alphabet. */

const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

const CHARACTERS: readonly string[] = alphabet();

function alphabet(): string[] {
  let extra = 0;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(isPrintable(byte) ? byte : 256 + extra++),
  );
}

/** By code point: the byte that a character stands for. */
const BYTES: readonly (number | undefined)[] = bytesByCode();

function bytesByCode(): (number | undefined)[] {
  const bytes: (number | undefined)[] = [];
  for (const [byte, character] of CHARACTERS.entries()) bytes[character.charCodeAt(0)] = byte;
  return bytes;
}

const encoder = new TextEncoder();

/** Every byte of the text's UTF-8 as a character. */
export function toByteLevel(text: string): string {
  let made = '';
  for (let i = 0; i < text.length; ++i) {
    const code = text.charCodeAt(i);
    if (code >= 128) return made + ofBytes(encoder.encode(text.slice(i)));
    made += CHARACTERS[code]!;
  }
  return made;
}

function ofBytes(bytes: Uint8Array): string {
  let made = '';
  for (const byte of bytes) made += CHARACTERS[byte]!;
  return made;
}

/** The bytes that a token of this alphabet stands for; undefined when it has other characters. */
export function bytesOf(token: string): number[] | undefined {
  const bytes: number[] = [];
  for (let i = 0; i < token.length; ++i) {
    const byte = BYTES[token.charCodeAt(i)];
    if (byte === undefined) return undefined;
    bytes.push(byte);
  }
  return bytes;
}
