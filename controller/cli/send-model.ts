import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isEdgefitError } from '@edgefit/shared'
import { decodeModel, loadModel, saveModel } from '@edgefit/shared/onnx'
import type { ControllerClient } from '../api/client.ts'
import type { CliIo } from './io.ts'
import { sendFile } from './send-file.ts'

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
