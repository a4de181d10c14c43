import { createHash } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { renameDurably, writeFileAtomic, writeFileSynced } from '../artifact/atomic-file.ts'
import { EdgefitError } from '../errors.ts'
import { type ExternalSpan, encodeWithExternal, exceedsSingleFile, SINGLE_FILE_BYTES } from './encode.ts'
import type { Model, Tensor } from './graph.ts'

export interface SaveOptions {
  /**
   * Initializers of at least this many bytes go to a data file beside the model. By default everything stays in the one
   * file, unless that would pass the 2 GiB that protobuf allows.
   */
  readonly externalDataThresholdBytes?: number
  /** What one file can hold; by default what protobuf allows. */
  readonly singleFileBytes?: number
}

/** Where runtimes map external data into memory, it must start on a page. */
const PAGE_BYTES = 4096

/**
 * Writes the model so that `path` is, at every moment, absent, the old model or the new one, also across a power cut.
 *
 * The data file's name carries a digest of its content, so a new model never overwrites the data of the old one; a data
 * file that is no longer named by any model is the caller's to delete.
 *
 * @throws EdgefitError DISK_FULL; INPUT_INVALID when the place cannot be written; MODEL_UNSUPPORTED when what cannot go
 * to a data file, the constants of nodes and subgraphs, is more than one file holds.
 */
export async function saveModel(path: string, model: Model, options: SaveOptions = {}): Promise<void> {
  const { singleFileBytes = SINGLE_FILE_BYTES } = options
  const threshold =
    options.externalDataThresholdBytes ??
    (exceedsSingleFile(model, singleFileBytes) ? PAGE_BYTES : Number.POSITIVE_INFINITY)
  const tensors = [...model.graph.initializers.values()].filter(
    (tensor) => tensor.strings === undefined && tensor.data.byteLength > 0 && tensor.data.byteLength >= threshold,
  )
  const external = spansOf(basename(path), tensors)
  const bytes = encodeWithExternal(model, external, singleFileBytes)
  try {
    const [first] = external.values()
    if (first !== undefined) {
      const dataPath = join(dirname(path), first.location)
      await writeFileSynced(`${dataPath}.new`, Readable.from(contentOf(external)))
      await renameDurably(`${dataPath}.new`, dataPath)
    }
    await writeFileAtomic(path, bytes)
  } catch (cause) {
    if (cause instanceof EdgefitError) throw cause
    throw new EdgefitError(`${path}: cannot write here; check the path and its permissions`, {
      code: 'INPUT_INVALID',
      cause,
      details: { path },
    })
  }
}

function spansOf(fileName: string, tensors: readonly Tensor[]): ReadonlyMap<Tensor, ExternalSpan> {
  const digest = createHash('sha256')
  for (const tensor of tensors) digest.update(tensor.data)
  const location = `${fileName}.${digest.digest('hex').slice(0, 16)}.data`
  const spans = new Map<Tensor, ExternalSpan>()
  let offset = 0
  for (const tensor of tensors) {
    spans.set(tensor, { location, offset })
    offset = Math.ceil((offset + tensor.data.byteLength) / PAGE_BYTES) * PAGE_BYTES
  }
  return spans
}

/** The tensors one after the other, each from its offset on. */
function* contentOf(spans: ReadonlyMap<Tensor, ExternalSpan>): Generator<Uint8Array> {
  let at = 0
  for (const [tensor, { offset }] of spans) {
    if (offset > at) yield new Uint8Array(offset - at)
    yield tensor.data
    at = offset + tensor.data.byteLength
  }
}
