import { existsSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { request } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { EdgefitError, parseWith } from '@edgefit/shared'
import * as z from 'zod'
import { openStoreForReading } from '../store/open-store.ts'
import { type InputOf, OPERATIONS, type OperationName, type OutputOf } from './operations.ts'
import { runQuery } from './run-operation.ts'
import { unreadableFile } from './unreadable-file.ts'
import { fromWireError, WireError } from './wire.ts'

/** An operator's end of the HTTP interface. */
export interface ControllerClient {
  /** @throws EdgefitError as the operation does; UNAVAILABLE without a controller for what needs one. */
  call<Name extends OperationName>(name: Name, input: InputOf<Name>, signal: AbortSignal): Promise<OutputOf<Name>>
  /** Gives the id by which a publishing operation takes the file. `onProgress` is told bytes sent so far. */
  upload(path: string, onProgress: (sentBytes: number) => void, signal: AbortSignal): Promise<string>
}

export interface ClientOptions {
  readonly socketPath: string
  /** Read where no controller answers. */
  readonly storePath: string
  readonly now: () => number
}

const START_POLL_MS = 100
const START_TRIES = 20

const Result = z.object({ result: z.unknown() })
const Uploaded = z.object({ upload: z.string() })

export function createClient({ socketPath, storePath, now }: ClientOptions): ControllerClient {
  async function callOffline(name: OperationName, input: unknown, signal: AbortSignal): Promise<unknown> {
    const db = await openStoreForReading(storePath)
    try {
      return await runQuery(name, { db, now }, input, signal)
    } finally {
      await db.destroy()
    }
  }

  /** A controller that is just starting has its files but does not answer yet. */
  async function untilThere<Answer>(ask: () => Promise<Answer>, signal: AbortSignal): Promise<Answer> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await ask()
      } catch (error) {
        if (!isNobodyThere(error)) throw error
        if (tries > START_TRIES || !existsSync(storePath)) throw nobodyThere(socketPath, error)
        await sleep(START_POLL_MS, undefined, { signal })
      }
    }
  }

  return {
    async call(name, input, signal) {
      const { output, kind } = OPERATIONS[name]
      const ask = async () => {
        const body = Readable.from([Buffer.from(JSON.stringify(input))])
        const answer = await send({ socketPath, method: 'POST', path: `/v1/${name}`, body, signal })
        return parseWith(Result, answer, 'answer of the controller', 'PROTOCOL_INVALID').result
      }
      const result =
        kind === 'query' ? await orOffline(ask, () => callOffline(name, input, signal)) : await untilThere(ask, signal)
      // The schema under `name` is the one that `OutputOf` is read from.
      return parseWith(output, result, `answer to ${name}`, 'PROTOCOL_INVALID') as OutputOf<typeof name>
    },
    async upload(path, onProgress, signal) {
      const ask = async () => {
        const file = await openFile(path)
        let sentBytes = 0
        const body = file.createReadStream({ highWaterMark: 2 ** 20 })
        body.on('data', (piece) => {
          sentBytes += piece.length
          onProgress(sentBytes)
        })
        const answer = await send({ socketPath, method: 'PUT', path: '/v1/uploads', body, signal })
        return parseWith(Uploaded, answer, 'answer of the controller', 'PROTOCOL_INVALID').upload
      }
      return await untilThere(ask, signal)
    },
  }
}

async function orOffline<Answer>(ask: () => Promise<Answer>, offline: () => Promise<Answer>): Promise<Answer> {
  try {
    return await ask()
  } catch (error) {
    if (!isNobodyThere(error)) throw error
    return await offline()
  }
}

/** @throws EdgefitError NOT_FOUND */
async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (cause) {
    throw unreadableFile(path, cause)
  }
}

interface Sent {
  readonly socketPath: string
  readonly method: 'POST' | 'PUT'
  readonly path: string
  readonly body: Readable
  readonly signal: AbortSignal
}

/** @throws EdgefitError that the controller answered; a system error where it cannot be reached */
async function send({ socketPath, method, path, body, signal }: Sent): Promise<unknown> {
  // A connection of its own: a kept one may belong to a controller that has gone.
  const sent = request({ socketPath, method, path, signal, agent: false })
  const answered = new Promise<{ readonly ok: boolean; readonly text: string }>((resolve, reject) => {
    sent.on('error', reject)
    sent.on('response', (response) => {
      const pieces: Buffer[] = []
      response.on('data', (piece: Buffer) => pieces.push(piece))
      response.on('error', reject)
      response.on('end', () => resolve({ ok: response.statusCode === 200, text: Buffer.concat(pieces).toString() }))
    })
  })
  // An answer may come before all is sent: a refusal of a bad upload.
  const [{ ok, text }] = await Promise.all([orCutOff(answered), pipeline(body, sent).catch(() => undefined)])
  const answer: unknown = JSON.parse(text)
  if (ok) return answer
  throw fromWireError(parseWith(WireError, answer, 'answer of the controller', 'PROTOCOL_INVALID'))
}

async function orCutOff<Answer>(answered: Promise<Answer>): Promise<Answer> {
  try {
    return await answered
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && (cause.code === 'ECONNRESET' || cause.code === 'EPIPE')))
      throw cause
    throw new EdgefitError('the controller stopped before it answered; see what was done, and try again', {
      code: 'UNAVAILABLE',
      cause,
    })
  }
}

function isNobodyThere(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
}

function nobodyThere(socketPath: string, cause: unknown): EdgefitError {
  return new EdgefitError(
    `no controller answers at ${socketPath}; start it with "edgefit controller start", or name its directory with --data-dir`,
    { code: 'UNAVAILABLE', cause },
  )
}
