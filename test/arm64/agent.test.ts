import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Profile, RuntimeJson } from '@edgefit/shared/model'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { publishBreastCancer } from '../support/breast-cancer.ts'
import { AGENT, command, createFleet, eventually, type Fleet } from '../support/fleet.ts'
import { emulatedNode, isPrepared, skippedBecause } from './emulation.ts'

let fleet: Fleet
beforeEach(async () => {
  fleet = await createFleet(emulatedNode('cortex-a72'))
})
afterEach(() => fleet.stop())

interface RolloutJson {
  readonly rollout: { readonly state: string; readonly targets: readonly { status: string; reason: string | null }[] }
}

describe.skipIf(!isPrepared)(`the agent on emulated ARM${skippedBecause}`, () => {
  it('knows its CPU and how fast it is', async () => {
    const lock = join(fleet.folder, 'lock')

    const told = await command(AGENT, ['profile', '--json', '--lock', lock], emulatedNode('cortex-a76'))

    const profile = Profile.parse(JSON.parse(told.stdout))
    expect(profile.hardwareClass).toMatch(/^arm64-/)
    expect(profile.cpu).toMatchObject({
      architecture: 'arm64',
      model: 'Cortex-A76',
      features: ['asimd', 'asimddp', 'asimdhp', 'fphp'],
    })
    expect(profile.measured?.int8Gops).toBeGreaterThan(0)
  })

  it('enrols, takes a rollout, and serves what was fitted there', async () => {
    await fleet.startController()
    await fleet.enrol('pi')
    fleet.startAgent('pi')
    await publishBreastCancer(fleet)
    const goal = ['--latency-p90-ms', '500', '--accuracy-floor', '0.95', '--minimize', 'size', '--selector', 'site=lab']

    const rollout = await fleet.createRollout(...goal, '--budget-s', '60')
    const shown = () => fleet.json<RolloutJson>('rollout', 'show', rollout)
    await eventually('the rollout ends', async () => (await shown()).rollout.state !== 'running', TIMEOUT_MS)

    expect((await shown()).rollout.targets, await fleet.log('pi')).toMatchObject([{ status: 'succeeded' }])
    const active = join(fleet.stateDir('pi'), 'active/default/runtime.json')
    const served = RuntimeJson.parse(JSON.parse(await readFile(active, 'utf8')))
    expect(served.variant.label).toMatch(/int8/)
  })
})

const TIMEOUT_MS = 280_000
