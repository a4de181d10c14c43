import { type Recipe, recipeDigest, type Trial } from '@edgefit/shared/model'
import { threadsFor } from '../profile/threads-for.ts'
import { createChildLab } from './child-lab.ts'
import type { FitInput, FitPorts } from './fit.ts'
import { orThrow } from './step-error.ts'
import type { StudyResult } from './study-types.ts'

type ApplyInput = Pick<FitInput, 'source' | 'dataset' | 'split' | 'task' | 'workDir' | 'latencyDir' | 'profile'> & {
  readonly recipe: Recipe
  /** What the recipe takes in the source's place, where it takes a student. */
  readonly studentPath: string | undefined
  /** Where the answers of teachers are kept, for other recipes too. */
  readonly teacherDir: string
}

/**
 * Builds one recipe and measures it and fp32 on the evaluation split. There is no choice, and so no tuning.
 *
 * @throws EdgefitError TRIAL_FAILED, PASS_FAILED or MODEL_UNSUPPORTED where the recipe gives nothing on this box
 */
export async function applyRecipe(
  { source, dataset, split, task, workDir, latencyDir, profile, recipe, studentPath, teacherDir }: ApplyInput,
  { runner, limits, now, monotonicNow, onEvent, onProgress }: Omit<FitPorts, 'store'>,
  signal: AbortSignal,
): Promise<StudyResult> {
  const lab = await createChildLab({
    runner,
    sourcePath: source.path,
    studentPath,
    teacherDir,
    datasetDir: dataset.dir,
    split,
    task,
    workDir,
    latencyDir,
    calibrationThreads: threadsFor(profile.limits.cpus),
    hardwareClass: profile.hardwareClass,
    now,
    monotonicNow,
    limits,
    comparePasses: true,
    ...(onProgress && { onProgress }),
  })
  const startedMs = monotonicNow()
  await onEvent({ kind: 'step', what: 'building the variant' })
  const built = orThrow('the recipe could not be applied', await lab.build(recipe, signal))
  const fp32 = { path: source.path, runtime: recipe.runtime }
  await onEvent({ kind: 'step', what: 'measuring fp32' })
  const baseline = orThrow(
    'fp32 could not be measured',
    await lab.measure(fp32, null, 'evaluation', signal),
  ).measurement
  await onEvent({ kind: 'step', what: 'measuring the variant' })
  const variant = { path: built.path, runtime: recipe.runtime }
  const { measurement } = orThrow(
    'the variant could not be measured',
    await lab.measure(variant, fp32, 'evaluation', signal),
  )

  const { digest, sizeBytes, path, resolved, passes } = built
  const trial: Trial = {
    id: 1,
    recipe,
    recipeDigest: recipeDigest(recipe),
    outcome: { kind: 'measured', variant: { digest, sizeBytes }, measurement },
    losses: [],
    durationMs: monotonicNow() - startedMs,
  }
  const winner = { trialId: 1, recipe: resolved, unresolved: recipe, digest, sizeBytes, path, measurement, passes }
  return {
    verdict: 'met',
    baseline,
    winner,
    trials: [trial],
    reasons: ['the recipe was applied as given'],
    undecided: false,
  }
}
