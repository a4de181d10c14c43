import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { writeNpz } from '@edgefit/shared/dataset'
import { seededRandom } from '@edgefit/shared/stats'
import Database from 'better-sqlite3'
import { InferenceSession } from 'onnxruntime-node'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { FASHION_MNIST, loadFashionMnist } from '../../deploy/demo/fashion-mnist.ts'
import { publishBreastCancer } from '../support/breast-cancer.ts'
import { createFleet, eventually, type Fleet, MOSQUITTO, startMosquitto } from '../support/fleet.ts'

interface Deployment {
  readonly status: string
  readonly phase: string | null
  readonly reason: string | null
  readonly progress: { readonly bytesDone?: number; readonly trialsDone?: number } | null
}

let fleet: Fleet
beforeEach(async () => {
  fleet = await createFleet()
})
afterEach(() => fleet.stop())

/** Some 38 MB of data: a download that lasts long enough to be interrupted. */
async function publishLarge(): Promise<void> {
  const { input, labels, count } = await loadFashionMnist(10_000)
  const random = seededRandom(1)
  const npz = join(fleet.folder, 'data.npz')
  await writeNpz(
    npz,
    [
      // A last bit of noise, so that no two chunks are alike.
      {
        name: 'input',
        dtype: 'float32',
        shape: [count, 1, 28, 28],
        data: input.map((value) => value + random() * 1e-6),
      },
      { name: 'labels', dtype: 'int64', shape: [count], data: labels },
    ],
    {},
    AbortSignal.timeout(60_000),
  )
  await fleet.json('dataset', 'publish', 'data', npz)
  await fleet.json('model', 'publish', 'model', fileURLToPath(FASHION_MNIST.mobileNet), '--task', 'classification')
}

const create = (...extra: string[]) =>
  fleet.createRollout('--latency-p90-ms', '100', '--selector', 'all', '--budget-s', '20', ...extra)

async function deployment(rollout: string): Promise<Deployment> {
  const shown = await fleet.json<{ rollout: { targets: readonly Deployment[] } }>('rollout', 'show', rollout)
  const [first] = shown.rollout.targets
  if (first === undefined) throw new Error('the rollout has no deployment')
  return first
}

const succeeds = async (rollout: string) => expect((await fleet.edgefit('rollout', 'watch', rollout)).status).toBe(0)

async function loggedDownloads(): Promise<
  readonly { bytesTotal: number; fetchedBytes: number; resumedBytes: number }[]
> {
  const lines = (await fleet.log('alpha')).split('\n').filter((line) => line.includes('"artifact complete"'))
  return lines.map((line) => JSON.parse(line))
}

/** A partial file is sparse: the blocks it has are the bytes that have come. */
async function untilPartlyDownloaded(folder: string, sizeBytes: number): Promise<void> {
  for (const until = Date.now() + 60_000; Date.now() < until; await sleep(10)) {
    const names = await readdir(folder).catch(() => [])
    const sizes = await Promise.all(
      names.map((name) =>
        stat(join(folder, name)).then(
          ({ blocks }) => blocks * 512,
          () => 0,
        ),
      ),
    )
    if (sizes.some((size) => size > sizeBytes)) return
  }
  throw new Error(`no partial file in ${folder} has reached ${sizeBytes} bytes`)
}

it('goes on with a download after SIGKILL without fetching verified chunks again', async () => {
  await fleet.startController()
  await fleet.enrol('alpha')
  await publishLarge()
  await create()
  fleet.startAgent('alpha')
  await untilPartlyDownloaded(join(fleet.stateDir('alpha'), 'artifacts', 'partial'), 4e6)

  await fleet.killAgent('alpha')
  fleet.startAgent('alpha')

  await eventually('both artifacts are complete', async () => (await loggedDownloads()).length >= 2)
  const dataset = (await loggedDownloads()).reduce((a, b) => (a.bytesTotal > b.bytesTotal ? a : b))
  expect(dataset.resumedBytes).toBeGreaterThan(1e6)
  expect(dataset.fetchedBytes + dataset.resumedBytes).toBeLessThanOrEqual(dataset.bytesTotal * 1.05)
})

