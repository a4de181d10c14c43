import { columns } from './columns.ts'
import { formatMs } from './format.ts'
import type { OperatorTimes } from './operators.ts'

/** For people: what takes longest first, then how far the sum is from the whole. */
export function formatOperators({ ms, operatorCount, timedCount, operators, missing, whole }: OperatorTimes): string {
  const header = ['operator', 'weights', 'gives', 'times', 'together', 'share']
  const rows = operators.map(({ key, count, ms: own }) => {
    const { operator, weights, gives } = partsOf(key)
    return [operator, weights, gives, String(count), formatMs(own), `${((100 * own) / ms).toFixed(1)} %`]
  })
  const error = whole === null ? undefined : ms / whole.ms - 1
  return [
    ...columns([header, ...rows]),
    '',
    `${operatorCount} operators as the runtime runs them, ${timedCount} timed now, the others known from before`,
    `predicted ${formatMs(ms)}` +
      (whole === null || error === undefined
        ? ''
        : `, measured whole ${formatMs(whole.ms)}: off by ${error < 0 ? '−' : '+'}${(100 * Math.abs(error)).toFixed(1)} %`),
    ...missing.map(({ key, reason }) => `without a time: ${partsOf(key).operator}, ${reason}`),
  ].join('\n')
}

/** Of a key as `operatorKey` writes it: `Conv@13(FLOAT[1,8,28,28], const FLOAT[16,8,3,3]) -> FLOAT[1,16,28,28] {…}`. */
function partsOf(key: string): { readonly operator: string; readonly weights: string; readonly gives: string } {
  const operator = key.split(/[@(]/, 1)[0] ?? key
  const weights = /const (\w+\[[\d,]+\])/.exec(key)?.[1] ?? ''
  const written = key.slice(key.lastIndexOf(') -> ') + ') -> '.length)
  return { operator, weights, gives: written.replace(/ \{.*$/s, '') }
}
