import { createHash } from 'node:crypto'
import { EdgefitError } from '@edgefit/shared'
import { type Digest, Trial } from '@edgefit/shared/model'
import type { AgentDatabase } from '../store/database.ts'

/** What makes two studies the same, so that finished trials of one serve the other. */
export interface StudyIdentity {
  readonly sourceDigest: Digest
  readonly datasetDigest: Digest
  readonly split: {
    readonly seed: number
    readonly calibration: number
    readonly tuning: number
    readonly evaluation: number
  }
  readonly task: unknown
  readonly hardwareClass: string
  readonly runtimeVersion: string
}

export function studyKey(identity: StudyIdentity): string {
  const { sourceDigest, datasetDigest, split, task, hardwareClass, runtimeVersion } = identity
  const parts = [
    sourceDigest,
    datasetDigest,
    split.seed,
    split.calibration,
    split.tuning,
    split.evaluation,
    task,
    hardwareClass,
    runtimeVersion,
  ]
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32)
}

/** Finished trials by recipe digest: a search that was killed does not repeat them. */
export interface StudyStore {
  finished(study: string): Promise<ReadonlyMap<Digest, Trial>>
  /** Committed to disk when the promise resolves. */
  save(study: string, trial: Trial): Promise<void>
}

export function sqliteStudyStore(database: AgentDatabase): StudyStore {
  return {
    async finished(study) {
      const rows = await database.selectFrom('trials').select('trial').where('study', '=', study).execute()
      const trials = rows.map(({ trial }) => parseTrial(trial))
      return new Map(trials.map((trial) => [trial.recipeDigest, trial]))
    },
    async save(study, trial) {
      await database
        .insertInto('trials')
        .values({ study, recipe_digest: trial.recipeDigest, trial_id: trial.id, trial: JSON.stringify(trial) })
        .onConflict((conflict) =>
          conflict
            .columns(['study', 'recipe_digest'])
            .doUpdateSet({ trial: JSON.stringify(trial), trial_id: trial.id }),
        )
        .execute()
    },
  }
}

/** For the offline command, which starts afresh each time. */
export function memoryStudyStore(): StudyStore {
  const studies = new Map<string, Map<Digest, Trial>>()
  return {
    finished: (study) => Promise.resolve(new Map(studies.get(study))),
    save(study, trial) {
      studies.set(study, new Map(studies.get(study)).set(trial.recipeDigest, trial))
      return Promise.resolve()
    },
  }
}

function parseTrial(text: string): Trial {
  const parsed = Trial.safeParse(JSON.parse(text))
  if (parsed.success) return parsed.data
  throw new EdgefitError('a stored trial does not have the shape of this version', {
    code: 'INTERNAL',
    cause: parsed.error,
  })
}
