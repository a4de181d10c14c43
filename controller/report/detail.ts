import { parseJsonWith } from '@edgefit/shared'
import { LossReason, Trial } from '@edgefit/shared/model'
import * as z from 'zod'
import type { ControllerDatabase, DeploymentRow } from '../store/schema.ts'
import { distributionOf } from './distribution.ts'
import { loadHistograms, recipeLabel } from './evidence.ts'
import type { RowDetail, TrialLine } from './latency-report.ts'
import { speedUpOf } from './rows.ts'

/** All that is known of a deployment's search on one device. */
export async function loadDetail(db: ControllerDatabase, deployment: DeploymentRow): Promise<RowDetail> {
  const [trials, baseline, variant] = await Promise.all([
    db
      .selectFrom('trials')
      .select(['trial', 'losses'])
      .where('deployment_id', '=', deployment.id)
      .where('attempt', '=', deployment.attempt)
      .orderBy('trial_id')
      .execute(),
    loadHistograms(db, deployment, ['baseline']),
    loadHistograms(db, deployment, ['winner', 'rebenchmark']),
  ])
  const what = `stored trial of ${deployment.id}`
  const reasons = deployment.verdict_reasons
  return {
    baseline: distributionOf(baseline),
    variant: distributionOf(variant),
    trials: trials.map(({ trial, losses }) =>
      trialLine(
        parseJsonWith(Trial, trial, what, 'INTERNAL'),
        parseJsonWith(z.array(LossReason), losses, what, 'INTERNAL'),
        deployment.winner_trial_id,
      ),
    ),
    reasons: reasons === null ? [] : parseJsonWith(z.array(z.string()), reasons, what, 'INTERNAL'),
  }
}

function trialLine(
  { id, recipe, outcome, durationMs }: Trial,
  losses: LossReason[],
  winnerId: number | null,
): TrialLine {
  const measured = outcome.kind === 'measured' ? outcome.measurement : undefined
  const fate = outcome.kind === 'failed' ? 'failed' : id === winnerId ? 'won' : losses.length > 0 ? 'lost' : 'open'
  return {
    id,
    label: recipeLabel(recipe),
    baseline: recipe.passes.length === 0,
    fate,
    threads: recipe.runtime.intraOpThreads,
    latencyMs: measured?.latencyMs ?? null,
    speedUp: speedUpOf(measured),
    accuracy: measured?.accuracy ?? null,
    sqnrDb: measured?.againstBaseline?.sqnrDb ?? null,
    sizeBytes: measured?.sizeBytes ?? null,
    peakRssBytes: measured?.peakRssBytes ?? null,
    losses,
    failure: outcome.kind === 'failed' ? { reason: outcome.reason, message: outcome.message } : null,
    durationMs,
  }
}
