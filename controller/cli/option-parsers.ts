import { InvalidArgumentError } from 'commander'
import { isCron } from '../rollout/rollout-input.ts'

export function integerIn(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= min && value <= max) return value
    throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`)
  }
}

/** Above `min`, at most `max`. */
export function numberAbove(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() !== '' && value > min && value <= max) return value
    throw new InvalidArgumentError(`Give a number above ${min} and at most ${max}.`)
  }
}

/** Any finite numbers, joined by commas. */
export function numberList(text: string): number[] {
  const values = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)))
  if (values.every(Number.isFinite)) return values
  throw new InvalidArgumentError('Give a number, or one a channel as in 0.485,0.456,0.406.')
}

export function finite(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value)) return value
  throw new InvalidArgumentError('Give a number.')
}

const UNIT_S = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/** `90s`, `30m`, `24h`, `7d`, in seconds. */
export function durationS(text: string): number {
  const [, amount, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  if (amount !== undefined && (unit === 's' || unit === 'm' || unit === 'h' || unit === 'd'))
    return Number(amount) * UNIT_S[unit]
  throw new InvalidArgumentError('Give a number and a unit, as in 90s, 30m, 24h or 7d.')
}

/** Collects a repeatable `--label key=value`. */
export function label(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [, key, value] = /^([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})=(.{1,128})$/.exec(text) ?? []
  if (key === undefined || value === undefined)
    throw new InvalidArgumentError(`"${text}" is not KEY=VALUE, as in site=lab.`)
  return { ...before, [key]: value }
}

export function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text]
}

export function cronExpression(text: string): string {
  if (isCron(text)) return text
  throw new InvalidArgumentError('Give five fields (minute hour day month weekday), as in "0 3 * * *".')
}

/** `calibration,tuning,evaluation`. */
export function splitCounts(text: string): { calibration: number; tuning: number; evaluation: number } {
  const [calibration, tuning, evaluation, ...more] = text
    .split(',')
    .map((part) => (/^\d+$/.test(part) ? Number(part) : 0))
  if (!calibration || !tuning || !evaluation || more.length > 0)
    throw new InvalidArgumentError(
      'Give three sample counts above 0: CALIBRATION,TUNING,EVALUATION, as in 512,1500,3000.',
    )
  return { calibration, tuning, evaluation }
}
