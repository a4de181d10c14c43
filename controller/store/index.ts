export { openStore, openStoreForReading } from './open-store.ts'
export type {
  ArtifactKind,
  ControllerDatabase,
  DeploymentRow,
  DeviceRow,
  DeviceState,
  MeasurementRole,
  RolloutRow,
  RolloutState,
} from './schema.ts'
