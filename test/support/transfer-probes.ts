import type net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Manifest } from '@edgefit/shared/artifact'
import { encodeBitmap, formatTopic, PROTOCOL_VERSION } from '@edgefit/shared/protocol'
import type { SigningKey } from '@edgefit/shared/trust'
import { connectAsync } from 'mqtt'
import { deviceCredentials, FLEET, type SceneController, startSceneDevice } from './transfer-scene.ts'

const PERIOD_MS = 10
/** A paused socket reads into its buffer once more. */
const MOST_READ_AHEAD_BYTES = 256 * 1024

export interface ControlProbe {
  /** Tells a device its goal again and again, at a steady pace, and takes the time each needs to get there. */
  delaysMs(seconds: number): Promise<readonly number[]>
  stop(): Promise<void>
}

export async function startControlProbe(
  controller: SceneController,
  url: string,
  key: SigningKey | undefined,
): Promise<ControlProbe> {
  const name = 'control'
  const sentMs: number[] = []
  let delays: number[] = []
  let version = 0
  const onMessage = () => delays.push(performance.now() - (sentMs.shift() ?? 0))
  const device = await startSceneDevice(name, url, { key, onMessage })
  const topic = formatTopic({ kind: 'down', fleet: FLEET, device: name, channel: 'desired' })
  await (await device.connection()).subscribe([topic], 1)
  return {
    async delaysMs(seconds) {
      delays = []
      const count = (seconds * 1_000) / PERIOD_MS
      for (let i = 0; i < count; i++) {
        version++
        sentMs.push(performance.now())
        const issuedAtMs = Date.now()
        const goal = {
          v: PROTOCOL_VERSION,
          fleet: FLEET,
          device: name,
          version,
          issuedAtMs,
          expiresAtMs: issuedAtMs + 1e6,
        }
        void controller.link.publishDesired({ ...goal, slots: {} }).catch(() => undefined)
        await sleep(PERIOD_MS)
      }
      while (delays.length < count) await sleep(PERIOD_MS)
      return delays
    },
    stop: () => device.stop(),
  }
}

export interface FrozenReader {
  /** Ends it. Says whether the broker has kept the connection up and it has read nothing until now. */
  end(): { readonly isConnected: boolean; readonly hasRead: boolean }
}

/** Subscribes to every span of an artifact, asks for all of it on spans of its own as well, and stops reading. */
export async function freezeReader(
  url: string,
  artifact: string,
  manifest: Manifest,
  key: SigningKey | undefined,
): Promise<FrozenReader> {
  const device = 'frozen'
  const credentials = key === undefined ? {} : await deviceCredentials(device, key)
  const client = await connectAsync(url, { clientId: device, reconnectPeriod: 0, ...credentials })
  client.on('error', () => undefined)
  for (const span of manifest.spans.keys()) {
    const topic = { kind: 'chunks', fleet: FLEET, artifact, span } as const
    await client.subscribeAsync([formatTopic(topic), formatTopic({ ...topic, device })])
  }
  const socket = client.stream as net.Socket
  socket.unpipe()
  socket.pause()
  const readBytes = socket.bytesRead
  const fetchTopic = formatTopic({ kind: 'up', fleet: FLEET, device, channel: 'fetch' })
  for (const [span, count] of manifest.spans.entries()) {
    const bitmap = encodeBitmap(Array(count).keys(), count)
    client.publish(fetchTopic, JSON.stringify({ v: PROTOCOL_VERSION, artifact, span, bitmap, private: true }))
  }
  return {
    end() {
      const state = { isConnected: !socket.destroyed, hasRead: socket.bytesRead > readBytes + MOST_READ_AHEAD_BYTES }
      socket.destroy()
      return state
    },
  }
}
