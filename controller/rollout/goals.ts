import { isEdgefitError } from '@edgefit/shared'
import type { DesiredState } from '@edgefit/shared/protocol'
import type { Logger } from 'pino'
import { findDevice } from '../fleet/device-registry.ts'
import type { CommitQueue } from '../store/commit-queue.ts'
import type { ControllerDatabase } from '../store/schema.ts'
import { devicesToRenew, issueDesired } from './desired-state.ts'

export interface GoalsOptions {
  readonly db: ControllerDatabase
  readonly commits: CommitQueue
  readonly fleet: string
  readonly now: () => number
  /** Rejects with UNAVAILABLE without a connection. */
  readonly publish: (state: DesiredState) => Promise<void>
  readonly log: Logger
}

/** Sends devices their goals. What cannot be sent now is sent when the broker is back. */
export interface Goals {
  /** Issues and sends, in the background. */
  send(devices: Iterable<string>): void
  /** The broker was reached: sends what was waiting. */
  resume(): void
  /** Issues anew what nears its expiry, and tries again what could not be issued. */
  renew(): Promise<void>
  /** Resolves when nothing is under way. */
  drain(): Promise<void>
}

const SENT_AT_ONCE = 64

/** Invariant: a device's goals are sent one after the other, so that an older one never overtakes a newer. */
export function createGoals({ db, commits, fleet, now, publish, log }: GoalsOptions): Goals {
  const waiting = new Set<string>()
  const failed = new Set<string>()
  let running: Promise<void> | undefined
  let connected = true

  async function run(): Promise<void> {
    while (connected && waiting.size > 0) {
      const devices = [...waiting].slice(0, SENT_AT_ONCE)
      for (const device of devices) waiting.delete(device)
      await Promise.all(devices.map(sendOne))
    }
    running = undefined
  }

  async function sendOne(device: string): Promise<void> {
    try {
      const state = await commits.run(async (trx) => {
        // It may have left the fleet since it was put on the list.
        if ((await findDevice(trx, device))?.state !== 'accepted') return undefined
        return await issueDesired(trx, fleet, device, now())
      })
      if (state !== undefined) await publish(state)
    } catch (error) {
      if (isEdgefitError(error, 'UNAVAILABLE')) {
        waiting.add(device)
        connected = false
        return
      }
      log.error({ err: error, device }, 'goal could not be sent; trying again within minutes')
      failed.add(device)
    }
  }

  function send(devices: Iterable<string>): void {
    for (const device of devices) waiting.add(device)
    // Without work `run` ends at once, before it is known to run.
    if (connected && waiting.size > 0) running ??= run()
  }

  return {
    send,
    resume() {
      connected = true
      send([])
    },
    async renew() {
      const again = [...failed]
      failed.clear()
      send([...again, ...(await devicesToRenew(db, now()))])
    },
    async drain() {
      while (running !== undefined) await running
    },
  }
}
