export { type BuildInput, type BuildProgress, buildVariant } from './build-variant.ts'
export type { CalibrationSource } from './calibration/run-samples.ts'
export { quantizationFlavours } from './flavours.ts'
export type { FeedTensor, OpenSession } from './runtime-port.ts'
