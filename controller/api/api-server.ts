import { once } from 'node:events'
import { chmod, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { EdgefitError, isEdgefitError } from '@edgefit/shared'
import { getRequestListener } from '@hono/node-server'
import { Hono } from 'hono'
import type { Logger } from 'pino'
import { isOperationName } from './operations.ts'
import { runOperation } from './run-operation.ts'
import type { CommandServices } from './services.ts'
import { httpStatus, toWireError } from './wire.ts'

/** Linux allows 107 bytes and a terminating zero. */
const MAX_SOCKET_PATH_BYTES = 107
const MAX_JSON_BYTES = 2 ** 20
const CLOSE_TIMEOUT_MS = 2_000

export interface ApiServer {
  close(): Promise<void>
}

export interface ApiServerOptions {
  /** Unix socket that only the user of this process may open. One left behind by a crash is replaced. */
  readonly socketPath: string
  readonly services: CommandServices
  readonly log: Logger
}

/**
 * Serves the operations: `POST /v1/{operation}` with a JSON body, `PUT /v1/uploads` with the bytes of a file.
 *
 * @throws EdgefitError CONFIG_INVALID for a path too long for a socket
 */
export async function startApiServer({ socketPath, services, log }: ApiServerOptions): Promise<ApiServer> {
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES)
    throw new EdgefitError(
      `--data-dir: ${socketPath} is too long for a socket (${MAX_SOCKET_PATH_BYTES} bytes at most); choose a shorter directory`,
      { code: 'CONFIG_INVALID', details: { socketPath } },
    )
  const stopping = new AbortController()
  const app = createApp(services, stopping.signal, log)
  const listener = getRequestListener(app.fetch)
  const server = createServer((request, response) => void listener(request, response))
  // A large model over a slow disk takes its time; who is connected is the operator himself.
  server.requestTimeout = 0
  await rm(socketPath, { force: true })
  server.listen(socketPath)
  await once(server, 'listening')
  await chmod(socketPath, 0o600)
  return {
    async close() {
      stopping.abort()
      const closed = new Promise((done) => server.close(done))
      server.closeIdleConnections()
      const impatient = setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS)
      await closed
      clearTimeout(impatient)
    },
  }
}

function createApp(services: CommandServices, stopping: AbortSignal, log: Logger): Hono {
  const app = new Hono()

  app.put('/v1/uploads', async (context) => {
    const { body, signal } = context.req.raw
    if (body === null) throw new EdgefitError('upload: the request has no body', { code: 'INPUT_INVALID' })
    return context.json({ upload: await services.uploads.receive(body, AbortSignal.any([signal, stopping])) })
  })

  app.post('/v1/:operation', async (context) => {
    const name = context.req.param('operation')
    if (!isOperationName(name))
      throw new EdgefitError(`there is no operation "${name}"`, { code: 'NOT_FOUND', details: { operation: name } })
    const signal = AbortSignal.any([context.req.raw.signal, stopping])
    return context.json({ result: await runOperation(name, services, await readJson(context.req.raw), signal) })
  })

  app.notFound((context) => {
    const error = new EdgefitError(`there is no ${context.req.method} ${context.req.path}`, { code: 'NOT_FOUND' })
    return context.json(toWireError(error), 404)
  })

  app.onError((error, context) => {
    if (isEdgefitError(error)) return context.json(toWireError(error), httpStatus(error.code))
    log.error({ err: error, path: context.req.path }, 'request failed')
    const internal = new EdgefitError('the controller failed unexpectedly; its log has the cause', { code: 'INTERNAL' })
    return context.json(toWireError(internal), 500)
  })

  return app
}

async function readJson(request: Request): Promise<unknown> {
  const text = await request.text()
  if (text.length > MAX_JSON_BYTES)
    throw new EdgefitError(`request of ${text.length} bytes, at most ${MAX_JSON_BYTES} are taken`, {
      code: 'INPUT_INVALID',
    })
  if (text === '') return {}
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new EdgefitError('request: not valid JSON', { code: 'INPUT_INVALID', cause })
  }
}
