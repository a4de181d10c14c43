import { scaleLinear } from 'd3-scale'
import { curveStepAfter, line } from 'd3-shape'
import { axisTicks, chartAxis, lineLabel } from './chart-axis.ts'
import { type Html, html } from './html.ts'
import type { TrialLine } from './latency-report.ts'
import { trialFate } from './trial-order.ts'
import { accuracyFigure, ms, msBeside } from './words.ts'

export interface TrialsChart {
  /** Names the chart's parts; once per page. */
  readonly id: string
  readonly title: string
  readonly trials: readonly TrialLine[]
  readonly budgetMs: number
  /** In units of the metric. */
  readonly floor: number | null
}

interface Point {
  readonly trial: TrialLine
  readonly p90Ms: number
  readonly accuracy: NonNullable<TrialLine['accuracy']>
  readonly words: string
}

/** `x` in percent, `y` in pixels. `below`: less accurate than what the chart shows. */
interface PlacedPoint extends Point {
  readonly x: number
  readonly y: number
  readonly below: boolean
}

const [TOP, HEIGHT] = [18, 168]
const BOTTOM = TOP + HEIGHT
const Y_LABELS_PERCENT = 12
// Of a chart as narrow as on a telephone.
const [LABEL_GAP_PERCENT, LETTER_PERCENT] = [4, 2.1]
/** Points further below the floor than this many times the room above it are drawn at the lower edge. */
const ROOM_BELOW = 3

/** Accuracy against latency of every measured trial; up and to the left is better. */
export function trialsChart({ id, title, trials, budgetMs, floor }: TrialsChart): Html {
  const points = trials.flatMap((trial) => pointOf(trial, budgetMs))
  const [first] = points
  if (first === undefined) return html`<p class="quiet">No trial has an accuracy yet.</p>`
  const axis = chartAxis([...points.map(({ p90Ms }) => p90Ms), budgetMs], 6, Y_LABELS_PERCENT)
  const range = accuracyRange(
    points.map(({ accuracy }) => accuracy.value),
    floor,
  )
  const scale = scaleLinear(range, [BOTTOM, TOP])
  const y = (value: number) => Number(Math.min(BOTTOM, scale(value)).toFixed(1))
  const placed = points.map((point): PlacedPoint => {
    const { value } = point.accuracy
    return { ...point, x: Number(axis.scale(point.p90Ms).toFixed(2)), y: y(value), below: value < range[0] }
  })
  const ticks = scale.ticks(4).map((tick) => ({ y: y(tick), text: accuracyTick(tick, first) }))
  const budgetX = axis.at(budgetMs)
  return html`<svg height="${BOTTOM + 22}" role="img" aria-labelledby="${id}t ${id}d">
    <title id="${id}t">${title}</title>
    <desc id="${id}d">${points.map(({ words }) => words).join('; ')}</desc>
    <rect class="feasible" x="0" y="${TOP}" width="${budgetX}" height="${Math.max(0, y(floor ?? range[0]) - TOP)}"/>
    ${axisTicks(axis, BOTTOM, TOP)}
    ${ticks.map((tick) => html`<line class="grid" x1="0" x2="100%" y1="${tick.y}" y2="${tick.y}"/>`)}
    <line class="limit" x1="${budgetX}" x2="${budgetX}" y1="${TOP - 4}" y2="${BOTTOM}"/>
    ${lineLabel(axis, budgetMs, TOP - 7, `budget ${ms(budgetMs)} ms`)}
    ${floor === null ? undefined : floorLine(y(floor), accuracyFigure(floor, first.accuracy))}
    ${ticks.map((tick) => html`<text x="0" y="${tick.y - 4}">${tick.text}</text>`)}
    ${frontLine(placed)}
    ${pointLabels(placed)}
    ${placed.map(pointMark)}
  </svg>`
}

function pointOf(trial: TrialLine, budgetMs: number): Point[] {
  const { id, label, latencyMs, accuracy } = trial
  if (latencyMs === null || accuracy === null) return []
  const interval = `95 %: ${accuracyFigure(accuracy.low, accuracy)} to ${accuracyFigure(accuracy.high, accuracy)}`
  const figures = `p90 at most ${msBeside(latencyMs.p90Bound, budgetMs)} ms, ${accuracyFigure(accuracy.value, accuracy)} (${interval})`
  return [{ trial, p90Ms: latencyMs.p90Bound, accuracy, words: `#${id} ${label}: ${figures}; ${trialFate(trial)}` }]
}

