import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Verdicts } from '../../agent/measure/verdicts.ts'
import { benchModels } from '../bench/models.ts'
import { EMULATED_CPUS, isPrepared, jobRunner } from './emulation.ts'
import {
  type BuiltFile,
  buildOn,
  disagreement,
  type Subject,
  staticInt8,
  top1,
  unpacked,
  verdictsOn,
} from './variants.ts'

const SAMPLES = 400
/** Points of top-1 by which kernels may round apart. */
const POINTS = 0.3

describe.skipIf(!isPrepared)('int8 on emulated ARM', () => {
  let folder: string
  let subject: Subject
  let variant: BuiltFile
  let expected: Verdicts

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'edgefit-arm64-'))
    const model = benchModels().find(({ name }) => name === 'fashion_mobilenetv2')
    if (model === undefined) throw new Error('the demo has no fashion_mobilenetv2')
    subject = await unpacked(model, folder)
    const runner = await jobRunner(undefined, join(folder, 'lock'))
    variant = await buildOn(runner, subject, staticInt8('arm64', 100), 'variant')
    expected = await verdictsOn(runner, subject, variant.path, SAMPLES)
    expect(top1(expected)).toBeGreaterThan(90)
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it.each(EMULATED_CPUS)('answers on %s as it does here', async (cpu) => {
    const given = await verdictsOn(await jobRunner(cpu, join(folder, 'lock')), subject, variant.path, SAMPLES)

    const { points, classes } = disagreement(expected, given)
    expect(Math.abs(points)).toBeLessThanOrEqual(POINTS)
    expect(classes).toBeLessThanOrEqual((SAMPLES * POINTS) / 100)
  })

  it('gets the same bytes from a resolved recipe, and runs them in integers', async () => {
    const runner = await jobRunner('cortex-a72', join(folder, 'lock'))

    const built = await buildOn(runner, subject, variant.resolvedRecipe, 'resolved')

    expect(built.digest).toBe(variant.digest)
    const notes = built.passes.at(-1)?.notes ?? []
    expect(notes.join('\n')).toMatch(/the runtime executes as intended: .*QLinearConv ×\d+/)
    expect(notes.join('\n')).not.toMatch(/in float/)
  })
})
