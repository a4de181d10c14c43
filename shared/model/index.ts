export {
  DEPLOYMENT_PHASES,
  DEPLOYMENT_STATUSES,
  DeploymentPhase,
  DeploymentStatus,
  isTerminal,
  OUTCOMES,
  Outcome,
  REASON_CODES,
  ReasonCode,
  TERMINAL_STATUSES,
  type TerminalStatus,
} from './deployment.ts'
export { LayerSensitivity } from './layer-sensitivity.ts'
export {
  Accuracy,
  AccuracyMetric,
  EncodedHistogram,
  LatencyMs,
  LatencyRatio,
  Measurement,
  PairedCounts,
  PairedDifference,
  SPLITS,
  VariantRef,
} from './measurement.ts'
export { AccuracyFloor, MINIMIZABLE, Objective } from './objective.ts'
export { OBJECTIVE_OPTIONS, type ObjectiveFlags, objectiveFromFlags } from './objective-flags.ts'
export { OptimizeReport, PassReport } from './optimize-report.ts'
export { orderFaults } from './pass-contracts.ts'
export { ArtifactRef, Digest, Labels, Name, TENSOR_TYPES, TensorSpec } from './primitives.ts'
export { Profile } from './profile.ts'
export { needsGradients, Pass, Recipe, RuntimeSettings, trainingOf, trainsWeights } from './recipe.ts'
export { recipeDigest } from './recipe-digest.ts'
export { RuntimeJson } from './runtime-json.ts'
export { SplitSpec } from './split-spec.ts'
export { Task } from './task.ts'
export { type TaskFlags, taskFromFlags } from './task-flags.ts'
export { needsLabels, Training } from './training.ts'
export { LOSS_REASONS, LossReason, TRIAL_FAILURES, Trial, TrialFailure, TrialOutcome } from './trial.ts'
