import { createWriteStream } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import * as z from 'zod'
import { syncDirectory } from '../artifact/atomic-file.ts'
import { EdgefitError } from '../errors.ts'
import { TENSOR_TYPES } from '../model/primitives.ts'
import { finiteCheck } from './finite-check.ts'
import { type ArrayInfo, arraySizeBytes } from './npy.ts'
import { countSamples, type NpzEntry, npzEntries } from './npz-entries.ts'

const MARKER = 'complete'
const LONGEST_FILE_NAME = 200

/** What `complete` in an unpacked directory says: the arrays, and by their checksums which archive they came from. */
const Marker = z.object({
  arrays: z.array(
    z.object({
      name: z.string(),
      dtype: z.enum(TENSOR_TYPES),
      shape: z.array(z.int().nonnegative()),
      crc32: z.int().nonnegative(),
    }),
  ),
})
export type UnpackedArrays = readonly (ArrayInfo & { readonly crc32: number })[]

/**
 * Unpacks an .npz into `dir`, one .npy file an array, so that rows can be read at random.
 *
 * `dir` appears as a whole or not at all: the work is done beside it, in `dir` + ".partial". A directory that already
 * holds this very archive is kept as it is, another one is replaced. Memory stays bounded whatever the size. One
 * process at a time may unpack to a directory.
 *
 * @throws EdgefitError NOT_FOUND without the file; DATASET_INVALID for a damaged archive, an array that is no dataset,
 * unequal sample counts, or a NaN or infinite value; DISK_FULL
 */
export async function unpackNpz(npzPath: string, dir: string, signal: AbortSignal): Promise<void> {
  const entries = await readEntries(npzPath, signal)
  const present = await readMarker(dir)
  if (present !== undefined && JSON.stringify(present) === JSON.stringify(entries)) return
  const partial = `${dir}.partial`
  try {
    await rm(partial, { recursive: true, force: true })
    await mkdir(partial, { recursive: true })
    for await (const entry of npzEntries(npzPath, signal)) await unpackArray(entry, partial, signal)
    await writeMarker(partial, entries)
    await rm(dir, { recursive: true, force: true })
    await rename(partial, dir)
    await syncDirectory(dirname(dir))
  } catch (cause) {
    await rm(partial, { recursive: true, force: true })
    throw roomFault(cause, dir, entries)
  }
}

/** The arrays of an unpacked directory, or undefined when there is no complete one. */
export async function readMarker(dir: string): Promise<UnpackedArrays | undefined> {
  let text: string
  try {
    text = await readFile(join(dir, MARKER), 'utf8')
  } catch {
    return undefined
  }
  try {
    return Marker.parse(JSON.parse(text)).arrays
  } catch {
    return undefined
  }
}

/** Where an array lies inside its directory. Percent-encoding keeps names with "/" or ":" inside it. */
export function arrayFileName(name: string): string {
  const fileName = `${encodeURIComponent(name)}.npy`
  if (fileName.length > LONGEST_FILE_NAME) {
    throw new EdgefitError(`array name "${name.slice(0, 40)}..." is too long; give it a shorter one`, {
      code: 'DATASET_INVALID',
      details: { array: name },
    })
  }
  return fileName
}

async function readEntries(npzPath: string, signal: AbortSignal): Promise<UnpackedArrays> {
  const entries: (ArrayInfo & { crc32: number })[] = []
  for await (const { name, dtype, shape, crc32 } of npzEntries(npzPath, signal)) {
    entries.push({ name, dtype, shape, crc32 })
  }
  countSamples(entries)
  return entries
}

async function unpackArray(entry: NpzEntry, dir: string, signal: AbortSignal): Promise<void> {
  const check = finiteCheck(entry)
  const target = createWriteStream(join(dir, arrayFileName(entry.name)), { flush: true })
  await pipeline(
    entry.read(),
    async function* (pieces: AsyncIterable<Uint8Array>) {
      for await (const piece of pieces) {
        check(piece)
        yield piece
      }
    },
    target,
    { signal },
  )
}

async function writeMarker(dir: string, arrays: UnpackedArrays): Promise<void> {
  const file = await open(join(dir, MARKER), 'w')
  try {
    await file.writeFile(JSON.stringify({ arrays }))
    await file.sync()
  } finally {
    await file.close()
  }
  await syncDirectory(dir)
}

function roomFault(cause: unknown, dir: string, arrays: UnpackedArrays): unknown {
  if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC')) return cause
  const neededBytes = arrays.reduce((sum, array) => sum + arraySizeBytes(array), 0)
  return new EdgefitError(
    `no room to unpack the dataset to ${dir}: it needs ${Math.ceil(neededBytes / 2 ** 20)} MiB; free some space`,
    { code: 'DISK_FULL', cause, details: { dir, neededBytes } },
  )
}
