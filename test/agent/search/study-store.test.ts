import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { recipeDigest, type Trial } from '@edgefit/shared/model'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { sqliteStudyStore, studyKey } from '../../../agent/search/study-store.ts'
import { type AgentDatabase, openAgentDatabase } from '../../../agent/store/database.ts'
import { recipe } from '../../support/measurements.ts'

const trial: Trial = {
  id: 1,
  recipe: recipe('a'),
  recipeDigest: recipeDigest(recipe('a')),
  outcome: { kind: 'failed', reason: 'crashed', message: 'SIGSEGV' },
  losses: [],
  durationMs: 1,
}
const identity = {
  sourceDigest: 'a'.repeat(64),
  datasetDigest: 'b'.repeat(64),
  split: { seed: 0, calibration: 1, tuning: 1, evaluation: 1 },
  task: { kind: 'classification' },
  hardwareClass: 'x64-0123456789ab',
  runtimeVersion: '1.30.0',
  agentVersion: '0.1.0',
}

let folder: string
let database: AgentDatabase
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edgefit-studies-'))
  database = await openAgentDatabase(join(folder, 'state.db'))
})
afterEach(async () => {
  await database.destroy()
  await rm(folder, { recursive: true, force: true })
})

it('keeps trials, and tries those again that have the shape of another version', async () => {
  const store = sqliteStudyStore(database)
  await store.save('study', trial)
  await database
    .insertInto('trials')
    .values({ study: 'study', recipe_digest: 'c'.repeat(64), trial_id: 2, trial: '{"id":2}', resolved: null })
    .execute()

  expect([...(await store.finished('study')).values()]).toEqual([trial])
})

it('keeps what a recipe was resolved to beside its trial', async () => {
  const store = sqliteStudyStore(database)
  const resolved = recipe('a', [{ pass: 'fold-batch-norm' }])
  await store.save('study', trial, resolved)

  expect(await store.resolved('study', trial.recipeDigest)).toEqual(resolved)
  expect(await store.resolved('another', trial.recipeDigest)).toBeUndefined()
  await store.save('study', trial)
  expect(await store.resolved('study', trial.recipeDigest)).toBeUndefined()
})

it('keeps rankings by study and recipe, and forgets those of another shape', async () => {
  const store = sqliteStudyStore(database)
  const layers = [
    { layer: 'conv', opType: 'Conv', sqnrDb: 20, noiseRatio: 0.01, klDivergence: null, lostMs: null },
    {
      layer: 'gemm',
      opType: 'Gemm',
      sqnrDb: 30,
      noiseRatio: 0.001,
      klDivergence: 0.1,
      lostMs: { value: 1, low: 0, high: 2 },
    },
  ]

  await store.saveRanking('study', 'a'.repeat(64), layers)
  await database
    .insertInto('rankings')
    .values({ study: 'study', recipe_digest: 'b'.repeat(64), layers: '[{}]' })
    .execute()

  expect(await store.ranking('study', 'a'.repeat(64))).toEqual(layers)
  expect(await store.ranking('other', 'a'.repeat(64))).toBeUndefined()
  expect(await store.ranking('study', 'b'.repeat(64))).toBeUndefined()
  await store.saveRanking('study', 'a'.repeat(64), [])
  expect(await store.ranking('study', 'a'.repeat(64))).toEqual([])
})

it('shares no trials between versions of the agent, whose passes may give other bytes', () => {
  expect(studyKey({ ...identity, agentVersion: '0.2.0' })).not.toBe(studyKey(identity))
  expect(studyKey({ ...identity })).toBe(studyKey(identity))
})
