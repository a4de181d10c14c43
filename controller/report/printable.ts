// C0, DEL and C1; and the characters that reorder what follows.
const UNPRINTABLE = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu

/** Text that came from a device: it must not move the cursor, clear the screen or reorder a line. */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, '\ufffd')
}
