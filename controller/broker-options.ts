import { hostname, networkInterfaces } from 'node:os'
import { EdgefitError } from '@edgefit/shared'

/** The broker in the controller's process. */
export interface EmbeddedBrokerSettings {
  readonly kind: 'embedded'
  readonly host: string
  /** Plain MQTT; 0 is any free port. At least one of the two. */
  readonly mqttPort?: number
  /** Without a certificate the controller makes one of its own, whose CA goes into the join tokens. */
  readonly tls?: { readonly port: number } | { readonly port: number; readonly cert: string; readonly key: string }
}

/** A broker that runs elsewhere. */
export interface ExternalBrokerSettings {
  readonly kind: 'external'
  /** `mqtt://[user:password@]host:port` or `mqtts://…` */
  readonly url: string
  readonly certificate?: { readonly cert: string; readonly key: string }
}

export type BrokerSettings = EmbeddedBrokerSettings | ExternalBrokerSettings

/**
 * The broker's address as devices are to use it: what the operator says, else a guess from the ports and the first
 * address of this host. Never carries a password.
 *
 * @throws EdgefitError CONFIG_INVALID for an address that is none
 */
export function advertisedUrl(
  settings: BrokerSettings,
  advertise: string | undefined,
  ports: { readonly tcp: number | undefined; readonly tls: number | undefined },
): string {
  const advertised = advertise === undefined ? undefined : withoutCredentials(advertise, '--advertise')
  if (settings.kind === 'external') {
    const own = withoutCredentials(settings.url, '--broker')
    return advertised ?? own
  }
  if (advertised !== undefined) return advertised
  const local = settings.host === '0.0.0.0' || settings.host === '::'
  const host = local ? firstAddress() : settings.host
  const literal = host.includes(':') ? `[${host}]` : host
  return ports.tls === undefined ? `mqtt://${literal}:${ports.tcp ?? 1883}` : `mqtts://${literal}:${ports.tls}`
}

/**
 * All names and addresses under which devices may reach the embedded broker: a certificate of its own has to name them.
 */
export function reachableHosts({ host }: EmbeddedBrokerSettings, advertise: string | undefined): readonly string[] {
  const advertised = advertise === undefined ? [] : [new URL(withoutCredentials(advertise, '--advertise')).hostname]
  const own = Object.values(networkInterfaces()).flatMap((interfaces) => interfaces ?? [])
  const addresses = own.map(({ address }) => address.replace(/%.*$/, ''))
  const literal = advertised.map((name) => name.replace(/^\[|\]$/g, ''))
  return [...new Set([...literal, host, hostname(), 'localhost', ...addresses])]
}

function withoutCredentials(text: string, option: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^mqtts?:$/.test(url.protocol) || url.hostname === '')
    throw new EdgefitError(`${option}: "${text}" is not an address like mqtts://broker.example:8883`, {
      code: 'CONFIG_INVALID',
      details: { option },
    })
  return `${url.protocol}//${url.host}`
}

function firstAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((interfaces) => interfaces ?? [])
  return addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.1'
}