/** From the lowest to the highest accuracy, unless the lowest would squeeze the part where choices are made. */
function accuracyRange(accuracies: readonly number[], floor: number | null): [number, number] {
  const top = accuracies.reduce((most, value) => Math.max(most, value), floor ?? 0)
  const lowest = accuracies.reduce((least, value) => Math.min(least, value), floor ?? 1)
  const room = floor === null || floor >= top ? undefined : top - floor
  const bottom = room === undefined ? lowest : Math.max(lowest, top - room * (1 + ROOM_BELOW))
  const air = Math.max((top - bottom) * 0.12, 0.0005)
  return [bottom - air, top + air]
}

function accuracyTick(tick: number, { accuracy: { metric } }: Point): string {
  return metric === 'auc' ? String(Number(tick.toFixed(4))) : `${Number((tick * 100).toFixed(2))} %`
}

function floorLine(y: number, figure: string): Html {
  return html`<line class="limit floor" x1="0" x2="100%" y1="${y}" y2="${y}"/>
    <text class="limit" x="100%" y="${y + 14}" text-anchor="end">floor ${figure}</text>`
}

function pointMark({ trial, x, y, below, words }: PlacedPoint): Html {
  const { fate, baseline, losses } = trial
  const feasible = losses.every(({ reason }) => reason === 'not-smallest')
  const kind = fate === 'won' ? 'won' : baseline ? 'baseline' : feasible ? 'holds' : 'breaks'
  const shape = below
    ? html`<path d="M-5 -10h10l-5 9z"/>`
    : baseline
      ? html`<rect x="-5" y="-5" width="10" height="10"/>`
      : html`<circle r="5"/>`
  const ring = fate === 'won' ? html`<circle class="ring" r="9"/>` : undefined
  return html`<svg class="trial ${kind}" x="${x}%" y="${y}"><title>${words}</title>${shape}${ring}</svg>`
}

/** Numbers as in the table. Left out where they would cover one another on a narrow page; the table has them all. */
function pointLabels(points: readonly PlacedPoint[]): Html[] {
  const weight = ({ trial }: Point) => (trial.fate === 'won' ? 0 : trial.baseline ? 1 : 2)
  const taken: { readonly from: number; readonly to: number; readonly y: number }[] = []
  return [...points]
    .sort((a, b) => weight(a) - weight(b))
    .flatMap(({ trial, x, y }) => {
      const won = trial.fate === 'won'
      const text = won ? `#${trial.id} chosen` : trial.baseline ? 'fp32' : `#${trial.id}`
      const leftwards = x > 85
      const reach = LABEL_GAP_PERCENT + text.length * LETTER_PERCENT
      const label = { from: leftwards ? x - reach : x, to: leftwards ? x : x + reach, y }
      if (taken.some((other) => Math.abs(other.y - y) < 13 && other.from < label.to && label.from < other.to)) return []
      taken.push(label)
      const dx = (won ? 13 : 9) * (leftwards ? -1 : 1)
      return html`<text class="${won ? 'name' : ''}" x="${x}%" dx="${dx}" y="${y + 4}" text-anchor="${leftwards ? 'end' : 'start'}">${text}</text>`
    })
}

/** Steps through the trials that no other beats in both. */
function frontLine(points: readonly PlacedPoint[]): Html {
  const front: PlacedPoint[] = []
  for (const point of [...points].sort((a, b) => a.p90Ms - b.p90Ms || b.accuracy.value - a.accuracy.value)) {
    const best = front.at(-1)
    if (best === undefined || point.accuracy.value > best.accuracy.value) front.push(point)
  }
  const path = line<PlacedPoint>()
    .x(({ x }) => x * 10)
    .y(({ y }) => y)
    .curve(curveStepAfter)
    .digits(1)
  return html`<svg width="100%" height="${BOTTOM}" viewBox="0 0 1000 ${BOTTOM}" preserveAspectRatio="none"><path class="front" d="${path(front) ?? ''}"/></svg>`
}
