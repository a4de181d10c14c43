import type { Verdict } from './latency-report.ts'

/** Colours of the 16 that every terminal has and that people can set to their taste. */
const CODES = {
  bold: '1',
  dim: '2',
  red: '31',
  green: '32',
  yellow: '33',
  blue: '34',
  magenta: '35',
} as const

export type Ink = keyof typeof CODES

/** Wraps text in escape codes; the identity where colours are not wanted. */
export type Paint = (ink: Ink, text: string) => string

const ESCAPE = '\u001b'

export function painter(colour: boolean): Paint {
  return (ink, text) => (colour && text !== '' ? `${ESCAPE}[${CODES[ink]}m${text}${ESCAPE}[0m` : text)
}

export const VERDICT_INKS: Readonly<Record<Verdict, Ink>> = {
  failed: 'red',
  missed: 'yellow',
  infeasible: 'magenta',
  undecided: 'magenta',
  pending: 'blue',
  met: 'green',
  cancelled: 'dim',
  unassigned: 'dim',
}
