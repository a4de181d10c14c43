import { readFile } from 'node:fs/promises'
import { writeFileAtomic } from '@edgefit/shared/artifact'
import * as z from 'zod'
import type { KeptOutput, Verdicts } from './verdicts.ts'

// Layout: length of the header (uint32, little-endian), header (JSON), values (float64), right (uint8, where there is
// one), kept outputs (float32) in the order of the header.
const Header = z.object({
  key: z.string(),
  count: z.int().nonnegative(),
  hasRight: z.boolean(),
  kept: z.array(z.object({ name: z.string(), rowLength: z.int().nonnegative(), samples: z.int().nonnegative() })),
})

const LENGTH_BYTES = 4

/** Saves what fp32 said, so that a study asks it once. `key` is all that it depends on. */
export async function writeReference(path: string, key: string, verdicts: Verdicts): Promise<void> {
  const { count, values, right, kept } = verdicts
  const header: z.infer<typeof Header> = {
    key,
    count,
    hasRight: right !== null,
    kept: kept.map(({ name, rowLength, data }) => ({
      name,
      rowLength,
      samples: rowLength === 0 ? 0 : data.length / rowLength,
    })),
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt32LE(json.length)
  const bodies = [values, ...(right === null ? [] : [right]), ...kept.map(({ data }) => data)]
  const pieces = bodies.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength))
  await writeFileAtomic(path, Buffer.concat([length, json, ...pieces]))
}

/** Undefined when there is none for `key`, or the file is not one of ours: it is then made again. */
export async function readReference(path: string, key: string): Promise<Verdicts | undefined> {
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch {
    return undefined
  }
  const header = headerOf(bytes)
  if (header === undefined || header.key !== key) return undefined
  const { count, hasRight, kept } = header
  let offset = LENGTH_BYTES + bytes.readUInt32LE()
  // Copied, because the pieces lie at any alignment.
  const take = (byteLength: number): ArrayBuffer => {
    const piece = Uint8Array.from(bytes.subarray(offset, offset + byteLength)).buffer
    offset += byteLength
    return piece
  }
  const bodyBytes = kept.reduce(
    (sum, { rowLength, samples }) => sum + 4 * rowLength * samples,
    (hasRight ? 9 : 8) * count,
  )
  if (bytes.length !== offset + bodyBytes) return undefined
  const values = new Float64Array(take(8 * count))
  const right = hasRight ? new Uint8Array(take(count)) : null
  const outputs: KeptOutput[] = kept.map(({ name, rowLength, samples }) => ({
    name,
    rowLength,
    data: new Float32Array(take(4 * rowLength * samples)),
  }))
  return { count, values, right, kept: outputs }
}

function headerOf(bytes: Buffer): z.infer<typeof Header> | undefined {
  if (bytes.length < LENGTH_BYTES) return undefined
  const json = bytes.toString('utf8', LENGTH_BYTES, LENGTH_BYTES + bytes.readUInt32LE())
  try {
    return Header.safeParse(JSON.parse(json)).data
  } catch {
    return undefined
  }
}
