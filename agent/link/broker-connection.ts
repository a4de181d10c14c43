import { EdgefitError } from '@edgefit/shared'
import { assertMessageSize } from '@edgefit/shared/protocol'
import { connect, type IClientOptions, type MqttClient } from 'mqtt'

export interface ConnectRequest
  extends Pick<IClientOptions, 'clientId' | 'username' | 'password' | 'will' | 'cert' | 'key' | 'ca'> {
  readonly url: string
}

/** What arrives. `retained`: the broker's memory of it, not news. */
export type OnMessage = (topic: string, payload: Buffer, retained: boolean) => void

/**
 * One connection, from CONNECT to its end. It does not come back: the next one is a new one, with a fresh password
 * and will. Nothing is queued; what is under way when it ends rejects.
 */
export interface BrokerConnection {
  /** QoS 1: resolves when the broker has it. */
  publish(topic: string, payload: Uint8Array, options?: { readonly retain?: boolean }): Promise<void>
  /** Rejects where the broker refuses one of them. */
  subscribe(topics: readonly string[], qos: 0 | 1): Promise<void>
  unsubscribe(topics: readonly string[]): Promise<void>
  /** Resolves when it has ended, for whatever reason, which is given if known. */
  readonly ended: Promise<Error | undefined>
  /** Ends it in order: the broker drops the will. */
  close(): Promise<void>
}

const CONNECT_TIMEOUT_MS = 15_000
const KEEPALIVE_S = 30
const CLOSE_TIMEOUT_MS = 2_000
/** CONNACK return codes "bad user name or password" and "not authorized". */
const REFUSED_CODES: readonly unknown[] = [4, 5]

/**
 * @throws EdgefitError AUTH_REFUSED where the broker turns the client away; UNAVAILABLE where it cannot be reached.
 *   The signal's reason where that was aborted.
 */
export async function openConnection(
  { url, ...credentials }: ConnectRequest,
  onMessage: OnMessage,
  signal: AbortSignal,
): Promise<BrokerConnection> {
  signal.throwIfAborted()
  const client = connect(url, {
    ...credentials,
    clean: true,
    resubscribe: false,
    reconnectPeriod: 0,
    queueQoSZero: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    keepalive: KEEPALIVE_S,
  })
  let failure: Error | undefined
  client.on('error', (error) => {
    failure = error
  })
  client.on('message', (topic, payload, packet) => onMessage(topic, payload, packet.retain))
  const ended = new Promise<Error | undefined>((resolve) => {
    client.once('close', () => {
      // Rejects what is still under way; the client does not do so by itself.
      client.end(true)
      resolve(failure)
    })
  })
  await established(client, url, ended, signal)
  return {
    async publish(topic, payload, { retain = false } = {}) {
      assertMessageSize(topic, payload.length)
      await orUnavailable(client.publishAsync(topic, Buffer.from(payload), { qos: 1, retain }))
    },
    async subscribe(topics, qos) {
      if (topics.length > 0) await orUnavailable(client.subscribeAsync([...topics], { qos }))
    },
    async unsubscribe(topics) {
      if (topics.length > 0) await orUnavailable(client.unsubscribeAsync([...topics]))
    },
    ended,
    async close() {
      client.end()
      const force = setTimeout(() => client.stream.destroy(), CLOSE_TIMEOUT_MS)
      await ended
      clearTimeout(force)
    },
  }
}

async function established(
  client: MqttClient,
  url: string,
  ended: Promise<Error | undefined>,
  signal: AbortSignal,
): Promise<void> {
  const abort = (): void => {
    client.stream.destroy()
  }
  signal.addEventListener('abort', abort, { once: true })
  const connected = new Promise<'connected'>((resolve) => client.once('connect', () => resolve('connected')))
  const first = await Promise.race([connected, ended])
  signal.removeEventListener('abort', abort)
  if (first === 'connected' && !signal.aborted) return
  client.stream.destroy()
  signal.throwIfAborted()
  const cause = first instanceof Error ? first : undefined
  if (cause !== undefined && 'code' in cause && REFUSED_CODES.includes(cause.code))
    throw new EdgefitError(`the broker at ${url} refuses the sign-in`, { code: 'AUTH_REFUSED', cause })
  throw new EdgefitError(`the broker at ${url} cannot be reached`, { code: 'UNAVAILABLE', cause })
}

async function orUnavailable(action: Promise<unknown>): Promise<void> {
  try {
    await action
  } catch (cause) {
    throw new EdgefitError('the broker did not take the message', { code: 'UNAVAILABLE', cause })
  }
}
