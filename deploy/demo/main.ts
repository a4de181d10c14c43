/**
 * The main job on one machine: a controller, three agents with different limits, a real model, real labelled images.
 *
 *     npm run demo [-- --keep DIR]
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeNpz } from '@edgefit/shared/dataset'
import { FASHION_MNIST, loadFashionMnist } from './fashion-mnist.ts'
import { createProcesses, type Processes } from './processes.ts'

const IMAGES = 6000
const SEARCH_BUDGET_S = 25
/** Of fp32's p90 on one thread: a budget that takes some work to reach. */
const BUDGET_SHARE = 0.75
const MODEL_PATH = fileURLToPath(FASHION_MNIST.resNet)

interface DemoAgent {
  readonly name: string
  readonly about: string
  readonly limits: readonly string[]
}

function demoAgents(cores: number): readonly DemoAgent[] {
  return [
    { name: 'kiosk', about: 'one core', limits: ['--cpus', '0', '--max-threads', '1'] },
    {
      name: 'camera',
      about: `one thread on core ${cores - 1}`,
      limits: ['--cpus', String(cores - 1), '--max-threads', '1'],
    },
    { name: 'gateway', about: 'up to two threads on all cores', limits: ['--max-threads', '2'] },
  ]
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { keep: { type: 'string' } } })
  const folder = values.keep === undefined ? await mkdtemp(join(tmpdir(), 'edgefit-demo-')) : resolve(values.keep)
  await mkdir(folder, { recursive: true })
  const processes = createProcesses()
  const stopEarly = () => {
    void processes.stop().then(() => process.exit(130))
  }
  process.once('SIGINT', stopEarly)
  process.once('SIGTERM', stopEarly)
  try {
    await runDemo(folder, processes)
  } finally {
    await processes.stop()
    if (values.keep === undefined) await rm(folder, { recursive: true, force: true })
  }
  if (values.keep !== undefined) say(`kept in ${folder}: controller/ (database, artifacts), report.html, logs`)
}

async function runDemo(folder: string, processes: Processes): Promise<void> {
  const data = join(folder, 'controller')
  const agents = demoAgents(cpus().length)

  say('1. The controller: embedded MQTT broker, fleet state in SQLite')
  const controller = processes.start(
    'edgefit',
    ['controller', 'start', '--data-dir', data, '--host', '127.0.0.1', '--mqtt-port', '0', '--fleet', 'demo'],
    join(folder, 'controller.log'),
  )
  await until('the controller to answer', async () => {
    if (controller.exitCode !== null)
      throw new Error(`the controller ended with status ${controller.exitCode}: see its log`)
    await processes.run('edgefit', ['controller', 'info', '--data-dir', data, '--json'], 'quiet')
  })

  say('2. Three agents enrol with a join token, each with a key of its own')
  const { token } = JSON.parse(await processes.run('edgefit', ['device', 'token', '--data-dir', data, '--json'])) as {
    token: string
  }
  for (const { name, about, limits } of agents) {
    const state = join(folder, name)
    await processes.run('edgefit-agent', [
      'enrol',
      '--token',
      token,
      '--state',
      state,
      '--name',
      name,
      '--label',
      'site=lab',
      '--json',
    ])
    processes.start(
      'edgefit-agent',
      ['run', '--state', state, '--lock', join(folder, 'measuring.lock'), ...limits],
      join(folder, `${name}.log`),
    )
    say(`   ${name}: ${about}`)
  }
  const devices = JSON.parse(await processes.run('edgefit', ['device', 'list', '--data-dir', data, '--json'])) as {
    devices: { id: string }[]
  }
  for (const { id } of devices.devices) await processes.show('edgefit', ['device', 'accept', id, '--data-dir', data])

  say(`3. A real model and ${IMAGES} real labelled images (Fashion-MNIST)`)
  const images = await loadFashionMnist(IMAGES)
  const npz = join(folder, 'fashion-mnist.npz')
  await writeNpz(
    npz,
    [
      { name: 'input', dtype: 'float32', shape: [images.count, 1, 28, 28], data: images.input },
      { name: 'labels', dtype: 'int64', shape: [images.count], data: images.labels },
    ],
    {},
    AbortSignal.timeout(60_000),
  )
  await processes.show('edgefit', ['dataset', 'publish', 'fashion-mnist', npz, '--data-dir', data])
  await processes.show('edgefit', [
    'model',
    'publish',
    'fashion-resnet14',
    MODEL_PATH,
    '--task',
    'classification',
    '--data-dir',
    data,
  ])

  say('4. What does fp32 take here? The budget is three quarters of it')
  const bench = [
    'bench',
    MODEL_PATH,
    '--data',
    npz,
    '--task',
    'classification',
    '--max-threads',
    '1',
    '--lock',
    join(folder, 'measuring.lock'),
    '--json',
  ]
  const { latencyMs } = JSON.parse(await processes.run('edgefit-agent', bench)) as { latencyMs: { p90Bound: number } }
  const budgetMs = Number((latencyMs.p90Bound * BUDGET_SHARE).toPrecision(3))
  say(`   fp32 p90 ${latencyMs.p90Bound.toFixed(3)} ms on one thread, so the budget is ${budgetMs} ms`)

  say('5. The rollout: each agent searches, measures on its own limits, and activates what fits')
  const create = [
    'rollout',
    'create',
    '--model',
    'fashion-resnet14',
    '--data',
    'fashion-mnist',
    '--latency-p90-ms',
    String(budgetMs),
    '--accuracy-floor',
    '0.99',
    '--selector',
    'site=lab',
    '--budget-s',
    String(SEARCH_BUDGET_S),
    '--data-dir',
    data,
    '--json',
  ]
  const { rollout } = JSON.parse(await processes.run('edgefit', create)) as { rollout: { id: string } }
  const status = await processes.show('edgefit', ['rollout', 'watch', rollout.id, '--data-dir', data])
  if (status !== 0) say('   not every device reached the objective on this machine: the report says why')

  say('6. The latency report')
  await processes.show('edgefit', ['report', 'latency', '--data-dir', data])
  await processes.show('edgefit', ['report', 'latency', '--data-dir', data, '--html', join(folder, 'report.html')])
}

async function until(what: string, attempt: () => Promise<void>): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await attempt()
      return
    } catch (cause) {
      if (tries === 30) throw new Error(`waited too long for ${what}`, { cause })
      await sleep(500)
    }
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await main()
