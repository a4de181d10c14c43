import type { DeploymentGoal } from '@edgefit/shared/protocol'
import cron from 'node-cron'

const LONGEST_WINDOW_MIN = 7 * 24 * 60

/** Why this agent will not work on a goal, whoever signed it; undefined for a good one. */
export function goalFault({ model, schedule }: DeploymentGoal): string | undefined {
  if (model.task.kind === 'custom') {
    return 'model.task: "custom" runs a module of code, and an agent takes no code over the air: use "edgefit-agent optimize" on the box, or another task'
  }
  const { rebenchmarkCron, maintenance } = schedule
  for (const [field, expression] of [
    ['rebenchmarkCron', rebenchmarkCron],
    ['maintenance.cron', maintenance?.cron ?? null],
  ] as const) {
    if (expression !== null && !isCron(expression)) {
      return `schedule.${field}: "${expression}" is not a cron expression of five fields, as in "0 3 * * *"`
    }
  }
  if (maintenance !== null && maintenance.durationMin > LONGEST_WINDOW_MIN) {
    return `schedule.maintenance.durationMin: ${maintenance.durationMin} is more than a week (${LONGEST_WINDOW_MIN}): leave the window out`
  }
  return undefined
}

/** Five fields; with a sixth, seconds, a window would never open. */
function isCron(expression: string): boolean {
  return expression.trim().split(/\s+/).length === 5 && cron.validate(expression)
}
