import type { Training } from '@edgefit/shared/model'

/** All that decides what training makes of a model and its data. An update is one change of the weights. */
export type TrainingPlan = Omit<Training, 'maxDurationMs' | 'pauseAboveCelsius'>
