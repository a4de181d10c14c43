import type { TrialLine } from './latency-report.ts'
import { accuracyFigure, mebibytes, msBeside, times } from './words.ts'

/** Latency bound, speed-up, accuracy, SQNR in dB, size and peak memory in MiB: dashes for what there is not. */
export function trialFigures(
  { latencyMs, speedUp, accuracy, sqnrDb, sizeBytes, peakRssBytes }: TrialLine,
  budgetMs: number,
): string[] {
  return [
    latencyMs ? msBeside(latencyMs.p90Bound, budgetMs) : '–',
    speedUp ? times(speedUp.ratio) : '–',
    accuracy ? accuracyFigure(accuracy.value, accuracy) : '–',
    sqnrDb === null ? '–' : sqnrDb.toFixed(1),
    sizeBytes === null ? '–' : mebibytes(sizeBytes),
    peakRssBytes === null ? '–' : mebibytes(peakRssBytes),
  ]
}
