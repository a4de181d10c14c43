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
    .values({ study: 'study', recipe_digest: 'c'.repeat(64), trial_id: 2, trial: '{"id":2}' })
    .execute()

  expect([...(await store.finished('study')).values()]).toEqual([trial])
})

it('shares no trials between versions of the agent, whose passes may give other bytes', () => {
  expect(studyKey({ ...identity, agentVersion: '0.2.0' })).not.toBe(studyKey(identity))
  expect(studyKey({ ...identity })).toBe(studyKey(identity))
})
