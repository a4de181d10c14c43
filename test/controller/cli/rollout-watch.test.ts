import { PassThrough } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import { EdgefitError } from '@edgefit/shared'
import { describe, expect, it } from 'vitest'
import type { ControllerClient } from '../../../controller/api/client.ts'
import type { CliIo } from '../../../controller/cli/io.ts'
import { watchRollout } from '../../../controller/cli/rollout-watch.ts'
import type { DeploymentView, RolloutView } from '../../../controller/rollout/rollout-view.ts'
import { NOW_MS, OBJECTIVE } from '../fleet/fixtures.ts'

function target(overrides: Partial<DeploymentView>): DeploymentView {
  return {
    id: 'r-1-1',
    device: 'kiosk',
    deviceOnline: true,
    hardwareClass: null,
    slot: 'default',
    attempt: 1,
    status: 'in_progress',
    phase: 'searching',
    reason: null,
    message: null,
    outcome: null,
    running: null,
    progress: null,
    verdict: null,
    reasons: [],
    lastReportAtMs: NOW_MS,
    startedAtMs: NOW_MS,
    endedAtMs: null,
    ...overrides,
  }
}

function rollout(state: RolloutView['state'], targets: DeploymentView[]): RolloutView {
  return {
    id: 'r-1',
    state,
    slot: 'default',
    model: { name: 'net', version: 1 },
    dataset: { name: 'data', version: 1 },
    selector: 'all',
    objective: OBJECTIVE,
    deployments: { [targets[0]?.status ?? 'queued']: targets.length },
    createdAtMs: NOW_MS,
    startedAtMs: NOW_MS,
    endedAtMs: null,
    split: { seed: 0, calibration: 1, tuning: 1, evaluation: 1 },
    search: { budgetS: 600, seed: 0 },
    schedule: { rebenchmarkCron: null, maintenance: null },
    targets,
  }
}

/** Answers `rollout.show` with one state after the other. */
function scripted(states: (RolloutView | EdgefitError)[]): ControllerClient {
  const call = (name: string) => {
    if (name !== 'rollout.show') return Promise.resolve({})
    const next = states.shift()
    return next instanceof EdgefitError ? Promise.reject(next) : Promise.resolve({ rollout: next })
  }
  return { call, upload: () => Promise.reject(new Error('unused')) } as unknown as ControllerClient
}

function terminal(isTTY: boolean): { io: CliIo; text: () => string } {
  const stderr = Object.assign(new PassThrough(), { isTTY, columns: 60 })
  const pieces: string[] = []
  stderr.on('data', (piece: Buffer) => pieces.push(piece.toString()))
  const io = {
    stdout: Object.assign(new PassThrough(), { isTTY: false }),
    stderr,
    signal: AbortSignal.timeout(60_000),
    now: () => NOW_MS,
    defaultDataDir: '',
    onReload: () => undefined,
    setExitCode: () => undefined,
  } as unknown as CliIo
  return { io, text: () => pieces.join('') }
}

const best = { label: 'static int8', p90BoundMs: 7.31, accuracy: 0.91 }

describe('watchRollout', () => {
  it('tells each change once, in plain lines, where there is no terminal', async () => {
    const { io, text } = terminal(false)
    const working = target({ progress: { trialsDone: 3, trialsPlanned: 9, best } })
    const ended = target({ status: 'succeeded', phase: null, reason: 'objective-met' })

    const client = scripted([
      rollout('running', [working]),
      rollout('running', [working]),
      rollout('finished', [ended]),
    ])
    const last = await watchRollout(io, client, 'r-1', false)

    expect(last.state).toBe('finished')
    expect(text().split('\n')).toEqual([
      'kiosk  searching  3 of 9 trials, best 7.31 ms (static int8)',
      'kiosk  succeeded  objective-met',
      '',
    ])
  })

  it('redraws in place on a terminal, and lets no device text move the cursor', async () => {
    const { io, text } = terminal(true)
    const nasty = target({ status: 'failed', phase: null, reason: 'internal', message: `\u001b[2J${'x'.repeat(200)}` })

    await watchRollout(io, scripted([rollout('running', [target({})]), rollout('finished', [nasty])]), 'r-1', false)

    expect(text()).toContain('\u001b[2A')
    expect(text()).not.toContain('\u001b[2J')
    const lines = stripVTControlCharacters(text()).split('\n')
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(60)
  })

  it('waits for a controller that restarts', async () => {
    const { io } = terminal(false)
    const away = new EdgefitError('nobody there', { code: 'UNAVAILABLE' })

    const last = await watchRollout(io, scripted([away, rollout('finished', [])]), 'r-1', true)

    expect(last.state).toBe('finished')
  })
})
