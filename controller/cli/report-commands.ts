import { writeFile } from 'node:fs/promises'
import { Command } from 'commander'
import { renderLatencyHtml, renderLatencyTerminal } from '../report/index.ts'
import { type CliIo, type CommonFlags, connect, verb } from './io.ts'
import { print } from './output.ts'

interface LatencyFlags extends CommonFlags {
  readonly device?: string
  readonly model?: string
  readonly rollout?: string
  readonly class?: string
  readonly html?: string
}

export function reportCommands(io: CliIo): Command {
  return new Command('report').description('what was measured').addCommand(latencyCommand(io))
}

function latencyCommand(io: CliIo): Command {
  return verb(io, 'latency', 'latency and accuracy per device, against the objective', [
    'edgefit report latency',
    'edgefit report latency --model detector --html report.html',
  ])
    .option('--device <id>', 'only this device')
    .option('--model <name>', 'only NAME or NAME@VERSION')
    .option('--rollout <id>', 'only this rollout')
    .option('--class <id>', 'only this hardware class')
    .option('--html <file>', 'write the report as one HTML page')
    .action(async (flags: LatencyFlags) => {
      const { device, model, rollout, class: hardwareClass } = flags
      const filters = {
        ...(device !== undefined && { device }),
        ...(model !== undefined && { model }),
        ...(rollout !== undefined && { rollout }),
        ...(hardwareClass !== undefined && { hardwareClass }),
      }
      const report = await connect(io, flags).call('report.latency', filters, io.signal)
      if (flags.html !== undefined) await writeFile(flags.html, renderLatencyHtml(report))
      const columns = io.stdout.columns ?? 160
      const colour = io.stdout.isTTY === true && io.stdout.hasColors()
      if (flags.json === true || flags.html === undefined)
        print(io, flags.json, report, () => renderLatencyTerminal(report, { columns, colour }).trimEnd())
      else io.stdout.write(`written to ${flags.html}\n`)
    })
}
