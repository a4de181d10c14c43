import type { Measurement } from '@edgefit/shared/model'
import type { ReportBody } from '@edgefit/shared/protocol'
import { decodeHistogram } from '@edgefit/shared/stats'

/** Searches make a few hundred trials. */
const MAX_TRIAL_ID = 10_000

/**
 * Why a report that is well formed cannot be true; undefined where it can. A device is accepted, not trusted: what is
 * kept of one must not spoil the report of all.
 */
export function implausible(body: ReportBody, currentAttempt: number): string | undefined {
  if (body.kind === 'notice') return undefined
  if ('attempt' in body && body.attempt > currentAttempt) return `attempt ${body.attempt} was never asked for`
  switch (body.kind) {
    case 'status':
      return undefined
    case 'trial': {
      const { id, outcome } = body.trial
      if (id > MAX_TRIAL_ID) return `trial ${id}, at most ${MAX_TRIAL_ID} are kept`
      return outcome.kind === 'measured' ? impossible(outcome.measurement) : undefined
    }
    case 'result':
      return impossible(body.baseline) ?? (body.winner ? impossible(body.winner.measurement) : undefined)
    case 'rebenchmark':
      return impossible(body.measurement) ?? notPositive('change', body.change)
  }
}

function impossible({ latencyMs, againstBaseline, histogram, ...others }: Measurement): string | undefined {
  const { sizeBytes, peakRssBytes, loadMs, threads, noise } = others
  if (Math.min(sizeBytes, peakRssBytes, loadMs, threads, noise) < 0) return 'measurement: a figure is below zero'
  if (!isHistogram(histogram)) return 'histogram: not readable'
  return (
    notPositive('latencyMs', latencyMs) ??
    (againstBaseline && notPositive('latencyRatio', againstBaseline.latencyRatio))
  )
}

function notPositive(what: string, figures: Readonly<Record<string, number>>): string | undefined {
  const wrong = Object.entries(figures).find(([, figure]) => !(figure > 0))
  return wrong && `${what}.${wrong[0]}: ${wrong[1]} is not above zero`
}

function isHistogram(text: string): boolean {
  try {
    decodeHistogram(text)
    return true
  } catch {
    return false
  }
}
