import { stat } from 'node:fs/promises'
import { EdgefitError } from '@edgefit/shared'
import type { ControllerClient } from '../api/client.ts'
import { unreadableFile } from '../api/unreadable-file.ts'
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

async function statFile(path: string): Promise<{ readonly size: number }> {
  const found = await stat(path).catch((cause: unknown) => {
    throw unreadableFile(path, cause)
  })
  if (found.isFile()) return found
  throw new EdgefitError(`${path} is not a file; for a folder of images give --images`, {
    code: 'INPUT_INVALID',
    details: { path },
  })
}
