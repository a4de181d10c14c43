/** The few parts of ASN.1 DER (ITU-T X.690) that a certificate is made of. Each function gives one encoded value. */

export function sequence(...items: readonly Uint8Array[]): Buffer {
  return encoded(0x30, ...items)
}

export function setOf(item: Uint8Array): Buffer {
  return encoded(0x31, item)
}

export function integer(value: Uint8Array): Buffer {
  // A leading bit would make it negative.
  return encoded(0x02, (value[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), value]) : value)
}

export function boolean(value: boolean): Buffer {
  return encoded(0x01, Buffer.from([value ? 0xff : 0]))
}

export function octetString(bytes: Uint8Array): Buffer {
  return encoded(0x04, bytes)
}

/** `unusedBits` at the end of the last byte. */
export function bitString(bytes: Uint8Array, unusedBits = 0): Buffer {
  return encoded(0x03, Buffer.from([unusedBits]), bytes)
}

export function utf8String(text: string): Buffer {
  return encoded(0x0c, Buffer.from(text))
}

/** From dotted decimal. */
export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  return encoded(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]))
}

/** RFC 5280 4.1.2.5: UTCTime until 2049, GeneralizedTime from then on. */
export function time(atMs: number): Buffer {
  const digits = new Date(atMs).toISOString().replace(/\.\d+|[-:T]/g, '')
  return digits < '2050' ? encoded(0x17, Buffer.from(digits.slice(2))) : encoded(0x18, Buffer.from(digits))
}

/** `[tag]` around values, or in place of their own tag where `primitive`. */
export function tagged(tag: number, content: Uint8Array, primitive = false): Buffer {
  return encoded((primitive ? 0x80 : 0xa0) | tag, content)
}

function encoded(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents)
  return Buffer.concat([Buffer.from([tag, ...lengthOf(content.length)]), content])
}

function lengthOf(size: number): number[] {
  if (size < 0x80) return [size]
  return size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f]
  for (let rest = value >> 7; rest > 0; rest >>= 7) bytes.unshift((rest & 0x7f) | 0x80)
  return bytes
}
