import { hostname } from 'node:os'
import { Command, Option } from 'commander'
import { pino } from 'pino'
import { startAgent } from '../agent.ts'
import { type EnrolResult, enrol } from '../link/enrol.ts'
import { bootId } from '../profile/boot-id.ts'
import { DEFAULT_LIMITS } from '../search/child-lab.ts'
import { AGENT_VERSION } from '../version.ts'
import { openBox } from './box.ts'
import { type CliIo, printResult } from './io.ts'
import { addLimitOptions, collectLabel, type LimitOptions } from './options.ts'
import { addSignInOptions, type SignInFlags, signInOf } from './sign-in-options.ts'
import { formatStatus, readStatus, rollBackSlot } from './status.ts'

const DEFAULT_STATE = '/var/lib/edgefit-agent'

/** The verbs of a box in a fleet. */
export function fleetCommands(io: CliIo): readonly Command[] {
  return [enrolCommand(io), runCommand(io), statusCommand(io), rollbackCommand(io)]
}

function enrolCommand(io: CliIo): Command {
  const command = new Command('enrol')
    .description('make a key on this box and ask the controller to accept it')
    .requiredOption('--token <token>', 'join token from "edgefit device token"')
    .option('--state <dir>', 'state folder', DEFAULT_STATE)
    .option('--name <name>', 'what to call this box (default: its host name)')
    .option('--label <key=value>', 'label for selectors, may be repeated', collectLabel, {})
    .option('--wait', 'wait until an operator has accepted or rejected the box')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      '\nExample:\n  edgefit-agent enrol --token edgefit-join-… --name kiosk --label site=lab --wait' +
        '\n  edgefit-agent enrol --token edgefit-join-… --broker-cert kiosk.pem --broker-key kiosk-key.pem',
    )
    .action(
      async (
        flags: {
          token: string
          state: string
          name?: string
          label: Record<string, string>
          wait?: boolean
          json?: boolean
        } & SignInFlags,
      ) => {
        const signIn = await signInOf(flags)
        const options = {
          token: flags.token,
          stateDir: flags.state,
          labels: flags.label,
          wait: flags.wait ?? false,
          agentVersion: AGENT_VERSION,
          now: io.now,
          random: io.random,
          deviceName: flags.name ?? hostname(),
          log: pino({ level: 'warn', base: null }, pino.destination(2)),
          ...(signIn !== undefined && { signIn }),
          ...(!flags.json && { onPending: (result: EnrolResult) => io.stderr.write(`${pendingText(result)}\n`) }),
        }
        const result = await enrol(options, io.signal)
        if (result.state === 'rejected' || result.state === 'decommissioned') process.exitCode = 1
        printResult(io, flags.json ?? false, result, () =>
          result.state === 'pending' ? pendingText(result) : `${result.deviceId} is ${result.state}`,
        )
      },
    )
  return addSignInOptions(command)
}

function runCommand(io: CliIo): Command {
  const command = new Command('run')
    .description('run the agent: connect, take goals, fit, measure and activate models')
    .option('--state <dir>', 'state folder', DEFAULT_STATE)
    .option(
      '--on-activate <command>',
      'shell command that tells the application of a new model (EDGEFIT_SLOT, EDGEFIT_MODEL, EDGEFIT_RUNTIME)',
    )
    .addOption(
      new Option('--log-level <level>', 'least important lines to log')
        .choices(['trace', 'debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .addHelpText(
      'after',
      '\nExample:\n  edgefit-agent run --state /var/lib/edgefit-agent --on-activate "systemctl reload my-app"',
    )
    .action(async (flags: LimitOptions & { state: string; onActivate?: string; logLevel: string }) => {
      const box = await openBox(flags)
      const agent = await startAgent({
        stateDir: flags.state,
        runner: box.runner,
        profileKey: JSON.stringify([
          await bootId(),
          AGENT_VERSION,
          process.version,
          flags.cpus,
          flags.maxThreads,
          flags.memoryLimitMib,
        ]),
        measureProfile: box.profile,
        limits: DEFAULT_LIMITS,
        onActivate: flags.onActivate,
        now: io.now,
        monotonicNow: io.monotonicNow,
        random: io.random,
        log: pino({ level: flags.logLevel, base: null }),
      })
      await new Promise<void>((resolve) => {
        if (io.signal.aborted) resolve()
        io.signal.addEventListener('abort', () => resolve(), { once: true })
      })
      await agent.stop()
    })
  return addLimitOptions(command)
}

function statusCommand(io: CliIo): Command {
  return new Command('status')
    .description('say what this box serves and what it is to serve')
    .option('--state <dir>', 'state folder', DEFAULT_STATE)
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  edgefit-agent status')
    .action(async (flags: { state: string; json?: boolean }) => {
      const status = await readStatus(flags.state, io.now)
      printResult(io, flags.json ?? false, status, () => formatStatus(status))
    })
}

function rollbackCommand(io: CliIo): Command {
  return new Command('rollback')
    .description('return a slot to the model it served before')
    .option('--state <dir>', 'state folder', DEFAULT_STATE)
    .option('--slot <name>', 'slot', 'default')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  edgefit-agent rollback --slot default')
    .action(async (flags: { state: string; slot: string; json?: boolean }) => {
      await rollBackSlot(flags.state, flags.slot, io.now)
      printResult(
        io,
        flags.json ?? false,
        { slot: flags.slot, rolledBack: true },
        () => `slot ${flags.slot} serves its previous model again`,
      )
    })
}

function pendingText({ deviceId, fingerprint }: EnrolResult): string {
  return `${deviceId} is pending: compare the key ${fingerprint.slice(0, 16)} and accept it with "edgefit device accept ${deviceId}"`
}
