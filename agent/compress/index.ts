export { type BuildInput, type BuildProgress, type BuiltVariant, buildVariant } from './build-variant.ts'
export type { CalibrationProgress, CalibrationSource } from './calibration/collect.ts'
export { type QuantizationFlavour, quantizationFlavours } from './flavours.ts'
export type { PassReport } from './pass-report.ts'
export type {
  FeedTensor,
  OpenSession,
  OpenSessionOptions,
  OutputTensor,
  RuntimeSession,
  RuntimeTensorData,
  RuntimeTensorType,
} from './runtime-port.ts'
