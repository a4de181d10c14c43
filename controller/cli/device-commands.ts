import { Command, Option } from 'commander'
import type { OutputOf } from '../api/operations.ts'
import type { DeviceView } from '../fleet/device-view.ts'
import { ago, mebibytes, plural, utcMinute } from '../report/words.ts'
import { DEVICE_STATES, type DeviceState } from '../store/schema.ts'
import { type CliIo, type CommonFlags, connect, verb } from './io.ts'
import { collect, durationS, integerIn, label } from './option-parsers.ts'
import { formatFacts, formatTable, labelsText, print, versionText } from './output.ts'

export function deviceCommands(io: CliIo): Command {
  return new Command('device')
    .description('boxes of the fleet')
    .addCommand(tokenCommand(io))
    .addCommand(listCommand(io))
    .addCommand(showCommand(io))
    .addCommand(decisionCommand(io, 'accept', 'let boxes into the fleet', 'accepted'))
    .addCommand(decisionCommand(io, 'reject', 'turn boxes away', 'rejected'))
    .addCommand(labelCommand(io))
    .addCommand(decisionCommand(io, 'decommission', 'take boxes out of the fleet', 'decommissioned'))
}

function tokenCommand(io: CliIo): Command {
  return verb(io, 'token', 'make a join token: what a box needs to ask for enrolment', [
    'edgefit device token --expires 24h --uses 20',
    'edgefit-agent enrol --token "$(edgefit device token)"',
  ])
    .addOption(
      new Option('--expires <duration>', 'how long it is good for').argParser(durationS).default(86_400, '24h'),
    )
    .addOption(new Option('--uses <n>', 'for how many boxes (default: any number)').argParser(integerIn(1, 1_000_000)))
    .action(async (flags: CommonFlags & { expires: number; uses?: number }) => {
      const input = { lifeS: flags.expires, maxUses: flags.uses ?? null }
      const issued = await connect(io, flags).call('token.create', input, io.signal)
      print(io, flags.json, issued, () => issued.token)
      if (flags.json !== true && io.stdout.isTTY) io.stderr.write(`good until ${utcMinute(issued.expiresAtMs)}\n`)
    })
}

function listCommand(io: CliIo): Command {
  return verb(io, 'list', 'boxes, their state and class', [
    'edgefit device list --state pending',
    'edgefit device list --selector site=lab,arch=arm64',
  ])
    .addOption(new Option('--state <state>', 'only these').choices(DEVICE_STATES))
    .option('--selector <terms>', 'only those that match, as in site=lab,arch=arm64')
    .action(async (flags: CommonFlags & { state?: DeviceState; selector?: string }) => {
      const { state, selector } = flags
      const input = { ...(state !== undefined && { state }), ...(selector !== undefined && { selector }) }
      const result = await connect(io, flags).call('device.list', input, io.signal)
      print(io, flags.json, result, () => deviceTable(io, result.devices))
    })
}

function showCommand(io: CliIo): Command {
  return verb(io, 'show <device>', 'one box: what it is and what its slots are to run', [
    'edgefit device show kiosk-3f2a91c0',
  ]).action(async (device: string, flags: CommonFlags) => {
    const result = await connect(io, flags).call('device.show', { device }, io.signal)
    print(io, flags.json, result, () => deviceDetail(io, result))
  })
}

function decisionCommand(
  io: CliIo,
  name: 'accept' | 'reject' | 'decommission',
  description: string,
  state: DeviceState,
): Command {
  return verb(io, `${name} <device...>`, description, [`edgefit device ${name} kiosk-3f2a91c0 kiosk-77b0de12`]).action(
    async (devices: string[], flags: CommonFlags) => {
      const result = await connect(io, flags).call(`device.${name}`, { devices }, io.signal)
      print(io, flags.json, result, () => `${devices.join(', ')}: ${state}`)
    },
  )
}

function labelCommand(io: CliIo): Command {
  return verb(io, 'label <device>', 'set or remove operator labels', [
    'edgefit device label kiosk-3f2a91c0 --set site=lab --set floor=2 --remove trial',
  ])
    .addOption(new Option('--set <key=value>', 'may be repeated').argParser(label).default({}, 'none'))
    .addOption(new Option('--remove <key>', 'may be repeated').argParser(collect).default([], 'none'))
    .action(async (device: string, flags: CommonFlags & { set: Record<string, string>; remove: string[] }) => {
      const labels = { ...flags.set, ...Object.fromEntries(flags.remove.map((key) => [key, null])) }
      const result = await connect(io, flags).call('device.label', { device, labels }, io.signal)
      print(io, flags.json, result, () => `${device}: ${labelsText(result.device.labels) || 'no labels'}`)
    })
}

function deviceTable(io: CliIo, devices: readonly DeviceView[]): string {
  if (devices.length === 0) return 'no devices; "edgefit device token" makes what a box needs to enrol'
  const rows = devices.map((device) => [
    device.id,
    device.state,
    onlineText(io, device),
    device.hardwareClass ?? '-',
    device.cpuModel ?? '-',
    labelsText(device.labels) || '-',
  ])
  const headings = [
    'DEVICE',
    'STATE',
    'SEEN',
    'CLASS',
    { name: 'CPU', shrinksTo: 12 },
    { name: 'LABELS', shrinksTo: 12 },
  ]
  return `${formatTable(io, headings, rows)}\n\n${plural(devices.length, 'device')}`
}

function onlineText(io: CliIo, { online, lastSeenAtMs }: DeviceView): string {
  if (online) return 'online'
  return lastSeenAtMs === null ? 'never' : ago(lastSeenAtMs, io.now())
}

function deviceDetail(io: CliIo, { device, keyFingerprint, profile, slots }: OutputOf<'device.show'>): string {
  const facts = formatFacts(io, [
    ['device', device.id],
    ['state', device.state],
    ['key', keyFingerprint],
    ['seen', onlineText(io, device)],
    ['labels', labelsText(device.labels) || null],
    ['class', device.hardwareClass],
    [
      'cpu',
      profile && `${profile.cpu.model}, ${plural(profile.cpu.logicalCores, 'core')}, ${profile.cpu.architecture}`,
    ],
    ['features', profile?.cpu.features.join(' ')],
    ['memory', profile && `${mebibytes(profile.memoryBytes)} MiB`],
    ['limits', profile && `${profile.limits.cpus} CPUs (${profile.limits.source})`],
    ['system', profile && `${profile.os.name}, ${profile.os.kernel}, ${profile.os.libc}`],
    ['runtime', profile && `onnxruntime ${profile.runtimeVersion}`],
    ['agent', device.agentVersion],
  ])
  if (slots.length === 0) return `${facts}\n\nno slot has anything to run`
  const rows = slots.map((slot) => [slot.slot, versionText(slot.model), slot.phase ?? slot.status, slot.rollout])
  return `${facts}\n\n${formatTable(io, ['SLOT', 'MODEL', 'STATUS', 'ROLLOUT'], rows)}`
}
