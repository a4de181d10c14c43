import { moveCursor } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { isEdgefitError } from '@edgefit/shared'
import type { ControllerClient } from '../api/client.ts'
import { printable } from '../report/printable.ts'
import type { DeploymentView, RolloutView } from '../rollout/rollout-view.ts'
import type { CliIo } from './io.ts'
import { paintFor } from './output.ts'
import { countsText, progressText, STATUS_INKS, statusText, whyText } from './rollout-text.ts'

const POLL_MS = 1000
/** A controller that restarts is waited for. */
const PATIENCE_MS = 60_000
const TARGETS_DRAWN = 40

/**
 * Follows a rollout until it is over, on standard error: a block that is redrawn on a terminal, a line per change
 * elsewhere, nothing if `quiet`. Gives its last state.
 */
export async function watchRollout(
  io: CliIo,
  client: ControllerClient,
  id: string,
  quiet: boolean,
): Promise<RolloutView> {
  const show = quiet ? () => undefined : io.stderr.isTTY ? redrawing(io) : linewise(io)
  for (;;) {
    const { rollout } = await patiently(io, () => client.call('rollout.show', { rollout: id }, io.signal))
    show(rollout)
    if (rollout.state !== 'running') return rollout
    // Fleet state can be read without a controller, but then nothing will ever change.
    await patiently(io, () => client.call('controller.info', {}, io.signal))
    await sleep(POLL_MS, undefined, { signal: io.signal })
  }
}

async function patiently<Result>(io: CliIo, ask: () => Promise<Result>): Promise<Result> {
  const sinceMs = io.now()
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!isEdgefitError(error, 'UNAVAILABLE') || io.now() - sinceMs > PATIENCE_MS) throw error
      await sleep(POLL_MS, undefined, { signal: io.signal })
    }
  }
}

/** A line when a device's status, phase, or number of trials changes. */
function linewise(io: CliIo): (rollout: RolloutView) => void {
  const told = new Map<string, string>()
  return (rollout) => {
    for (const target of rollout.targets) {
      const key = JSON.stringify([target.attempt, target.status, target.phase, target.progress?.trialsDone])
      if (told.get(target.id) === key) continue
      told.set(target.id, key)
      io.stderr.write(`${stripVTControlCharacters(targetLine(io, target))}\n`)
    }
  }
}

function redrawing(io: CliIo): (rollout: RolloutView) => void {
  let drawn = 0
  return (rollout) => {
    const width = (io.stderr.columns ?? 80) - 1
    const shown = rollout.targets.slice(0, TARGETS_DRAWN).map((target) => targetLine(io, target))
    const more = rollout.targets.length - shown.length
    const lines = [`${rollout.id} ${rollout.state}: ${countsText(rollout)}`, ...shown]
    if (more > 0) lines.push(`and ${more} more`)
    moveCursor(io.stderr, 0, -drawn)
    io.stderr.write(`\u001b[J${lines.map((line) => cut(line, width)).join('\n')}\n`)
    drawn = lines.length
  }
}

function targetLine(io: CliIo, target: DeploymentView): string {
  const status = paintFor(io)(STATUS_INKS[target.status], statusText(target))
  const details = [progressText(target), whyText(target)].filter((part) => part !== '').join(', ')
  return `${printable(target.device)}  ${status}${details === '' ? '' : `  ${printable(details)}`}`
}

/** Only text without colours is cut: half an escape code would colour what follows. */
function cut(line: string, width: number): string {
  const plain = stripVTControlCharacters(line)
  return plain.length <= width ? line : `${plain.slice(0, width - 1)}…`
}
