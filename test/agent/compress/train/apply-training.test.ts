import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Pass } from '@edgefit/shared/model'
import { indexGraph } from '@edgefit/shared/onnx'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  applyFineTune,
  type TrainingContext,
  type TrainingPort,
} from '../../../../agent/compress/train/apply-training.ts'
import { contextOf, NETWORK } from './support/small-training.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-apply-'))
})
afterAll(() => rm(folder, { recursive: true }))

const TRAINING = { updates: 3, batch: 4, evaluateEvery: 1 }
const fineTune = (more = {}) =>
  Pass.parse({ pass: 'fine-tune', ...TRAINING, ...more }) as Extract<Pass, { pass: 'fine-tune' }>

/** Updates that were made, rather than remembered. */
async function updatesOf(pass: ReturnType<typeof fineTune>, given: TrainingContext): Promise<number> {
  let updates = 0
  await applyFineTune(NETWORK, pass, {
    ...given,
    onProgress: ({ doing }) => {
      if (doing === 'updating') updates += 1
    },
  })
  return updates
}

describe('fine-tuning', () => {
  it('trains weights that hide behind an Identity', async () => {
    const { model } = await applyFineTune(NETWORK, fineTune(), contextOf({ scratchPath: join(folder, 'hidden') }))
    const index = indexGraph(model.graph)
    const [stem] = model.graph.nodes.filter(({ opType }) => opType === 'Conv')
    expect(index.initializer(stem?.inputs[2] ?? '')?.data).not.toEqual(NETWORK.graph.initializers.get('bias')?.data)
    expect(index.initializer(stem?.inputs[2] ?? '')).toBeDefined()
  })

  it('remembers a run, and none that differs in anything it depends on', async () => {
    const scratchPath = join(folder, 'remembered')
    const context = (port: Partial<TrainingPort> = {}, more: Partial<TrainingContext> = {}) =>
      contextOf({ scratchPath, ...port }, more)
    const { updates } = TRAINING
    const taught = fineTune({ loss: { kind: 'distillation', mixing: 1 } })
    const teacher = { ...NETWORK, producerVersion: 'another' }
    expect(await updatesOf(fineTune(), context())).toBe(updates)
    expect(await updatesOf(fineTune(), context())).toBe(0)
    expect((await readdir(folder)).filter((name) => name.startsWith('remembered'))).toHaveLength(1)
    expect(await updatesOf(fineTune({ seed: 1 }), context())).toBe(updates)
    expect(await updatesOf(fineTune(), context({ dataKey: 'other' }))).toBe(updates)
    expect(await updatesOf(fineTune(), context({}, { threads: 2 }))).toBe(updates)
    // A teacher that is not asked does not matter; one that is does.
    expect(await updatesOf(fineTune(), context({}, { teacher }))).toBe(0)
    expect(await updatesOf(taught, context())).toBe(updates)
    expect(await updatesOf(taught, context())).toBe(0)
    expect(await updatesOf(taught, context({}, { teacher }))).toBe(updates)
  })

  it('is refused without data', async () => {
    await expect(
      applyFineTune(NETWORK, fineTune(), contextOf({ scratchPath: '' }, { port: undefined })),
    ).rejects.toThrow(expect.objectContaining({ code: 'DATASET_INVALID' }))
  })
})
