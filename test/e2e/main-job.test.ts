import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { RuntimeJson } from '@edgefit/shared/model'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BREAST_CANCER_MODEL, publishBreastCancer, writeBreastCancerNpz } from '../support/breast-cancer.ts'
import {
  agentCommand,
  command,
  createFleet,
  eventually,
  type Fleet,
  MOSQUITTO,
  startMosquitto,
} from '../support/fleet.ts'

interface RolloutJson {
  readonly rollout: {
    readonly id: string
    readonly state: string
    readonly targets: readonly { status: string; reason: string | null; device: string }[]
  }
}

const EXAMPLE = fileURLToPath(new URL('../../deploy/examples/load-active-model.mjs', import.meta.url))

let fleet: Fleet
beforeEach(async () => {
  fleet = await createFleet()
})
afterEach(() => fleet.stop())

/** Registers two boxes, publishes a model with data and rolls it out; returns the rollout's id. */
async function rollOut(): Promise<string> {
  for (const name of ['alpha', 'beta']) {
    await fleet.enrol(name)
    fleet.startAgent(name)
  }
  await publishBreastCancer(fleet)
  return await fleet.createRollout(
    '--latency-p90-ms',
    '50',
    '--accuracy-floor',
    '0.95',
    '--selector',
    'site=lab',
    '--budget-s',
    '6',
  )
}

async function expectSucceeded(rollout: string): Promise<void> {
  const watched = await fleet.edgefit('rollout', 'watch', rollout)
  expect(watched.stdout + watched.stderr).toMatch(/succeeded/)
  expect(watched.status).toBe(0)
}

async function expectReported(): Promise<void> {
  const report = await fleet.json<{ rows: readonly { verdict: string; measured: unknown }[] }>('report', 'latency')
  expect(report.rows.map(({ verdict }) => verdict)).toEqual(['met', 'met'])
  const html = join(fleet.folder, 'report.html')
  expect((await fleet.edgefit('report', 'latency', '--html', html)).status).toBe(0)
  expect(await readFile(html, 'utf8')).toMatch(/All 2 devices meet their objectives/)
}

describe('the main job', () => {
  it('registers, rolls out, measures, activates and reports through the embedded broker', async () => {
    await fleet.startController()

    await expectSucceeded(await rollOut())

    await expectReported()
    for (const name of ['alpha', 'beta']) {
      const active = join(fleet.stateDir(name), 'active', 'default')
      const runtime = RuntimeJson.parse(JSON.parse(await readFile(join(active, 'runtime.json'), 'utf8')))
      expect(runtime.measurement.split).toBe('evaluation')
      const loaded = await command(EXAMPLE, [fleet.stateDir(name), 'default'])
      expect(JSON.parse(loaded.stdout)).toMatchObject({ names: runtime.outputs.map((output) => output.name) })
      const status = await agentCommand('status', '--state', fleet.stateDir(name), '--json')
      expect(JSON.parse(status.stdout)).toMatchObject({
        slots: [{ slot: 'default', deployment: { status: 'succeeded' } }],
      })
    }
  })

  it.skipIf(!existsSync(MOSQUITTO))('does the same through Mosquitto', async () => {
    const broker = await startMosquitto(fleet.folder)
    try {
      await fleet.startController(['--broker', broker.url])
      await expectSucceeded(await rollOut())
      await expectReported()
    } finally {
      await broker.stop()
    }
  })

  it('tells the application, and returns to the model before where it refuses the new one', async () => {
    await fleet.startController()
    const told = join(fleet.folder, 'told')
    const hook = `echo "$EDGEFIT_SLOT $EDGEFIT_MODEL" >> ${told}; test ! -e ${told}.refuse`
    await fleet.enrol('alpha')
    fleet.startAgent('alpha', ['--on-activate', hook])
    await publishBreastCancer(fleet)
    const create = () => fleet.createRollout('--latency-p90-ms', '50', '--selector', 'all', '--budget-s', '6')
    expect((await fleet.edgefit('rollout', 'watch', await create())).status).toBe(0)
    const served = async () =>
      JSON.parse(await readFile(join(fleet.stateDir('alpha'), 'active/default/runtime.json'), 'utf8')) as RuntimeJson
    const before = await served()

    await writeFile(`${told}.refuse`, '')
    const second = await create()
    expect((await fleet.edgefit('rollout', 'watch', second)).status).toBe(1)

    expect((await served()).deploymentId).toBe(before.deploymentId)
    const shown = await fleet.json<RolloutJson>('rollout', 'show', second)
    expect(shown.rollout.targets).toMatchObject([
      { status: 'failed', reason: 'activation-failed', outcome: 'rolled_back' },
    ])
    expect(await readFile(told, 'utf8')).toMatch(/^default .*active\/default\/model\.onnx/)
  })
})

describe('edgefit-agent optimize', () => {
  it('fits a model without a controller and applies the recipe it wrote to the same bytes', async () => {
    const npz = join(fleet.folder, 'data.npz')
    await writeBreastCancerNpz(npz)
    const lock = ['--lock', join(fleet.folder, 'lock'), '--max-threads', '1']
    const searched = await agentCommand(
      'optimize',
      BREAST_CANCER_MODEL,
      '--data',
      npz,
      '--out',
      join(fleet.folder, 'a'),
      '--latency-p90-ms',
      '50',
      '--accuracy-floor',
      '0.95',
      '--minimize',
      'size',
      '--budget-s',
      '60',
      '--json',
      ...lock,
    )
    expect(searched.stderr).toBe('')
    const report = JSON.parse(searched.stdout)
    expect(report).toMatchObject({ verdict: 'met', objective: { minimize: 'size' } })
    expect((await readdir(join(fleet.folder, 'a'))).sort()).toEqual([
      'recipe.json',
      'recipe.unresolved.json',
      'report.json',
      'variant.onnx',
    ])

    const applied = await agentCommand(
      'optimize',
      BREAST_CANCER_MODEL,
      '--data',
      npz,
      '--out',
      join(fleet.folder, 'b'),
      '--recipe',
      join(fleet.folder, 'a', 'recipe.json'),
      '--json',
      ...lock,
    )

    expect(JSON.parse(applied.stdout)).toMatchObject({ verdict: 'applied', winner: { digest: report.winner.digest } })
    expect(await readFile(join(fleet.folder, 'b/variant.onnx'))).toEqual(
      await readFile(join(fleet.folder, 'a/variant.onnx')),
    )
  })

  it('reports an infeasible objective with the best reachable points and writes no variant', async () => {
    const npz = join(fleet.folder, 'data.npz')
    await writeBreastCancerNpz(npz)

    const { status, stdout } = await agentCommand(
      'optimize',
      BREAST_CANCER_MODEL,
      '--data',
      npz,
      '--out',
      join(fleet.folder, 'a'),
      '--latency-p90-ms',
      '0.0001',
      '--budget-s',
      '20',
      '--lock',
      join(fleet.folder, 'lock'),
    )

    expect(status).toBe(1)
    expect(stdout).toMatch(/infeasible: .*nearest is/)
    expect(await readdir(join(fleet.folder, 'a'))).toEqual(['report.json'])
  })
})

it('leaves no process behind', async () => {
  await fleet.startController()
  await fleet.enrol('alpha')
  const agent = fleet.startAgent('alpha')
  await eventually('the agent is connected', async () => /"msg":"connected"/.test(await fleet.log('alpha')))

  await fleet.killAgent('alpha', 'SIGTERM')

  expect(agent.exitCode).toBe(0)
})
