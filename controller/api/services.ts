import type { CatalogServices } from '../catalog/catalog-services.ts'
import type { Rollouts } from '../rollout/rollouts.ts'
import type { ControllerDatabase, DeviceState } from '../store/schema.ts'
import type { Uploads } from './uploads.ts'

/** What a query works on: also there without a running controller. */
export interface QueryServices {
  readonly db: ControllerDatabase
  readonly now: () => number
}

export interface IssuedToken {
  readonly id: string
  readonly token: string
  readonly expiresAtMs: number
}

/** What a command works on. */
export interface CommandServices extends QueryServices {
  readonly catalog: CatalogServices
  readonly uploads: Uploads
  readonly rollouts: Rollouts
  issueToken(options: { readonly lifeS: number; readonly maxUses: number | null }): Promise<IssuedToken>
  /** Told, after the commit, that an operator has decided about a device. */
  onDeviceState(device: string, state: DeviceState): void
  info(): ControllerInfo
}

interface ControllerInfo {
  readonly version: string
  readonly fleet: string
  readonly brokerUrl: string
  readonly brokerConnected: boolean
  readonly keyFingerprint: string
  readonly startedAtMs: number
}