it('keeps finished trials when it is killed while searching, and ends the deployment', async () => {
  await fleet.startController()
  await fleet.enrol('alpha')
  await publishBreastCancer(fleet)
  const rollout = await create()
  fleet.startAgent('alpha')
  await eventually('two trials are finished', async () => ((await deployment(rollout)).progress?.trialsDone ?? 0) >= 2)
  await fleet.killAgent('alpha')
  const trials = () => {
    const database = new Database(join(fleet.stateDir('alpha'), 'state.db'), { readonly: true })
    const rows = database.prepare('select trial_id, trial from trials order by trial_id').all() as {
      trial_id: number
      trial: string
    }[]
    database.close()
    return rows
  }
  const before = trials()
  expect(before.length).toBeGreaterThanOrEqual(2)

  fleet.startAgent('alpha')

  await succeeds(rollout)
  expect(trials().slice(0, before.length)).toEqual(before)
})

it('serves a complete model when it is killed while activating, and ends the deployment after the restart', async () => {
  await fleet.startController()
  await fleet.enrol('alpha')
  await publishBreastCancer(fleet)
  fleet.startAgent('alpha')
  await succeeds(await create())
  await fleet.killAgent('alpha', 'SIGTERM')
  const model = join(fleet.stateDir('alpha'), 'active/default/model.onnx')

  // The hook's parent is the agent itself.
  const dying = fleet.startAgent('alpha', ['--on-activate', 'kill -9 $PPID'])
  const second = await create('--seed', '1')
  await eventually('the agent has died', () => Promise.resolve(dying.signalCode === 'SIGKILL'))
  await (await InferenceSession.create(await readFile(model))).release()
  fleet.startAgent('alpha')

  await succeeds(second)
  await (await InferenceSession.create(await readFile(model))).release()
})

it('finishes a rollout whose controller was killed and started again', async () => {
  await fleet.startController()
  await fleet.enrol('alpha')
  await publishBreastCancer(fleet)
  const rollout = await create()
  fleet.startAgent('alpha')
  await eventually('the search has begun', async () => (await deployment(rollout)).phase === 'searching')

  await fleet.killController()
  await fleet.startController()

  await succeeds(rollout)
})

it.skipIf(!existsSync(MOSQUITTO))(
  'finishes a rollout whose broker was gone for a while and has forgotten everything',
  async () => {
    const broker = await startMosquitto(fleet.folder)
    try {
      await fleet.startController(['--broker', broker.url])
      await fleet.enrol('alpha')
      await publishBreastCancer(fleet)
      const rollout = await create()
      fleet.startAgent('alpha')
      await eventually('the search has begun', async () => (await deployment(rollout)).phase === 'searching')

      await broker.stop()
      await eventually('the agent has noticed', async () =>
        /no connection|connection was lost/.test(await fleet.log('alpha')),
      )
      await broker.start()

      await succeeds(rollout)
    } finally {
      await broker.stop()
    }
  },
)

it.skipIf(process.getuid?.() !== 0)(
  'ends as failed, disk-full, on a device without room, and succeeds once there is',
  async () => {
    await fleet.startController()
    const state = fleet.stateDir('alpha')
    await mkdir(state)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', state])
    try {
      await fleet.enrol('alpha')
      await publishLarge()
      fleet.startAgent('alpha')
      const rollout = await create()
      expect((await fleet.edgefit('rollout', 'watch', rollout)).status).toBe(1)
      expect(await deployment(rollout)).toMatchObject({ status: 'failed', reason: 'disk-full' })

      execFileSync('mount', ['-o', 'remount,size=256m', state])
      await fleet.json('rollout', 'retry', rollout)

      await succeeds(rollout)
    } finally {
      await fleet.killAgent('alpha', 'SIGTERM')
      execFileSync('umount', [state])
    }
  },
)
