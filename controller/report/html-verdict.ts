import { type Html, html } from './html.ts'
import { type LatencyReport, VERDICTS, type Verdict } from './latency-report.ts'
import { VERDICT_SIGNS, VERDICT_WORDS } from './words.ts'

export function verdictBadge(verdict: Verdict, count?: number): Html {
  return html`<span class="verdict ${verdict}"><span aria-hidden="true">${VERDICT_SIGNS[verdict]}</span>${count === undefined ? '' : `${count} `}${VERDICT_WORDS[verdict]}</span>`
}

/** How many slots have which verdict: a bar of their shares and the counts in words. */
export function verdictTally({ verdicts }: LatencyReport): Html | undefined {
  const counts = VERDICTS.flatMap((verdict) => {
    const count = verdicts[verdict] ?? 0
    return count === 0 ? [] : [{ verdict, count }]
  })
  if (counts.length === 0) return undefined
  return html`<div class="tally">
    <div class="bar" aria-hidden="true">${counts.map(({ verdict, count }) => html`<i class="${verdict}" style="flex:${count}"></i>`)}</div>
    <ul>${counts.map(({ verdict, count }) => html`<li class="${verdict}"><b>${count}</b> <span aria-hidden="true">${VERDICT_SIGNS[verdict]}</span> ${VERDICT_WORDS[verdict]}</li>`)}</ul>
  </div>`
}
