import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { EdgefitError, parseWith } from '@edgefit/shared'
import { Name } from '@edgefit/shared/model'
import { Command, Option } from 'commander'
import type { BrokerSettings } from '../broker-options.ts'
import type { Controller } from '../controller.ts'
import { utcMinute } from '../report/words.ts'
import { type CliIo, type CommonFlags, connect, verb } from './io.ts'
import { integerIn } from './option-parsers.ts'
import { formatFacts, print } from './output.ts'

const PORT = integerIn(0, 65_535)

export function controllerCommands(io: CliIo): Command {
  return new Command('controller')
    .description('the controller itself')
    .addCommand(startCommand(io))
    .addCommand(infoCommand(io))
}

interface StartFlags extends CommonFlags {
  readonly fleet: string
  readonly host: string
  readonly mqttPort?: number
  readonly mqttsPort?: number
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly ca?: string
  readonly broker?: string
  readonly advertise?: string
  readonly logLevel: string
}

function startCommand(io: CliIo): Command {
  return verb(io, 'start', 'run the controller until SIGTERM or Ctrl-C; it goes on where it stopped', [
    'edgefit controller start --data-dir /var/lib/edgefit',
    'edgefit controller start --mqtts-port 8883',
    'edgefit controller start --mqtts-port 8883 --tls-cert cert.pem --tls-key key.pem --advertise mqtts://fleet.example:8883',
    'edgefit controller start --broker mqtts://broker.example:8883 --tls-cert client.pem --tls-key client-key.pem',
  ])
    .option('--fleet <name>', 'name of the fleet', 'default')
    .option('--host <address>', 'address the embedded broker listens on', '0.0.0.0')
    .addOption(
      new Option('--mqtt-port <port>', 'plain MQTT (default: 1883, or none with --mqtts-port); 0 is any').argParser(
        PORT,
      ),
    )
    .addOption(new Option('--mqtts-port <port>', 'MQTT over TLS; 0 is any').argParser(PORT))
    .option(
      '--tls-cert <file>',
      'PEM: certificate of the embedded broker (default: one of its own, which join tokens vouch for), or of this client with --broker',
    )
    .option('--tls-key <file>', 'PEM: its key; SIGHUP has the embedded broker read both again')
    .option('--ca <file>', "PEM: CA of the broker's certificate, where systems do not know it")
    .option('--broker <url>', 'use this broker instead of the embedded one')
    .option('--advertise <url>', 'address of the broker for devices (default: told by host and port)')
    .addOption(
      new Option('--log-level <level>', 'how much to log').choices(['debug', 'info', 'warn', 'error']).default('info'),
    )
    .action(async (flags: StartFlags) => {
      // Loaded here alone: the other verbs start often and need none of it.
      const [{ destination, pino }, { startController }] = await Promise.all([
        import('pino'),
        import('../controller.ts'),
      ])
      const log = pino({ level: flags.logLevel }, destination(2))
      const controller = await startController({
        dataDir: flags.dataDir,
        fleet: parseWith(Name, flags.fleet, '--fleet', 'USAGE'),
        broker: await brokerSettings(flags),
        ...(flags.advertise !== undefined && { advertise: flags.advertise }),
        ...(flags.ca !== undefined && { ca: await readPem(flags.ca, '--ca') }),
        log,
        now: io.now,
      })
      const { brokerUrl, socketPath, keyFingerprint } = controller
      print(io, flags.json, { brokerUrl, socketPath, keyFingerprint }, () => `ready: devices connect to ${brokerUrl}`)
      io.onReload(() => {
        renewCertificate(controller, flags).then(
          () => log.info('the certificate was read again'),
          (error: unknown) => log.error({ err: error }, 'the certificate could not be read again; the old one stays'),
        )
      })
      if (!io.signal.aborted) await once(io.signal, 'abort')
      log.info('stopping')
      await controller.stop()
    })
}

function infoCommand(io: CliIo): Command {
  return verb(io, 'info', 'whether a controller runs here, and where devices connect', [
    'edgefit controller info --data-dir /var/lib/edgefit',
  ]).action(async (flags: CommonFlags) => {
    const info = await connect(io, flags).call('controller.info', {}, io.signal)
    print(io, flags.json, info, () =>
      formatFacts(io, [
        ['version', info.version],
        ['fleet', info.fleet],
        ['broker', `${info.brokerUrl} (${info.brokerConnected ? 'connected' : 'not connected'})`],
        ['key', info.keyFingerprint],
        ['since', utcMinute(info.startedAtMs)],
      ]),
    )
  })
}

async function renewCertificate(controller: Controller, flags: StartFlags): Promise<void> {
  const settings = await brokerSettings(flags)
  if (settings.kind === 'embedded' && settings.tls !== undefined && 'cert' in settings.tls)
    controller.renewCertificate(settings.tls)
}

/** @throws EdgefitError USAGE for options that do not go together */
async function brokerSettings(flags: StartFlags): Promise<BrokerSettings> {
  const { broker: url, host, mqttPort, mqttsPort, tlsCert, tlsKey } = flags
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new EdgefitError('--tls-cert and --tls-key go together: give both or neither', { code: 'USAGE' })
  const certificate =
    tlsCert === undefined || tlsKey === undefined
      ? undefined
      : { cert: await readPem(tlsCert, '--tls-cert'), key: await readPem(tlsKey, '--tls-key') }
  if (url !== undefined) {
    if (mqttPort !== undefined || mqttsPort !== undefined)
      throw new EdgefitError('--mqtt-port and --mqtts-port are of the embedded broker: leave them out with --broker', {
        code: 'USAGE',
      })
    return { kind: 'external', url, ...(certificate !== undefined && { certificate }) }
  }
  if (mqttsPort === undefined) {
    if (certificate !== undefined)
      throw new EdgefitError('--tls-cert needs --mqtts-port: add it, as in --mqtts-port 8883', { code: 'USAGE' })
    return { kind: 'embedded', host, mqttPort: mqttPort ?? 1883 }
  }
  const tls = { port: mqttsPort, ...certificate }
  return { kind: 'embedded', host, tls, ...(mqttPort !== undefined && { mqttPort }) }
}

async function readPem(path: string, option: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new EdgefitError(`${option}: cannot read ${path}; check the path and its permissions`, {
      code: 'USAGE',
      cause,
    })
  })
  if (text.includes('-----BEGIN ')) return text
  throw new EdgefitError(`${option}: ${path} is not a PEM file`, { code: 'USAGE' })
}
