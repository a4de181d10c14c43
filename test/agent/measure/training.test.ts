import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Pass, type Recipe } from '@edgefit/shared/model'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createChildRunner } from '../../../agent/measure/child.ts'
import type { JobRunner } from '../../../agent/measure/runner.ts'
import { breastCancer, breastCancerDataset, breastCancerTable, unpackedDataset } from './datasets.ts'

vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

const split = { seed: 3, calibration: 60, tuning: 150, evaluation: 150, training: 200 }
const runtime = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }
const signal = AbortSignal.timeout(180_000)

let directory: string
let runner: JobRunner
let datasetDir: string
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'edgefit-training-'))
  runner = await createChildRunner({ lockPath: join(directory, 'lock') })
  datasetDir = await breastCancerDataset(directory)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const TRAINING = { updates: 100, batch: 32, evaluateEvery: 20, learningRate: 0.05 }
const PRUNED = Pass.parse({ pass: 'prune-weights', target: { by: 'sparsity', sparsity: 0.9 } })

function build(
  name: string,
  passes: readonly Pass[],
  given: { readonly task?: { readonly kind: 'classification' } },
  from = datasetDir,
) {
  const recipe: Recipe = { schemaVersion: 1, runtime, passes: [...passes] }
  const outPath = join(directory, `${name}.onnx`)
  return runner.run<'build'>(
    {
      kind: 'build',
      sourcePath: breastCancer,
      datasetDir: from,
      split,
      recipe,
      outPath,
      calibrationThreads: 1,
      ...given,
    },
    { timeoutMs: 60_000 },
    signal,
  )
}

const task = { kind: 'classification' } as const

describe('a recipe that trains', () => {
  it('wins back what pruning lost, by labels or by the source as its teacher, and says what it did', async () => {
    const tuned = Pass.parse({ pass: 'fine-tune', ...TRAINING })
    const taught = Pass.parse({ pass: 'fine-tune', ...TRAINING, loss: { kind: 'distillation', mixing: 1 } })
    for (const [name, pass] of Object.entries({ tuned, taught })) {
      const result = await build(name, [PRUNED, pass], { task })
      if (result.kind === 'failed') throw new Error(result.message)
      const words = result.value.passes[1]?.notes.join('; ') ?? ''
      const [, before = '', after = ''] =
        /: ([\d.]+) % on the tuning split before, ([\d.]+) % at best/.exec(words) ?? []
      expect(Number(after)).toBeGreaterThan(Number(before) + 2)
      expect(result.value.resolvedRecipe.passes[1]).toEqual(pass)
    }
  })

  it('gives the same bytes again without training again: the run before is remembered', async () => {
    const tuned = Pass.parse({ pass: 'fine-tune', ...TRAINING })
    const first = await build('again', [tuned], { task })
    const bytes = readFileSync(join(directory, 'again.onnx'))
    // A run that makes no update writes nothing.
    const written = () =>
      readdirSync(directory)
        .filter((name) => name.startsWith('again.onnx.training'))
        .map((name) => [name, statSync(join(directory, name)).mtimeMs])
    const before = written()
    expect(before).toHaveLength(1)
    const second = await build('again', [tuned], { task })
    expect(written()).toEqual(before)
    expect(second).toMatchObject({ kind: 'done', value: { digest: first.kind === 'done' ? first.value.digest : '' } })
    expect(readFileSync(join(directory, 'again.onnx')).equals(bytes)).toBe(true)
  })

  it('trains for quantization, with its calibrated ranges in the resolved recipe', async () => {
    const pass = Pass.parse({
      pass: 'quantize-aware',
      activations: { type: 'uint8' },
      weights: { perChannel: false },
      calibration: { method: 'minmax', samples: 60 },
      training: TRAINING,
    })
    const result = await build('aware', [pass], { task })
    if (result.kind === 'failed') throw new Error(result.message)
    expect(result.value.passes[0]?.nodesAfter).toBeGreaterThan(result.value.passes[0]?.nodesBefore ?? 0)
    const [resolved] = result.value.resolvedRecipe.passes
    expect(resolved?.pass === 'quantize-aware' && Object.keys(resolved.ranges ?? {})).not.toHaveLength(0)
  })

  it('is refused where nothing says what the outputs mean', async () => {
    const blind = build('blind', [Pass.parse({ pass: 'fine-tune', ...TRAINING })], {})
    await expect(blind).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('training needs'),
    })
  })

  it.each<readonly [string, object, object, object]>([
    ['a batch larger than the data', {}, { batch: 201 }, { rejected: { code: 'DATASET_INVALID' }, says: '"batch"' }],
    ['labels that are no classes', { labels: 7 }, {}, { rejected: { code: 'DATASET_MISMATCH' }, says: 'label 7' }],
    ['a dataset without labels', { labels: null }, {}, { rejected: { code: 'DATASET_MISMATCH' }, says: '"labels"' }],
    ['less time than an update takes', {}, { maxDurationMs: 1 }, { failed: 'timeout', says: 'nothing was trained' }],
    [
      'less memory than a sample takes',
      {},
      { maxMemoryMib: 60 },
      { failed: 'out-of-memory', says: 'sample by sample' },
    ],
  ])('refuses %s, with the remedy', async (name, data, training, expected) => {
    const { labels } = data as { readonly labels?: number | null }
    const { rejected, failed, says } = expected as {
      readonly rejected?: object
      readonly failed?: string
      readonly says: string
    }
    const dir = labels === undefined ? datasetDir : await datasetWith(name, labels)
    const built = build(name, [Pass.parse({ pass: 'fine-tune', ...TRAINING, ...training })], { task }, dir)
    const message = expect.stringContaining(says)
    if (rejected !== undefined) await expect(built).rejects.toMatchObject({ ...rejected, message })
    else expect(await built).toMatchObject({ kind: 'failed', reason: failed, message })
  })
})

/** The table with one label for all, or none. */
function datasetWith(name: string, label: number | null): Promise<string> {
  const { input, count } = breastCancerTable()
  return unpackedDataset(directory, name, [
    { name: 'input', dtype: 'float32', shape: [count, 30], data: input },
    ...(label === null
      ? []
      : [
          {
            name: 'labels',
            dtype: 'int64' as const,
            shape: [count],
            data: new BigInt64Array(count).fill(BigInt(label)),
          },
        ]),
  ])
}
