import { open, readFile, realpath } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { EdgefitError } from '../errors.ts'
import { decodeModelProto, externalLocations } from './decode.ts'
import type { Model } from './graph.ts'
import { parseModelProto } from './protobuf.ts'

/**
 * Reads an ONNX file and the external data files it names, which must lie in its folder.
 *
 * @throws EdgefitError NOT_FOUND when there is no such file, otherwise as `decodeModel`; the message names `path`.
 */
export async function loadModel(path: string): Promise<Model> {
  const bytes = await readModelFile(path)
  try {
    const proto = parseModelProto(bytes)
    const externalData = new Map<string, Uint8Array>()
    for (const location of externalLocations(proto)) {
      externalData.set(location, await readExternal(dirname(path), location))
    }
    return decodeModelProto(proto, externalData)
  } catch (cause) {
    if (!(cause instanceof EdgefitError)) throw cause
    const { code, details } = cause
    throw new EdgefitError(`${path}: ${cause.message}`, { code, cause, details: { ...details, path } })
  }
}

async function readModelFile(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (cause) {
    const code = isErrno(cause, 'ENOENT') ? 'NOT_FOUND' : 'INPUT_INVALID'
    throw new EdgefitError(`${path}: cannot read this file; check the path and its permissions`, {
      code,
      cause,
      details: { path },
    })
  }
}

async function readExternal(folder: string, location: string): Promise<Uint8Array> {
  try {
    // A link inside the folder may still lead out of it.
    const root = await realpath(folder)
    const file = await realpath(join(folder, location))
    if (!file.startsWith(root.endsWith(sep) ? root : root + sep)) {
      throw new EdgefitError(`external data file "${location}" leads out of the model's folder`, {
        code: 'MODEL_INVALID',
      })
    }
    return await readWhole(file)
  } catch (cause) {
    if (cause instanceof EdgefitError) throw cause
    throw new EdgefitError(`cannot read the external data file "${location}"; put it beside the model, readable`, {
      code: 'MODEL_INVALID',
      cause,
      details: { location },
    })
  }
}

/** `readFile` takes no more than 2 GiB, which is just where external data starts to be needed. */
async function readWhole(path: string): Promise<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const bytes = new Uint8Array((await file.stat()).size)
    for (let at = 0; at < bytes.byteLength; ) {
      const { bytesRead } = await file.read(bytes, at, Math.min(bytes.byteLength - at, READ_BYTES), at)
      if (bytesRead === 0) return bytes.subarray(0, at)
      at += bytesRead
    }
    return bytes
  } finally {
    await file.close()
  }
}

const READ_BYTES = 64 * 2 ** 20

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
