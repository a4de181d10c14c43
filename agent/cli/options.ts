import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'

/** What the operator of a box may cap; shared by every verb that measures. */
export interface LimitOptions {
  readonly cpus?: string
  readonly maxThreads?: number
  readonly memoryLimitMib?: number
  readonly lock: string
}

export function addLimitOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--cpus <list>', 'CPUs to measure on, as taskset takes them, for example 0-3 or 2,3').argParser(
        cpuList,
      ),
    )
    .addOption(new Option('--max-threads <n>', 'most threads a model may use').argParser(integerIn(1, 256)))
    .addOption(
      new Option('--memory-limit-mib <n>', 'end a trial that needs more memory than this').argParser(
        integerIn(64, 1_048_576),
      ),
    )
    .addOption(
      new Option('--lock <file>', 'lock shared by all agents of this host: one measures at a time').default(
        join(tmpdir(), 'edgefit-measuring.lock'),
      ),
    )
}

/** The split of a dataset, and so what a run gives, goes by it. */
export function seedOption(): Option {
  return new Option('--seed <n>', 'seed of the dataset split').argParser(integerIn(0, 2 ** 31 - 1)).default(0)
}

export function integerIn(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (Number.isInteger(value) && value >= min && value <= max) return value
    throw new InvalidArgumentError(`"${text}" is not a whole number from ${min} to ${max}.`)
  }
}

export function numberIn(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() !== '' && value > min && value <= max) return value
    throw new InvalidArgumentError(`"${text}" is not a number above ${min} and at most ${max}.`)
  }
}

export function finiteNumber(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value)) return value
  throw new InvalidArgumentError(`"${text}" is not a number.`)
}

export function collectLabel(text: string, labels: Readonly<Record<string, string>>): Record<string, string> {
  const [, key, value] = /^([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})=(.{1,128})$/.exec(text) ?? []
  if (key === undefined || value === undefined)
    throw new InvalidArgumentError(`"${text}" is not KEY=VALUE, for example site=lab.`)
  return { ...labels, [key]: value }
}

function cpuList(text: string): string {
  const count = cpus().length
  const ids = text.split(',').flatMap((part) => part.split('-').map(Number))
  if (/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text) && ids.every((id) => id < count)) return text
  throw new InvalidArgumentError(`"${text}" is not a list of CPUs of this box, which has 0 to ${count - 1}.`)
}
