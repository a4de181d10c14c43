import { type Html, html } from './html.ts'
import { type LatencyAxis, latencyAxis } from './latency-axis.ts'

/**
 * Horizontal positions are percentages of the chart's width and vertical ones pixels, so that charts fill any page
 * without scaling their text.
 */
export interface ChartAxis extends LatencyAxis {
  /** `37.5%` */
  at(latencyMs: number): string
}

/** `marginPercent` is kept free on the left, for labels of the other axis. */
export function chartAxis(latenciesMs: readonly number[], labels: number, marginPercent = 0): ChartAxis {
  const axis = latencyAxis(latenciesMs, [marginPercent, 100], labels)
  return { ...axis, at: (latencyMs) => `${clampPercent(axis.scale(latencyMs)).toFixed(2)}%` }
}

/** Tick labels under a chart, with grid lines up to `top` where there is one. */
export function axisTicks(axis: ChartAxis, y: number, top: number): Html {
  return html`<g>${axis.ticksMs.map(
    (tick, index) => html`<line class="grid" x1="${axis.at(tick)}" x2="${axis.at(tick)}" y1="${top}" y2="${y}"/><text
      x="${axis.at(tick)}" y="${y + 15}" text-anchor="middle">${tick}${index === axis.ticksMs.length - 1 ? ' ms' : ''}</text>`,
  )}</g>`
}

/** A label beside a vertical line, on the side where there is room. */
export function lineLabel(axis: ChartAxis, latencyMs: number, y: number, text: string): Html {
  const right = axis.scale(latencyMs) < 60
  return html`<text class="limit" x="${axis.at(latencyMs)}" dx="${right ? 6 : -6}" y="${y}" text-anchor="${right ? 'start' : 'end'}">${text}</text>`
}

function clampPercent(value: number): number {
  return Math.min(100, Math.max(0, value))
}
