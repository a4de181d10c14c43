import { EdgefitError } from '@edgefit/shared'

/** What a pass ends with that cannot use what a sample makes of the model. */
export function notFinite(value: string, sample: number): EdgefitError {
  return new EdgefitError(
    `sample ${sample} gives values that are not finite at "${value}"; check the sample, and the model on it`,
    { code: 'PASS_FAILED', details: { value, sample } },
  )
}
