/**
 * Transfer against plain MQTT publish and subscribe of the same bytes through the same broker, and what a transfer and
 * a device that stops reading cost the control messages of others. Devices are processes of their own; the first run
 * of each is listed apart, the others are warm.
 */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Manifest, publishArtifact } from '@edgefit/shared/artifact'
import type { ArtifactRef } from '@edgefit/shared/model'
import { MAX_CHUNK_BYTES } from '@edgefit/shared/protocol'
import { exportSigningKey, type SigningKey } from '@edgefit/shared/trust'
import { Aedes } from 'aedes'
import { connectAsync, type MqttClient } from 'mqtt'
import type { BrokerAddress } from '../../controller/link/broker-client.ts'
import { type LineChild, startLineChild } from '../support/child-lines.ts'
import type { PlainLine, PlainTask } from '../support/plain-child.ts'
import { type LinkProperties, startSlowLink } from '../support/slow-link.ts'
import type { TransferLine } from '../support/transfer-child.ts'
import { freezeReader, startControlProbe } from '../support/transfer-probes.ts'
import {
  DEVICE_KEY,
  noise,
  type SceneController,
  startMosquitto,
  startSceneBroker,
  startSceneController,
} from '../support/transfer-scene.ts'

const OURS = 'edgefit: verified and on disk'
const LINK: LinkProperties = { bytesPerS: 10e6, delayMs: 20 }
const LINK_CONTENT_BYTES = 24e6

/** A broker and where it is for the controller and for devices. */
interface Broker {
  readonly name: string
  readonly url: string
  readonly address: BrokerAddress
  /** What devices sign in with. */
  readonly key: SigningKey | undefined
  /** The same broker for the plain forms: see `startEmbedded`. */
  readonly plainUrl: string
  stop(): Promise<void>
}

interface Throughput {
  readonly form: string
  /** Of the first run of the process, and the median of the later ones. */
  readonly firstMbPerS: number
  readonly mbPerS: number
  /** Part of the bytes that arrived, in the worst run. */
  readonly arrived: number
  readonly peakRssMb: number | null
}

interface Delay {
  readonly during: string
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
}

interface BrokerReport {
  readonly broker: string
  readonly throughput: readonly Throughput[]
  readonly overLink: readonly Throughput[]
  readonly delays: readonly Delay[]
}

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      'size-mb': { type: 'string', default: '64' },
      rounds: { type: 'string', default: '7' },
    },
  })
  const content = noise(Number(values['size-mb']) * 1e6, 1)
  const reports: BrokerReport[] = []
  for (const start of [startEmbedded, startExternal]) {
    const broker = await start()
    if (broker === undefined) {
      process.stderr.write('Mosquitto is not installed: skipped\n')
      continue
    }
    try {
      reports.push(await benchBroker(broker, content, Number(values.rounds)))
    } finally {
      await broker.stop()
    }
  }
  console.log(values.json ? JSON.stringify(reports, null, 2) : reports.map(table).join('\n\n'))
}

/**
 * The embedded broker drops or cuts off what outruns its reader, as the plain forms do, so those run through aedes as
 * it comes, in the same process.
 */
