import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Profile, RuntimeJson } from '@edgefit/shared/model'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { publishBreastCancer } from '../support/breast-cancer.ts'
import { AGENT, command, createFleet, eventually, type Fleet } from '../support/fleet.ts'
import { emulatedNode, isPrepared } from './emulation.ts'

let fleet: Fleet
beforeEach(async () => {
  fleet = await createFleet(emulatedNode('cortex-a72'))
})
afterEach(() => fleet.stop())

/** Where other processes want the same cores, emulated ones take their time. */
const TIMEOUT_MS = 540_000

describe.skipIf(!isPrepared)('the agent on emulated ARM', () => {
  it('knows its CPU and how fast it is', async () => {
    const lock = join(fleet.folder, 'lock')

    const told = await command(AGENT, ['profile', '--json', '--lock', lock], emulatedNode('cortex-a76'), TIMEOUT_MS)

    const profile = Profile.parse(JSON.parse(told.stdout))
    expect(profile.hardwareClass).toMatch(/^arm64-/)
    expect(profile.cpu).toMatchObject({
      architecture: 'arm64',
      model: 'Cortex-A76',
      features: ['asimd', 'asimddp', 'asimdhp', 'fphp'],
    })
    expect(profile.measured?.int8Gops).toBeGreaterThan(0)
  })

  // Minutes of an emulated CPU: with `npm run test:arm64`.
  it.runIf(process.env['EDGEFIT_ARM64'] === 'all')(
    'enrols, takes a rollout, and serves what was fitted there',
    async () => {
      await fleet.startController()
      await fleet.enrol('pi')
      fleet.startAgent('pi')
      await publishBreastCancer(fleet)
      const goal = [
        '--latency-p90-ms',
        '5000',
        '--accuracy-floor',
        '0.95',
        '--selector',
        'site=lab',
        '--budget-s',
        '10',
      ]

      const rollout = await fleet.createRollout(...goal)
      const active = join(fleet.stateDir('pi'), 'active/default/runtime.json')
      await eventually('a model is served', () => Promise.resolve(existsSync(active)), TIMEOUT_MS)
      const watched = await fleet.edgefit('rollout', 'watch', rollout)

      expect(watched.status, watched.stderr + (await fleet.log('pi'))).toBe(0)
      const served = RuntimeJson.parse(JSON.parse(await readFile(active, 'utf8')))
      expect(served.measurement.accuracy?.value).toBeGreaterThan(0.95)
      const status = await command(
        AGENT,
        ['status', '--state', fleet.stateDir('pi'), '--json'],
        emulatedNode('cortex-a72'),
        TIMEOUT_MS,
      )
      expect(JSON.parse(status.stdout)).toMatchObject({
        slots: [{ slot: 'default', deployment: { status: 'succeeded' } }],
      })
    },
  )
})
