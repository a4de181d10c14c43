import { Command } from 'commander'
import type { ControllerClient } from '../api/client.ts'
import { type CliIo, type CommonFlags, connect, verb } from './io.ts'
import { print } from './output.ts'
import { addRolloutOptions, type RolloutFlags, rolloutInput } from './rollout-options.ts'
import { planText, rolloutDetail, rolloutTable } from './rollout-text.ts'
import { watchRollout } from './rollout-watch.ts'

export function rolloutCommands(io: CliIo): Command {
  return new Command('rollout')
    .description('put a model on devices, fitted to each')
    .addCommand(planCommand(io))
    .addCommand(createCommand(io))
    .addCommand(changeCommand(io, 'start', 'start a draft on the devices that match now'))
    .addCommand(watchCommand(io))
    .addCommand(changeCommand(io, 'retry', 'another attempt for what failed or timed out'))
    .addCommand(changeCommand(io, 'abort', 'cancel what is open; slots return to what they ran before'))
    .addCommand(listCommand(io))
    .addCommand(showCommand(io))
}

const EXAMPLE_GOAL =
  '--model detector --data road-scenes --selector site=lab,arch=arm64 --latency-p90-ms 20 --accuracy-floor 0.99'

function planCommand(io: CliIo): Command {
  const command = verb(
    io,
    'plan',
    'say what a rollout would do: devices, bytes to move, what their classes have shown',
    [`edgefit rollout plan ${EXAMPLE_GOAL}`],
  )
  return addRolloutOptions(command).action(async (flags: CommonFlags & RolloutFlags) => {
    const result = await connect(io, flags).call('rollout.plan', rolloutInput(flags), io.signal)
    print(io, flags.json, result, () => planText(io, result.plan))
  })
}

function createCommand(io: CliIo): Command {
  const command = verb(io, 'create', 'make a rollout and start it', [
    `edgefit rollout create ${EXAMPLE_GOAL} --watch`,
    `edgefit rollout create --draft ${EXAMPLE_GOAL}`,
  ])
  return addRolloutOptions(command)
    .option('--start', 'start at once (this is the default)')
    .option('--draft', 'do not start yet')
    .option('--watch', 'follow it until it is over')
    .action(
      async (
        flags: CommonFlags & RolloutFlags & { start?: boolean; draft?: boolean; watch?: boolean },
        self: Command,
      ) => {
        const draft = flags.draft === true
        if (draft && (flags.start === true || flags.watch === true))
          self.error('error: --draft does not go with --start or --watch: leave one out', { exitCode: 2 })
        const client = connect(io, flags)
        const result = await client.call('rollout.create', { ...rolloutInput(flags), start: !draft }, io.signal)
        if (flags.watch === true) return await follow(io, client, result.rollout.id, flags)
        print(io, flags.json, result, () => rolloutDetail(io, result.rollout))
      },
    )
}

function watchCommand(io: CliIo): Command {
  return verb(io, 'watch <rollout>', 'follow a rollout until it is over; exits with 0 if every device succeeded', [
    'edgefit rollout watch r-3f2a91c0d4',
  ]).action((id: string, flags: CommonFlags) => follow(io, connect(io, flags), id, flags))
}

async function follow(io: CliIo, client: ControllerClient, id: string, flags: CommonFlags): Promise<void> {
  const rollout = await watchRollout(io, client, id, flags.json === true)
  const good = rollout.state === 'finished' && rollout.targets.every(({ status }) => status === 'succeeded')
  if (!good) io.setExitCode(1)
  print(io, flags.json, { rollout }, () => rolloutDetail(io, rollout))
}

function changeCommand(io: CliIo, name: 'start' | 'abort' | 'retry', description: string): Command {
  return verb(io, `${name} <rollout>`, description, [`edgefit rollout ${name} r-3f2a91c0d4`]).action(
    async (id: string, flags: CommonFlags) => {
      const result = await connect(io, flags).call(`rollout.${name}`, { rollout: id }, io.signal)
      print(io, flags.json, result, () => rolloutDetail(io, result.rollout))
    },
  )
}

function listCommand(io: CliIo): Command {
  return verb(io, 'list', 'rollouts, newest first', ['edgefit rollout list']).action(async (flags: CommonFlags) => {
    const result = await connect(io, flags).call('rollout.list', {}, io.signal)
    print(io, flags.json, result, () => rolloutTable(io, result.rollouts))
  })
}

function showCommand(io: CliIo): Command {
  return verb(io, 'show <rollout>', 'one rollout and where each device stands', [
    'edgefit rollout show r-3f2a91c0d4',
  ]).action(async (id: string, flags: CommonFlags) => {
    const result = await connect(io, flags).call('rollout.show', { rollout: id }, io.signal)
    print(io, flags.json, result, () => rolloutDetail(io, result.rollout))
  })
}