async function startEmbedded(): Promise<Broker> {
  const broker = await startSceneBroker()
  const aedes = await Aedes.createBroker()
  const server = net.createServer(aedes.handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    name: 'aedes, embedded',
    url: `mqtt://127.0.0.1:${broker.tcpPort}`,
    address: { kind: 'embedded', openStream: () => broker.openStream() },
    key: DEVICE_KEY,
    plainUrl: `mqtt://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    async stop() {
      await broker.close()
      await new Promise<void>((closed) => aedes.close(closed))
      server.close()
    },
  }
}

async function startExternal(): Promise<Broker | undefined> {
  const started = await startMosquitto()
  if (started === undefined) return undefined
  const { url, stop } = started
  return { name: 'Mosquitto', url, address: { kind: 'external', url }, key: undefined, plainUrl: url, stop }
}

/** Something that brings the content to a process of its own, once per call. */
interface Form {
  measure(): Promise<{ readonly mbPerS: number; readonly arrived: number; readonly peakRssMb: number | null }>
  stop(): Promise<void>
}

async function benchBroker(broker: Broker, content: Buffer, rounds: number): Promise<BrokerReport> {
  const controller = await startSceneController(broker.address)
  const throughput = await onLoopback(broker, controller, content, rounds)
  const overLink = await acrossLink(broker, controller, content.subarray(0, LINK_CONTENT_BYTES))
  const ref = await publishArtifact(controller.store, content)
  const delays = await controlDelays(broker, controller, ref)
  await controller.stop()
  return { broker: broker.name, throughput, overLink, delays }
}

async function onLoopback(broker: Broker, controller: SceneController, content: Buffer, rounds: number) {
  const ref = await publishArtifact(controller.store, content)
  const plain = (qos: 0 | 1, inFlight: number, onDisk = false) =>
    plainForm(broker.plainUrl, broker.plainUrl, content, { qos, inFlight, onDisk })
  return measureForms(broker.name, rounds, [
    [OURS, await transferForm(broker.url, ref, broker.key)],
    ['plain QoS 0, then hashed and on disk', await plain(0, 1, true)],
    ['plain QoS 0, one after the other', await plain(0, 1)],
    ['plain QoS 0, all at once', await plain(0, Number.POSITIVE_INFINITY)],
    ['plain QoS 1, 20 in flight', await plain(1, 20)],
    ['plain QoS 1, one in flight', await plain(1, 1)],
  ])
}

/** Publisher next to the broker, device at the far end of a link. */
async function acrossLink(broker: Broker, controller: SceneController, content: Buffer) {
  const ref = await publishArtifact(controller.store, content)
  const ourLink = await startSlowLink(Number(new URL(broker.url).port), LINK)
  const plainLink = await startSlowLink(Number(new URL(broker.plainUrl).port), LINK)
  const plain = (qos: 0 | 1, inFlight: number) =>
    plainForm(plainLink.url, broker.plainUrl, content, { qos, inFlight, onDisk: false })
  const throughput = await measureForms(`${broker.name}, over a link`, 3, [
    [OURS, await transferForm(ourLink.url, ref, broker.key)],
    ['plain QoS 0, one after the other', await plain(0, 1)],
    ['plain QoS 1, 20 in flight', await plain(1, 20)],
  ])
  ourLink.close()
  plainLink.close()
  return throughput
}

async function measureForms(
  title: string,
  rounds: number,
  forms: readonly (readonly [string, Form])[],
): Promise<Throughput[]> {
  const samples = forms.map(() => [] as Awaited<ReturnType<Form['measure']>>[])
  for (let round = 0; round < rounds; round++)
    for (const [i, [form, { measure }]] of forms.entries()) {
      process.stderr.write(`${title}, round ${round + 1}: ${form}\n`)
      samples[i]?.push(await measure())
    }
  for (const [, { stop }] of forms) await stop()
  return forms.map(([form], i): Throughput => {
    const [first, ...later] = samples[i] ?? []
    const rates = later.map(({ mbPerS }) => mbPerS).sort((a, b) => a - b)
    const all = first === undefined ? later : [first, ...later]
    return {
      form,
      firstMbPerS: first?.mbPerS ?? Number.NaN,
      mbPerS: rates[Math.floor(rates.length / 2)] ?? Number.NaN,
      arrived: Math.min(...all.map(({ arrived }) => arrived)),
      peakRssMb: all.at(-1)?.peakRssMb ?? null,
    }
  })
}

async function transferForm(url: string, ref: ArtifactRef, signInKey: SigningKey | undefined): Promise<Form> {
  const root = await mkdtemp(join(tmpdir(), 'edgefit-bench-'))
  const key = signInKey === undefined ? null : exportSigningKey(signInKey)
  const child = startLineChild<TransferLine>('transfer-child.ts', { name: 'device', url, root, ref, key })
  await lineOf(child, 'ready')
  return {
    async measure() {
      child.go()
      const { fetchedBytes, durationMs, peakRssBytes } = await lineOf(child, 'done')
      const mbPerS = fetchedBytes / 1e3 / durationMs
      return { mbPerS, arrived: fetchedBytes / ref.sizeBytes, peakRssMb: peakRssBytes / 1e6 }
    },
    async stop() {
      child.kill()
      await child.ended
      await rm(root, { recursive: true, force: true })
    },
  }
}

interface PlainOptions {
  readonly qos: 0 | 1
  /** Messages not yet taken by the socket or, QoS 1, by the broker. */
  readonly inFlight: number
  readonly onDisk: boolean
}

/** The same bytes in messages of the same size. */
async function plainForm(
  subscriberUrl: string,
  publisherUrl: string,
  content: Buffer,
  { qos, inFlight, onDisk }: PlainOptions,
): Promise<Form> {
  const root = await mkdtemp(join(tmpdir(), 'edgefit-bench-'))
  const name = `plain-${qos}-${inFlight}-${onDisk}`
  const path = onDisk ? join(root, 'received') : null
  const task: PlainTask = { name, url: subscriberUrl, topic: name, qos, sizeBytes: content.byteLength, path }
  const child = startLineChild<PlainLine>('plain-child.ts', task)
  const publisher = await connectAsync(publisherUrl)
  await lineOf(child, 'ready')
  return {
    async measure() {
      child.go()
      await publishAll(publisher, name, content, qos, inFlight)
      const { receivedBytes, durationMs } = await lineOf(child, 'done')
      return { mbPerS: receivedBytes / 1e3 / durationMs, arrived: receivedBytes / content.byteLength, peakRssMb: null }
    },
    async stop() {
      child.kill()
      await child.ended
      await publisher.endAsync(true)
      await rm(root, { recursive: true, force: true })
    },
  }
}

async function publishAll(client: MqttClient, topic: string, content: Buffer, qos: 0 | 1, inFlight: number) {
  const flying = new Set<Promise<unknown>>()
  for (let at = 0; at < content.byteLength; at += MAX_CHUNK_BYTES) {
    const message = client.publishAsync(topic, content.subarray(at, at + MAX_CHUNK_BYTES), { qos })
    flying.add(message)
    void message.finally(() => flying.delete(message))
    if (flying.size >= inFlight) await Promise.race(flying)
  }
}

/** Skips the lines before one of this kind. */
async function lineOf<Line extends { readonly kind: string }, Kind extends Line['kind']>(
  child: LineChild<Line>,
  kind: Kind,
): Promise<Extract<Line, { kind: Kind }>> {
  for (let line = await child.next(); line !== undefined; line = await child.next())
    if (line.kind === kind) return line as Extract<Line, { kind: Kind }>
  throw new Error(`the process ended before its line "${kind}"`)
}

async function controlDelays(broker: Broker, controller: SceneController, ref: ArtifactRef): Promise<Delay[]> {
  const manifest = (await controller.store.manifestOf(ref.digest)) as Manifest
  const probe = await startControlProbe(controller, broker.url, broker.key)
  const delays: Delay[] = []
  const measure = async (during: string) => {
    process.stderr.write(`${broker.name}: control messages, ${during}\n`)
    delays.push(delayOf(during, await probe.delaysMs(5)))
  }
  await probe.delaysMs(0.5)
  await measure('idle')
  const busy = await transferForm(broker.url, ref, broker.key)
  let isBusy = true
  const transfers = (async () => {
    while (isBusy) await busy.measure()
  })()
  await probe.delaysMs(2)
  await measure('a transfer')
  const frozen = await freezeReader(broker.url, ref.digest, manifest, broker.key)
  await measure('a transfer, one device frozen')
  frozen.end()
  isBusy = false
  await transfers
  await busy.stop()
  await probe.stop()
  return delays
}

function delayOf(during: string, delaysMs: readonly number[]): Delay {
  const sorted = [...delaysMs].sort((a, b) => a - b)
  const at = (level: number) => sorted[Math.floor(level * (sorted.length - 1))] ?? Number.NaN
  return { during, p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99) }
}

function table({ broker, throughput, overLink, delays }: BrokerReport): string {
  return [
    `${broker.padEnd(38)}  MB/s first      MB/s   edgefit/it   arrived    RSS MB`,
    ...throughputRows(throughput),
    `over a link of ${LINK.bytesPerS / 1e6} MB/s and ${2 * LINK.delayMs} ms of round trip`,
    ...throughputRows(overLink),
    `control messages to another device          p50 ms    p90 ms    p99 ms`,
    ...delays.map(
      ({ during, p50Ms, p90Ms, p99Ms }) =>
        `  ${during.padEnd(38)}${column(p50Ms, 2)}${column(p90Ms, 2)}${column(p99Ms, 2)}`,
    ),
  ].join('\n')
}

function throughputRows(rows: readonly Throughput[]): string[] {
  const ours = rows[0]?.mbPerS ?? Number.NaN
  return rows.map(
    ({ form, firstMbPerS, mbPerS, arrived, peakRssMb }) =>
      `  ${form.padEnd(38)}${column(firstMbPerS)}${column(mbPerS)}${column(ours / mbPerS, 2)}   ${column(arrived * 100, 0)}%${column(peakRssMb, 0)}`,
  )
}

function column(value: number | null, digits = 1): string {
  return (value === null ? '' : value.toFixed(digits)).padStart(10)
}
