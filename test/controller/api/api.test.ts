import { once } from 'node:events'
import { mkdir, stat, truncate, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { decodeJoinToken } from '@edgefit/shared/trust'
import { describe, expect, it } from 'vitest'
import { BREAST_CANCER_MODEL, writeBreastCancerNpz } from '../../support/breast-cancer.ts'
import { openScene, type Scene, SOON } from './scene.ts'

async function publishBoth({ client, dataDir }: Scene) {
  const npz = join(dataDir, '..', 'data.npz')
  await writeBreastCancerNpz(npz)
  const modelUpload = await client.upload(BREAST_CANCER_MODEL, () => undefined, SOON)
  const model = await client.call(
    'model.publish',
    { name: 'tumour', upload: modelUpload, task: { kind: 'classification' } },
    SOON,
  )
  const datasetUpload = await client.upload(npz, () => undefined, SOON)
  const dataset = await client.call('dataset.publish', { name: 'tumours', upload: datasetUpload }, SOON)
  return { model, dataset, npz }
}

describe('the HTTP interface', () => {
  it('is a socket that only its owner may open', async () => {
    const scene = await openScene()
    const controller = await scene.start()

    expect((await stat(controller.socketPath)).mode & 0o777).toBe(0o600)
    expect((await stat(scene.dataDir)).mode & 0o777).toBe(0o700)
  })

  it('answers errors with code, message and details', async () => {
    const scene = await openScene()
    await scene.start()

    const post = (path: string, body: string) =>
      new Promise<{ status: number | undefined; text: string }>((resolve, reject) => {
        const sent = request(
          { socketPath: join(scene.dataDir, 'controller.sock'), path, method: 'POST' },
          (response) => {
            let text = ''
            response.on('data', (piece: Buffer) => {
              text += piece.toString()
            })
            response.on('end', () => resolve({ status: response.statusCode, text }))
          },
        )
        sent.on('error', reject)
        sent.end(body)
      })

    expect(await post('/v1/device.explode', '{}')).toMatchObject({ status: 404 })
    expect(await post('/v1/device.list', 'not json')).toMatchObject({ status: 400 })
    const refused = await post('/v1/device.accept', '{"devices":[],"extra":1}')
    expect(refused.status).toBe(400)
    expect(JSON.parse(refused.text).error).toMatchObject({
      code: 'INPUT_INVALID',
      details: { issues: [{ path: 'devices' }, { path: '' }] },
    })
  })

  it('hands the error of an operation to the client as it was', async () => {
    const scene = await openScene()
    await scene.start()

    await expect(scene.client.call('device.show', { device: 'nobody' }, SOON)).rejects.toMatchObject({
      code: 'NOT_FOUND',
      details: { device: 'nobody' },
    })
  })

  it('closes though a client keeps its connection open', async () => {
    const scene = await openScene()
    const controller = await scene.start()
    const idle = createConnection(controller.socketPath)
    await once(idle, 'connect')
    idle.write('POST /v1/device.list HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{')

    await controller.stop()

    if (!idle.closed) await once(idle, 'close')
  })
})

describe('publishing', () => {
  it('reads the file through, counts versions up, and knows the same bytes again', async () => {
    const scene = await openScene()
    await scene.start()

    const first = await publishBoth(scene)
    const again = await publishBoth(scene)

    expect(first.model).toMatchObject({
      created: true,
      model: { name: 'tumour', version: 1, inputs: [{ name: 'input', type: 'float32' }] },
    })
    expect(first.dataset).toMatchObject({
      created: true,
      dataset: { version: 1, count: 569, hasLabels: true, labelRange: { min: 0, max: 1 } },
    })
    expect(again.model).toEqual({ ...first.model, created: false })
    expect(again.dataset).toEqual({ ...first.dataset, created: false })
    const upload = await scene.client.upload(BREAST_CANCER_MODEL, () => undefined, SOON)
    const other = await scene.client.call(
      'model.publish',
      { name: 'tumour', upload, task: { kind: 'binary-score' } },
      SOON,
    )
    expect(other.model.version).toBe(2)
  })

  it('tells the task from the labels of a dataset, and refuses to guess', async () => {
    const scene = await openScene()
    await scene.start()
    await publishBoth(scene)
    const publish = async (dataset: string | null) => {
      const upload = await scene.client.upload(BREAST_CANCER_MODEL, () => undefined, SOON)
      return await scene.client.call('model.publish', { name: 'told', upload, dataset }, SOON)
    }

    expect((await publish('tumours')).model.task).toEqual({ kind: 'classification' })
    await expect(publish(null)).rejects.toThrow(/task: what the outputs mean is not known/)
    await expect(publish('nothing')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('refuses files that are not what they should be, and keeps nothing of them', async () => {
    const scene = await openScene()
    await scene.start()
    const { npz } = await publishBoth(scene)
    const publish = async (operation: 'model.publish' | 'dataset.publish', path: string) => {
      const upload = await scene.client.upload(path, () => undefined, SOON)
      const task = operation === 'model.publish' ? { task: { kind: 'classification' as const } } : {}
      return await scene.client.call(operation, { name: 'bad', upload, ...task } as never, SOON)
    }

    await expect(publish('model.publish', npz)).rejects.toMatchObject({ code: 'MODEL_INVALID' })
    await expect(publish('dataset.publish', BREAST_CANCER_MODEL)).rejects.toMatchObject({ code: 'DATASET_INVALID' })
    await truncate(npz, 20_000)
    await expect(publish('dataset.publish', npz)).rejects.toMatchObject({ code: 'DATASET_INVALID' })
    const { datasets } = await scene.client.call('dataset.list', {}, SOON)
    expect(datasets.map(({ name }) => name)).toEqual(['tumours'])
  })

  it('takes an upload once', async () => {
    const scene = await openScene()
    await scene.start()
    const upload = await scene.client.upload(BREAST_CANCER_MODEL, () => undefined, SOON)
    const publish = () =>
      scene.client.call('model.publish', { name: 'tumour', upload, task: { kind: 'classification' } }, SOON)
    await publish()

    await expect(publish()).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('a join token', () => {
  it('leads to this controller, and only its hash is kept', async () => {
    const scene = await openScene()
    const controller = await scene.start()

    const issued = await scene.client.call('token.create', { lifeS: 3600, maxUses: 2 }, SOON)

    const token = decodeJoinToken(issued.token)
    expect(token).toMatchObject({
      fleet: 'default',
      brokerUrl: controller.brokerUrl,
      controllerKeyFingerprint: controller.keyFingerprint,
      expiresAtMs: issued.expiresAtMs,
    })
    await expect(scene.client.call('token.create', { lifeS: 5 }, SOON)).rejects.toThrow(/at least 60 s/)
  })
})

describe('without a running controller', () => {
  it('what only reads works, and what changes names the remedy', async () => {
    const scene = await openScene()
    const controller = await scene.start()
    await publishBoth(scene)
    await controller.stop()

    const { models } = await scene.client.call('model.list', {}, SOON)

    expect(models).toHaveLength(1)
    await expect(scene.client.call('token.create', { lifeS: 3600 }, SOON)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('edgefit controller start'),
    })
  })
})

describe('a data directory', () => {
  it('has one controller at a time', async () => {
    const scene = await openScene()
    const first = await scene.start()

    await expect(scene.start()).rejects.toMatchObject({ code: 'CONFLICT' })
    await first.stop()
    await scene.start()
  })

  it('stays with its fleet, and a controller that cannot start lets go of it', async () => {
    const scene = await openScene()
    await (await scene.start()).stop()

    await expect(scene.start({ fleet: 'other' })).rejects.toThrow(/belongs to the fleet "default"/)
    const taken = await scene.start()
    const port = Number(new URL(taken.brokerUrl).port)
    const neighbour = await openScene()
    const broker = { kind: 'embedded', host: '127.0.0.1', mqttPort: port } as const
    await expect(neighbour.start({ broker })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await neighbour.start()
  })

  it('keeps the key, so that devices know the controller again', async () => {
    const scene = await openScene()
    const first = await scene.start()
    await first.stop()

    expect((await scene.start()).keyFingerprint).toBe(first.keyFingerprint)
  })

  it('replaces a socket that a crash has left, and refuses a path too long for one', async () => {
    const scene = await openScene()
    await mkdir(scene.dataDir, { recursive: true })
    await writeFile(join(scene.dataDir, 'controller.sock'), '')
    await scene.start()
    expect((await scene.client.call('device.list', {}, SOON)).devices).toEqual([])

    const deep = { dataDir: join(scene.dataDir, 'd'.repeat(120)) }
    await expect(scene.start(deep)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })
})

describe('the advertised address', () => {
  it('is what the operator says, without a password', async () => {
    const scene = await openScene()

    const controller = await scene.start({ advertise: 'mqtts://me:secret@fleet.example:8883' })

    expect(controller.brokerUrl).toBe('mqtts://fleet.example:8883')
    const other = await openScene()
    await expect(other.start({ advertise: 'http://fleet.example' })).rejects.toThrow(/--advertise/)
  })
})
