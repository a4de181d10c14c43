import { describe, expect, it } from 'vitest'
import { input, openRolloutScene } from './support/rollout-scene.ts'

describe('creation', () => {
  it.each([
    ['a latency of zero', { objective: { latencyP90Ms: 0 } }],
    ['a negative latency', { objective: { latencyP90Ms: -5 } }],
    ['a latency that is no number', { objective: { latencyP90Ms: Number.NaN } }],
    ['an accuracy floor above 1', { objective: { latencyP90Ms: 5, accuracy: { kind: 'relative', value: 1.01 } } }],
    ['memory of zero', { objective: { latencyP90Ms: 5, memoryBytes: 0 } }],
    ['a misspelt field', { objective: { latencyP90Ms: 5, acuracy: 1 } }],
    ['a budget of no time', { search: { budgetS: 0 } }],
    ['a cron expression of nonsense', { schedule: { rebenchmarkCron: 'every night' } }],
    ['a cron expression with seconds', { schedule: { rebenchmarkCron: '0 0 3 * * *' } }],
    ['a cron expression out of range', { schedule: { maintenance: { cron: '99 3 * * *', durationMin: 60 } } }],
    ['a slot that is no name', { slot: 'a/b' }],
  ])('refuses %s', (_, overrides) => {
    expect(() => input(overrides)).toThrow()
  })

  it.each([
    ['an unknown model', { model: 'nett' }, /no model nett is published; there is net@1/],
    ['an unknown version', { dataset: 'data@7' }, /no dataset data@7 is published; there is data@1/],
    ['a split larger than the dataset', { split: { seed: 0, calibration: 500, tuning: 500, evaluation: 500 } }, /1500/],
    ['a selector of an unknown label', { selector: 'sight=lab' }, /no accepted device has "sight"/],
  ])('refuses %s', async (_, overrides, message) => {
    const { db, rollouts } = await openRolloutScene()
    await expect(rollouts.create(input(overrides), true)).rejects.toThrow(message)
    expect(await db.selectFrom('rollouts').selectAll().execute()).toEqual([])
  })

  it('refuses a dataset that does not fit the model, and labels outside its classes', async () => {
    const { db, rollouts } = await openRolloutScene()
    await db.updateTable('datasets').set({ label_max: 7 }).execute()
    await expect(rollouts.create(input(), true)).rejects.toThrow(/label 7, classification has labels 0 to 1/)

    const arrays = JSON.stringify([{ name: 'x', dtype: 'float32', shape: [5] }])
    await db.updateTable('datasets').set({ arrays }).execute()
    await expect(rollouts.create(input(), true)).rejects.toMatchObject({ code: 'DATASET_MISMATCH' })
  })

  it('refuses a custom task, and an AUC without labels', async () => {
    const { db, rollouts } = await openRolloutScene()
    const task = (value: object) =>
      db
        .updateTable('models')
        .set({ task: JSON.stringify(value) })
        .execute()
    await task({ kind: 'custom', module: 'score.js' })
    await expect(rollouts.create(input(), true)).rejects.toThrow(/custom task/)

    await task({ kind: 'binary-score' })
    await db.updateTable('datasets').set({ has_labels: 0, label_min: null, label_max: null }).execute()
    await expect(rollouts.create(input(), true)).rejects.toThrow(/AUC of net needs labels/)
  })
})
