import { createHash } from 'node:crypto'
import { type Digest, LayerSensitivity, Recipe, Trial } from '@edgefit/shared/model'
import * as z from 'zod'
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
  /** Another version's passes may give other bytes. */
  readonly agentVersion: string
}

export function studyKey(identity: StudyIdentity): string {
  const { sourceDigest, datasetDigest, split, task, hardwareClass, runtimeVersion, agentVersion } = identity
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
    agentVersion,
  ]
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32)
}

/** What a search has found out, by recipe digest: one that was killed does not find it out again. */
export interface StudyStore {
  finished(study: string): Promise<ReadonlyMap<Digest, Trial>>
  /**
   * Committed to disk when the promise resolves.
   *
   * @param resolved the trial's recipe with all that was found while it was built: what gives the same bytes again
   */
  save(study: string, trial: Trial, resolved?: Recipe): Promise<void>
  /** Of a trial that was saved with it. */
  resolved(study: string, recipe: Digest): Promise<Recipe | undefined>
  /** The layers of a recipe, best left in float first. */
  ranking(study: string, recipe: Digest): Promise<readonly LayerSensitivity[] | undefined>
  /** Committed to disk when the promise resolves. */
  saveRanking(study: string, recipe: Digest, layers: readonly LayerSensitivity[]): Promise<void>
}

const Ranking = z.array(LayerSensitivity)

export function sqliteStudyStore(database: AgentDatabase): StudyStore {
  return {
    async finished(study) {
      const rows = await database.selectFrom('trials').select('trial').where('study', '=', study).execute()
      // One of another shape than this version's is tried again.
      const trials = rows.flatMap(({ trial }) => Trial.safeParse(JSON.parse(trial)).data ?? [])
      return new Map(trials.map((trial) => [trial.recipeDigest, trial]))
    },
    async save(study, trial, recipe) {
      const found = {
        trial_id: trial.id,
        trial: JSON.stringify(trial),
        resolved: recipe === undefined ? null : JSON.stringify(recipe),
      }
      await database
        .insertInto('trials')
        .values({ study, recipe_digest: trial.recipeDigest, ...found })
        .onConflict((conflict) => conflict.columns(['study', 'recipe_digest']).doUpdateSet(found))
        .execute()
    },
    async resolved(study, recipe) {
      const row = await database
        .selectFrom('trials')
        .select('resolved')
        .where('study', '=', study)
        .where('recipe_digest', '=', recipe)
        .executeTakeFirst()
      return typeof row?.resolved === 'string' ? Recipe.safeParse(JSON.parse(row.resolved)).data : undefined
    },
    async ranking(study, recipe) {
      const row = await database
        .selectFrom('rankings')
        .select('layers')
        .where('study', '=', study)
        .where('recipe_digest', '=', recipe)
        .executeTakeFirst()
      return row && Ranking.safeParse(JSON.parse(row.layers)).data
    },
    async saveRanking(study, recipe, layers) {
      const row = { study, recipe_digest: recipe, layers: JSON.stringify(layers) }
      await database.replaceInto('rankings').values(row).execute()
    },
  }
}

/** For the offline command, which starts afresh each time. */
export function memoryStudyStore(): StudyStore {
  const studies = new Map<string, Map<Digest, Trial>>()
  const rankings = new Map<string, readonly LayerSensitivity[]>()
  const resolved = new Map<string, Recipe>()
  return {
    finished: (study) => Promise.resolve(new Map(studies.get(study))),
    resolved: (study, recipe) => Promise.resolve(resolved.get(`${study} ${recipe}`)),
    save(study, trial, recipe) {
      if (recipe !== undefined) resolved.set(`${study} ${trial.recipeDigest}`, recipe)
      studies.set(study, new Map(studies.get(study)).set(trial.recipeDigest, trial))
      return Promise.resolve()
    },
    ranking: (study, recipe) => Promise.resolve(rankings.get(`${study} ${recipe}`)),
    saveRanking(study, recipe, layers) {
      rankings.set(`${study} ${recipe}`, layers)
      return Promise.resolve()
    },
  }
}
