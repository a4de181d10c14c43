import { Command, Option } from 'commander'
import { type CliIo, type CommonFlags, connect, verb } from './io.ts'
import { integerIn } from './option-parsers.ts'
import { formatTable, print } from './output.ts'

export function eventCommands(io: CliIo): Command {
  return new Command('event').description('who did what and when').addCommand(listCommand(io))
}

function listCommand(io: CliIo): Command {
  return verb(io, 'list', 'events, newest first', ['edgefit event list --subject device:kiosk-3f2a91c0'])
    .option('--subject <subject>', 'only of device:ID, rollout:ID, deployment:ID, model:NAME@VERSION …')
    .addOption(new Option('--limit <n>', 'at most so many').argParser(integerIn(1, 1000)).default(100))
    .action(async (flags: CommonFlags & { subject?: string; limit: number }) => {
      const { subject, limit } = flags
      const result = await connect(io, flags).call(
        'event.list',
        { limit, ...(subject !== undefined && { subject }) },
        io.signal,
      )
      print(io, flags.json, result, () => {
        if (result.events.length === 0) return 'no events'
        const rows = result.events.map((event) => [
          new Date(event.atMs).toISOString(),
          event.actor,
          event.kind,
          event.subject,
          Object.keys(event.data).length === 0 ? '' : JSON.stringify(event.data),
        ])
        return formatTable(io, ['TIME', 'BY', 'WHAT', 'SUBJECT', { name: 'DATA', shrinksTo: 24 }], rows)
      })
    })
}
