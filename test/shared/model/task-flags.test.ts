import { describe, expect, it } from 'vitest'
import { taskFromFlags } from '../../../shared/model/index.ts'

describe('a task from options', () => {
  it.each([
    [{}, undefined],
    [{ task: 'classification' }, { kind: 'classification' }],
    [{ task: 'binary-score' }, { kind: 'binary-score' }],
    [
      { task: 'binary-score', threshold: 0 },
      { kind: 'binary-score', threshold: 0 },
    ],
    [{ task: 'regression' }, { kind: 'regression', tolerance: 0.05 }],
    [
      { task: 'regression', tolerance: 0.1 },
      { kind: 'regression', tolerance: 0.1 },
    ],
    [
      { task: 'custom', metric: 'score.js' },
      { kind: 'custom', module: 'score.js' },
    ],
  ] as const)('%o is %o', (flags, task) => {
    expect(taskFromFlags(flags)).toEqual(task)
  })

  it.each([
    [{ threshold: 0.5 }, /--threshold goes with --task binary-score/],
    [{ task: 'classification', tolerance: 0.1 }, /--tolerance goes with --task regression/],
    [{ task: 'regression', metric: 'score.js' }, /--metric goes with --task custom/],
    [{ task: 'custom' }, /--task custom needs --metric/],
  ] as const)('%o is refused', (flags, message) => {
    expect(() => taskFromFlags(flags)).toThrow(expect.objectContaining({ code: 'USAGE' }))
    expect(() => taskFromFlags(flags)).toThrow(message)
  })
})
