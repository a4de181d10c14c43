import { isEdgefitError } from '@edgefit/shared'
import type { DesiredState } from '@edgefit/shared/protocol'
import type { Logger } from 'pino'
import type { ControllerDatabase } from '../store/schema.ts'
import { devicesToRenew, issueDesired } from './desired-state.ts'

export interface GoalsOptions {
  readonly db: ControllerDatabase
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
  /** Issues anew what nears its expiry. */
  renew(): Promise<void>
  /** Resolves when nothing is under way. */
  drain(): Promise<void>
}

const SENT_AT_ONCE = 16

/** Invariant: a device's goals are sent one after the other, so that an older one never overtakes a newer. */
export function createGoals({ db, fleet, now, publish, log }: GoalsOptions): Goals {
  const waiting = new Set<string>()
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
      await publish(await issueDesired(db, fleet, device, now()))
    } catch (error) {
      if (isEdgefitError(error, 'UNAVAILABLE')) {
        waiting.add(device)
        connected = false
      } else log.error({ err: error, device }, 'goal could not be sent')
    }
  }

  function send(devices: Iterable<string>): void {
    for (const device of devices) waiting.add(device)
    if (waiting.size > 0) running ??= run()
  }

  return {
    send,
    resume() {
      connected = true
      send([])
    },
    async renew() {
      send(await devicesToRenew(db, now()))
    },
    async drain() {
      while (running !== undefined) await running
    },
  }
}
