import { digestBytes } from '@edgefit/shared/artifact'
import type { Recipe } from '@edgefit/shared/model'
import type { CandidateInput } from '../../../agent/search/candidates.ts'
import type { StudyInput } from '../../../agent/search/study-types.ts'
import { RUNTIME } from '../../support/measurements.ts'

export const digestOf = (text: string) => digestBytes(Buffer.from(text))

/** An x64 box, and a model with these operators. */
export function candidateInput(
  operators: Readonly<Record<string, number>>,
  {
    calibrationSamples,
    features = ['avx512_vnni'],
  }: { readonly calibrationSamples: number; readonly features?: string[] },
): CandidateInput {
  return {
    cpu: {
      architecture: 'x64',
      model: 'test',
      features,
      cores: [{ kind: 'test', count: 4, maxMhz: null }],
      logicalCores: 4,
      cachesBytes: { l1d: null, l2: null, l3: null },
    },
    operators: new Map(Object.entries(operators)),
    calibrationSamples,
    runtime: RUNTIME,
  }
}

/** A study of `recipes` with one candidate for the runtime settings and a minute. */
export function studyOf(
  objective: StudyInput['objective'],
  recipes: readonly Recipe[],
  overrides: Partial<StudyInput> = {},
): StudyInput {
  return {
    key: 'study',
    sourcePath: '/source.onnx',
    sourceDigest: digestOf('source'),
    sourceSizeBytes: 1000,
    objective,
    runtimeCandidates: [RUNTIME],
    candidates: () => recipes,
    budgetMs: 60_000,
    ...overrides,
  }
}
