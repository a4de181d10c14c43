import type { TrialLine } from './latency-report.ts'

const FATES: readonly TrialLine['fate'][] = ['won', 'open', 'lost', 'failed']

/** For reading: the chosen one, fp32, then the others from fast to slow, and last those that gave nothing. */
export function rankTrials(trials: readonly TrialLine[]): TrialLine[] {
  const rank = ({ fate, baseline }: TrialLine) => (fate === 'won' ? 0 : baseline ? 1 : 2 + FATES.indexOf(fate))
  const p90Ms = ({ latencyMs }: TrialLine) => latencyMs?.p90Bound ?? 0
  return [...trials].sort((a, b) => rank(a) - rank(b) || p90Ms(a) - p90Ms(b) || a.id - b.id)
}

/** What became of a trial in a word or two; of several losses the first. */
export function trialFate({ fate, baseline, losses }: TrialLine): string {
  if (fate === 'won') return 'chosen'
  if (fate === 'failed') return 'failed'
  if (fate === 'open') return baseline ? 'baseline' : 'not judged yet'
  return losses[0] === undefined ? 'lost' : LOSS_WORDS[losses[0].reason]
}

const LOSS_WORDS: Readonly<Record<TrialLine['losses'][number]['reason'], string>> = {
  'too-slow': 'too slow',
  'accuracy-below-floor': 'below floor',
  'accuracy-undecided': 'undecided',
  'too-much-memory': 'too much memory',
  'too-large': 'too large',
  'slower-than-baseline': 'slower than fp32',
  'not-smallest': 'runner-up',
  throttled: 'throttled',
  'failed-on-evaluation': 'failed in the end',
}
