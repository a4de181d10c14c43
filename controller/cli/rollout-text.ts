import type { Objective } from '@edgefit/shared/model'
import type { Ink } from '../report/terminal-text.ts'
import { mebibytes, ms, plural } from '../report/words.ts'
import type { RolloutPlan } from '../rollout/plan-rollout.ts'
import type { DeploymentView, RolloutSummary, RolloutView } from '../rollout/rollout-view.ts'
import type { CliIo } from './io.ts'
import { formatFacts, formatTable, versionText } from './output.ts'

export const STATUS_INKS: Readonly<Record<DeploymentView['status'], Ink>> = {
  queued: 'dim',
  in_progress: 'blue',
  succeeded: 'green',
  failed: 'red',
  timed_out: 'red',
  rejected: 'red',
  cancelled: 'dim',
  removed: 'dim',
}

export function rolloutTable(io: CliIo, rollouts: readonly RolloutSummary[]): string {
  if (rollouts.length === 0) return 'no rollouts; "edgefit rollout create" makes one'
  const rows = rollouts.map((rollout) => [
    rollout.id,
    rollout.state,
    versionText(rollout.model),
    rollout.slot,
    rollout.selector,
    countsText(rollout),
  ])
  return formatTable(io, ['ROLLOUT', 'STATE', 'MODEL', 'SLOT', { name: 'SELECTOR', shrinksTo: 12 }, 'DEVICES'], rows)
}

export function rolloutDetail(io: CliIo, rollout: RolloutView): string {
  const { schedule, search, split } = rollout
  const facts = formatFacts(io, [
    ['rollout', `${rollout.id} (${rollout.state})`],
    ['model', `${versionText(rollout.model)} in slot ${rollout.slot}`],
    ['dataset', `${versionText(rollout.dataset)}, ${splitText(split)}`],
    ['objective', objectiveText(rollout.objective)],
    ['search', `${search.budgetS} s, seed ${search.seed}`],
    ['selector', rollout.selector],
    ['re-measured', schedule.rebenchmarkCron],
    ['window', schedule.maintenance && `${schedule.maintenance.cron} for ${schedule.maintenance.durationMin} min`],
    ['devices', countsText(rollout)],
  ])
  if (rollout.targets.length === 0) return facts
  const rows = rollout.targets.map((target) => [
    target.device,
    statusText(target),
    progressText(target),
    whyText(target),
  ])
  const headings = ['DEVICE', 'STATUS', { name: 'PROGRESS', shrinksTo: 16 }, { name: 'WHY', shrinksTo: 24 }]
  return `${facts}\n\n${formatTable(io, headings, rows)}`
}

export function planText(io: CliIo, plan: RolloutPlan): string {
  const facts = formatFacts(io, [
    ['model', `${versionText(plan.model)} in slot ${plan.slot}`],
    ['dataset', `${versionText(plan.dataset)}, ${splitText(plan.split)}`],
    ['devices', plural(plan.targets.length, 'device')],
    ['to move', `${mebibytes(plan.totalBytes)} MiB at most`],
  ])
  const right = { alignment: 'right' } as const
  const targets = formatTable(
    io,
    ['DEVICE', 'CLASS', 'NOW', { name: 'MIB', ...right }, 'GIVES WAY'],
    plan.targets.map((target) => [
      target.device,
      target.hardwareClass ?? '-',
      target.online ? 'online' : 'offline',
      mebibytes(target.bytes),
      target.supersedes ?? '-',
    ]),
  )
  const known = (valueMs: number | null) => (valueMs === null ? '-' : `${ms(valueMs)} ms`)
  const classes = formatTable(
    io,
    ['CLASS', { name: 'DEVICES', ...right }, { name: 'FP32 P90', ...right }, { name: 'BEST P90', ...right }, 'BUDGET'],
    plan.classes.map((one) => [
      one.hardwareClass,
      String(one.devices),
      known(one.baselineP90BoundMs),
      known(one.bestP90BoundMs),
      one.withinBudget === null ? 'not known yet' : one.withinBudget ? 'within' : 'above',
    ]),
  )
  return [facts, targets, ...(plan.classes.length > 0 ? [classes] : [])].join('\n\n')
}

export function statusText({ status, phase, attempt }: DeploymentView): string {
  return `${phase ?? status}${attempt > 1 ? ` (attempt ${attempt})` : ''}`
}

/** `42 of 118 MiB`, `5 of 12 trials, best 7.31 ms (static int8)`. */
export function progressText({ progress, deviceOnline, status }: DeploymentView): string {
  const parts: string[] = []
  if (progress?.bytesDone !== undefined && progress.bytesTotal !== undefined)
    parts.push(`${mebibytes(progress.bytesDone)} of ${mebibytes(progress.bytesTotal)} MiB`)
  if (progress?.trialsDone !== undefined) {
    const planned = progress.trialsPlanned === undefined ? '' : ` of ${progress.trialsPlanned}`
    parts.push(`${progress.trialsDone}${planned} trials`)
  }
  if (progress?.best !== undefined) parts.push(`best ${ms(progress.best.p90BoundMs)} ms (${progress.best.label})`)
  if (!deviceOnline && (status === 'queued' || status === 'in_progress')) parts.push('offline')
  return parts.join(', ')
}

export function whyText({ reason, message }: DeploymentView): string {
  return [reason, message].filter((part) => part !== null && part !== '').join(': ')
}

export function countsText({ deployments }: RolloutSummary): string {
  const parts = Object.entries(deployments).map(([status, count]) => `${count} ${status.replace('_', ' ')}`)
  return parts.length === 0 ? 'none yet' : parts.join(', ')
}

function objectiveText({ latencyP90Ms, accuracy, memoryBytes, sizeBytes, minimize }: Objective): string {
  const parts = [`p90 within ${latencyP90Ms} ms`]
  if (accuracy?.kind === 'relative') parts.push(`accuracy at least ${accuracy.value} times fp32's`)
  if (accuracy?.kind === 'absolute') parts.push(`accuracy at least ${accuracy.value}`)
  if (memoryBytes !== undefined) parts.push(`memory within ${mebibytes(memoryBytes)} MiB`)
  if (sizeBytes !== undefined) parts.push(`size within ${mebibytes(sizeBytes)} MiB`)
  parts.push(minimize === 'none' ? 'the first that does' : `least ${minimize}`)
  return parts.join(', ')
}

function splitText({ calibration, tuning, evaluation }: RolloutPlan['split']): string {
  return `${calibration} calibration, ${tuning} tuning, ${evaluation} evaluation samples`
}
