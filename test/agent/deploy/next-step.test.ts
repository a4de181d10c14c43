import { describe, expect, it } from 'vitest'
import { nextStep } from '../../../agent/deploy/next-step.ts'
import { type DeploymentRecord, newRecord } from '../../../agent/deploy/record.ts'
import { measurement, recipe } from '../../support/measurements.ts'

const winner = {
  trialId: 1,
  digest: 'a'.repeat(64),
  sizeBytes: 1,
  recipe: recipe('a'),
  recipeDigest: 'b'.repeat(64),
  measurement: measurement({ p90BoundMs: 1 }),
}
const met = { verdict: 'met', undecided: false, reasons: ['good'], winner } as const
const infeasible = { verdict: 'infeasible', undecided: false, reasons: ['too slow'], winner: null } as const
const at = (change: Partial<DeploymentRecord>) => ({ ...newRecord(1), ...change })
const ready = { downloaded: true, verified: true }

describe('nextStep', () => {
  it.each([
    [at({}), 'download'],
    [at({ downloaded: true }), 'verify'],
    [at(ready), 'search'],
    [at({ ...ready, result: { ...met, reasons: ['good'] } }), 'stage'],
    [at({ ...ready, result: { ...met, reasons: ['good'] }, staged: 'v' }), 'activate'],
    [at({ ...ready, result: { ...met, reasons: ['good'] }, staged: 'v', activated: true }), 'confirm'],
  ])('goes on from the record, step %#', (record, kind) => {
    expect(nextStep(record, true).kind).toBe(kind)
  })

  it('downloads and verifies outside the window, and defers what disturbs', () => {
    expect(nextStep(at({}), false).kind).toBe('download')
    expect(nextStep(at({ downloaded: true }), false).kind).toBe('verify')
    expect(nextStep(at(ready), false)).toEqual({ kind: 'defer', phase: 'deferred' })
    expect(nextStep(at({ ...ready, result: { ...met, reasons: [] }, staged: 'v' }), false).kind).toBe('defer')
  })

  it('confirms what it activated even where the window closed', () => {
    const record = at({ ...ready, result: { ...met, reasons: [] }, staged: 'v', activated: true })

    expect(nextStep(record, false).kind).toBe('confirm')
  })

  it('ends an infeasible search as failed, unchanged, with the reasons', () => {
    expect(nextStep(at({ ...ready, result: { ...infeasible, reasons: ['too slow'] } }), true)).toEqual({
      kind: 'finish',
      terminal: { status: 'failed', reason: 'objective-infeasible', message: 'too slow', outcome: 'unchanged' },
    })
    expect(nextStep(at({ ...ready, result: { ...infeasible, undecided: true, reasons: [] } }), true)).toMatchObject({
      terminal: { reason: 'accuracy-undecided' },
    })
  })

  it('announces a terminal status, and then rests', () => {
    const terminal = { status: 'succeeded', reason: 'objective-met', message: '', outcome: 'activated' } as const

    expect(nextStep(at({ terminal }), true)).toEqual({ kind: 'announce', terminal })
    expect(nextStep(at({ terminal, announced: true }), true).kind).toBe('rest')
  })
})
