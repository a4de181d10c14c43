import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type ControllerClient, createClient } from '../../../controller/api/client.ts'
import { type Controller, type ControllerOptions, startController } from '../../../controller/controller.ts'
import { silentLog } from '../../support/link.ts'

export interface Scene {
  readonly dataDir: string
  readonly client: ControllerClient
  start(overrides?: Partial<ControllerOptions>): Promise<Controller>
}

export const SOON = AbortSignal.timeout(120_000)

/** A data directory that is gone after the test, with its controllers. */
export async function openScene(): Promise<Scene> {
  const folder = await mkdtemp(join(tmpdir(), 'edgefit-api-'))
  const dataDir = join(folder, 'data')
  const controllers: Controller[] = []
  onTestFinished(async () => {
    for (const controller of controllers) await controller.stop()
    await rm(folder, { recursive: true, force: true })
  })
  return {
    dataDir,
    client: createClient({
      socketPath: join(dataDir, 'controller.sock'),
      storePath: join(dataDir, 'fleet.db'),
      now: Date.now,
    }),
    async start(overrides = {}) {
      const controller = await startController({
        dataDir,
        fleet: 'default',
        broker: { kind: 'embedded', host: '127.0.0.1', mqttPort: 0 },
        log: silentLog,
        ...overrides,
      })
      controllers.push(controller)
      return controller
    },
  }
}
