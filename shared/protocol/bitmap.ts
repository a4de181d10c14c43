const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** A set of numbers in `[0, count)` as base64: bit i, least significant first, is set where i is a member. */
export function encodeBitmap(members: Iterable<number>, count: number): string {
  const bytes = new Uint8Array(Math.ceil(count / 8))
  for (const member of members) {
    if (!Number.isInteger(member) || member < 0 || member >= count)
      throw new RangeError(`${member} is not in [0, ${count})`)
    bytes[member >> 3] = (bytes[member >> 3] ?? 0) | (1 << (member & 7))
  }
  return Buffer.from(bytes).toString('base64')
}

/** The members in ascending order, or `undefined` when `text` is no bitmap of `count` bits. */
export function decodeBitmap(text: string, count: number): number[] | undefined {
  if (!BASE64.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  if (bytes.byteLength !== Math.ceil(count / 8)) return undefined
  const members: number[] = []
  for (const [at, byte] of bytes.entries())
    for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) members.push(at * 8 + bit)
  return (members.at(-1) ?? 0) < Math.max(count, 1) ? members : undefined
}
