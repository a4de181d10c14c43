import { EdgefitError } from '@edgefit/shared'
import { MINIMIZABLE, OBJECTIVE_OPTIONS } from '@edgefit/shared/model'
import { type Command, Option } from 'commander'
import { integerIn, numberIn } from './options.ts'

export function addSearchOptions(command: Command): Command {
  for (const { flags, description, max } of Object.values(OBJECTIVE_OPTIONS))
    command.addOption(new Option(flags, description).argParser(numberIn(0, max)))
  return command
    .addOption(new Option('--minimize <what>', 'what to minimize').choices(MINIMIZABLE).default('latency'))
    .addOption(
      new Option('--budget-s <s>', 'no trial starts after this many seconds')
        .argParser(integerIn(1, 604_800))
        .default(600),
    )
}

const SEARCH_OPTIONS: ReadonlySet<string> = new Set([...Object.keys(OBJECTIVE_OPTIONS), 'minimize', 'budgetS'])

/** @throws EdgefitError USAGE naming the options that one recipe, which is applied as it is, would ignore */
export function refuseSearchOptions(command: Command): void {
  const given = command.options.filter((option) => {
    const name = option.attributeName()
    return SEARCH_OPTIONS.has(name) && command.getOptionValueSource(name) === 'cli'
  })
  if (given.length === 0) return
  const names = given.map(({ long }) => long).join(', ')
  throw new EdgefitError(
    `--recipe applies one recipe and searches nothing, so ${names} would be ignored: leave ${given.length === 1 ? 'it' : 'them'} out, or leave --recipe out to search`,
    { code: 'USAGE' },
  )
}
