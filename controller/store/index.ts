export { openStore } from './open-store.ts'
export type { ControllerDatabase, DeviceState } from './schema.ts'
