import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import { decodeModel, loadModel, saveModel } from '@edgefit/shared/onnx'
import type { ControllerClient } from '../api/client.ts'
import type { CliIo } from './io.ts'
import { createProgressBar } from './progress-bar.ts'

/** Uploads a file with a progress bar. Gives the upload's id. @throws EdgefitError NOT_FOUND */
export async function sendFile(io: CliIo, client: ControllerClient, path: string, quiet: boolean): Promise<string> {
  const { size } = await statFile(path)
  const bar = createProgressBar(io, 'sending', quiet)
  try {
    return await client.upload(path, (sentBytes) => bar.update(sentBytes, size), io.signal)
  } finally {
    bar.end()
  }
}

/**
 * Checks a model before it is sent and uploads it as one file: what it keeps in files beside it is put in.
 *
 * @throws EdgefitError NOT_FOUND, MODEL_INVALID, MODEL_UNSUPPORTED; the message names `path`
 */
export async function sendModel(io: CliIo, client: ControllerClient, path: string, quiet: boolean): Promise<string> {
  const model = await loadModel(path)
  if (isWhole(await readFile(path))) return await sendFile(io, client, path, quiet)
  const scratch = await mkdtemp(join(tmpdir(), 'edgefit-model-'))
  try {
    const whole = join(scratch, 'model.onnx')
    await saveModel(whole, model)
    return await sendFile(io, client, whole, quiet)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

function isWhole(bytes: Uint8Array): boolean {
  try {
    decodeModel(bytes)
    return true
  } catch (error) {
    // It loaded together with the files beside it, so without them it is their absence that is at fault.
    if (isEdgefitError(error)) return false
    throw error
  }
}

async function statFile(path: string): Promise<{ readonly size: number }> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new EdgefitError(`${path}: cannot read this file; check the path and its permissions`, {
      code: 'NOT_FOUND',
      cause,
      details: { path },
    })
  })
  if (found.isFile()) return found
  throw new EdgefitError(`${path} is not a file; for a folder of images give --images`, {
    code: 'INPUT_INVALID',
    details: { path },
  })
}
