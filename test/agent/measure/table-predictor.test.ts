import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { graphValue, saveModel, type ValueInfo } from '@edgefit/shared/onnx'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createChildRunner } from '../../../agent/measure/child.ts'
import { createTablePredictor } from '../../../agent/measure/table-predictor.ts'
import { convolutionChain } from '../compress/latency/support.ts'
import { modelOf, op, valueInfo } from '../compress/support/graphs.ts'

vi.setConfig({ testTimeout: 60_000 })

const runtime = { intraOpThreads: 1, allowSpinning: false, memoryArena: true }

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'edgefit-predictor-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const open = () => createTablePredictor({ folder, hardwareClass: 'x64-test', runtime })
const signal = AbortSignal.timeout(60_000)
const chain = (channels: number, layers = 2) => convolutionChain({ channels, layers, side: 8 })

describe('predicting from the table', () => {
  it('times each operator once, and adds them up', async () => {
    const [two, three] = await open().predict([chain(16), chain(16, 3)], signal)

    expect(two?.missing).toEqual([])
    expect(two?.timedCount).toBeGreaterThan(0)
    expect(three?.timedCount).toBe(0)
    // All convolutions are one operator, so that the third costs as much as the second.
    const convolutionMs = (three?.ms ?? 0) - (two?.ms ?? 0)
    const [four] = await open().predict([chain(16, 4)], signal)
    expect(convolutionMs).toBeGreaterThan(0)
    expect(four?.timedCount).toBe(0)
    expect(four?.ms).toBeCloseTo((three?.ms ?? 0) + convolutionMs, 9)
  })

  it('times what another number of channels makes of an operator', async () => {
    const predictor = open()
    const [before] = await predictor.predict([chain(16)], signal)

    const [after] = await predictor.predict([chain(15)], signal)

    expect(after?.timedCount).toBeGreaterThan(0)
    expect(await predictor.predictMs([chain(16)], signal)).toEqual([before?.ms])
  })

  it('names an operator that cannot be timed alone, and predicts the rest', async () => {
    const inner = (opType: string) =>
      graphValue(modelOf({ inputs: {}, outputs: [opType], nodes: [op(opType, `x -> ${opType}`)] }).graph)
    const branching = modelOf({
      inputs: { x: [1, 64] },
      outputs: ['z'],
      nodes: [
        op('If', 'condition -> y', { then_branch: inner('Relu'), else_branch: inner('Tanh') }),
        op('Exp', 'y -> z'),
      ],
    })
    const inputs: ValueInfo[] = [...branching.graph.inputs, valueInfo('condition', [], 'BOOL')]

    const [prediction] = await open().predict([{ ...branching, graph: { ...branching.graph, inputs } }], signal)

    expect(prediction?.operatorCount).toBe(2)
    expect(prediction?.ms).toBeGreaterThan(0)
    expect(prediction?.missing).toEqual([
      { key: expect.stringMatching(/^If@17\(/), reason: expect.stringMatching(/graph of its own/) },
    ])
  })

  it('refuses a model whose lengths are open', async () => {
    const open2 = modelOf({ inputs: { x: ['batch', 4] }, outputs: ['y'], nodes: [op('Relu', 'x -> y')] })

    await expect(open().predictMs([open2], signal)).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringMatching(/input "x" has the open length batch/),
    })
  })
})

describe('the job time-operators', () => {
  it('predicts in a child, and times the models whole to compare', async () => {
    const modelPaths = [join(folder, 'a.onnx'), join(folder, 'b.onnx')]
    await saveModel(modelPaths[0] ?? '', chain(8))
    await saveModel(modelPaths[1] ?? '', chain(8, 3))
    const runner = await createChildRunner({ lockPath: join(folder, 'lock') })
    const job = { kind: 'time-operators', tableFolder: folder, hardwareClass: 'x64-test', runtime } as const

    const result = await runner.run<'time-operators'>(
      { ...job, modelPaths, compare: true },
      { timeoutMs: 60_000 },
      signal,
    )

    if (result.kind === 'failed') throw new Error(result.message)
    const [two, three] = result.value.models
    expect(two?.ms).toBeGreaterThan(0)
    expect(two?.whole?.ms).toBeGreaterThan(0)
    expect(three?.ms).toBeGreaterThan(two?.ms ?? 0)
    // What the child timed is there for whoever comes next.
    expect(await open().predict([chain(8)], signal)).toMatchObject([{ timedCount: 0, ms: two?.ms }])
  })
})
