import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Recipe, type SplitSpec } from '@edgefit/shared/model'
import { loadModel } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { JobOf } from '../../../agent/measure/jobs.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import { breastCancer, breastCancerDataset } from './datasets.ts'

vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

const SPLIT: SplitSpec = { seed: 3, calibration: 60, tuning: 150, evaluation: 150 }
const PRUNE = { pass: 'prune-channels', importance: 'taylor', target: { by: 'ratio', ratio: 0.5, alignTo: 1 } }
const recipe = Recipe.parse({ passes: [PRUNE], runtime: { intraOpThreads: 1 } })

let directory: string
let runner: JobRunner
let datasetDir: string
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-gradients-'))
  runner = await createChildRunner({ lockPath: join(directory, 'lock') })
  datasetDir = await breastCancerDataset(directory)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const outPath = () => join(directory, 'pruned.onnx')

function build(more: Partial<JobOf<'build'>>) {
  return runner.run<'build'>(
    {
      kind: 'build',
      sourcePath: breastCancer,
      datasetDir,
      split: SPLIT,
      recipe,
      outPath: outPath(),
      calibrationThreads: 1,
      ...more,
    },
    { timeoutMs: 60_000 },
    AbortSignal.timeout(120_000),
  )
}

describe('a build that prunes by gradients', () => {
  it.each([
    [{ ...SPLIT, training: 200 }, 'importance by gradients of 192 training samples, by their labels'],
    [SPLIT, 'importance by gradients of 48 calibration samples, by their labels'],
  ])('takes them of %j', async (split, words) => {
    const result = await build({ split, task: { kind: 'classification' } })
    if (result.kind === 'failed') throw new Error(result.message)
    expect(result.value.passes[0]?.notes[0]).toBe(words)
    const widths = async (path: string) =>
      [...(await loadModel(path)).graph.initializers.values()].map(({ dims }) => dims[0])
    expect(await widths(outPath())).not.toEqual(await widths(breastCancer))
    // Resolved, it wants neither labels nor a task.
    const { digest, resolvedRecipe } = result.value
    const again = await build({ recipe: resolvedRecipe })
    expect(again).toMatchObject({ kind: 'done', value: { digest } })
  })

  it('wants to know what outputs mean', async () => {
    await expect(build({})).rejects.toMatchObject({
      code: 'RECIPE_INVALID',
      message: expect.stringContaining(
        'give a dataset and a task, choose another importance, or take a resolved recipe',
      ),
    })
  })
})
