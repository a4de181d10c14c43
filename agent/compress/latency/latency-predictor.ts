import type { Model } from '@edgefit/shared/onnx'

/** Predicts how long models run on this box, from operators measured one by one. */
export interface LatencyPredictor {
  /**
   * Milliseconds of one run of each model (static shapes; batch 1), on a box that does nothing else. Measures what is not
   * in the table yet. Operators that cannot be timed count for nothing.
   */
  predictMs(models: readonly Model[], signal: AbortSignal): Promise<readonly number[]>
  /** Types of operators met so far that have no time, and counted as nothing. */
  untimedOperators?(): readonly string[]
}
