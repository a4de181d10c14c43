/**
 * The MQTT topic tree. The only file that knows how a topic is spelled.
 *
 *     edgefit/v1/{fleet}/d/{device}/up/presence      device      retained, QoS 1; also the will
 *     edgefit/v1/{fleet}/d/{device}/up/profile       device      retained, QoS 1
 *     edgefit/v1/{fleet}/d/{device}/up/report        device      QoS 1
 *     edgefit/v1/{fleet}/d/{device}/up/fetch         device      QoS 1
 *     edgefit/v1/{fleet}/d/{device}/down/desired     controller  retained, QoS 1
 *     edgefit/v1/{fleet}/d/{device}/down/ack         controller  QoS 1
 *     edgefit/v1/{fleet}/c/{artifact}/{span}         controller  QoS 0, raw chunks, never retained
 *     edgefit/v1/{fleet}/c/{artifact}/{span}/{device} controller QoS 0, the same for one device alone
 *     edgefit/v1/{fleet}/e/{device}/up/enrol         device      QoS 1, the only topic of an unaccepted device
 *     edgefit/v1/{fleet}/e/{device}/down/enrol       controller  QoS 1
 *     edgefit/v1/{fleet}/controller                  controller  retained, QoS 1; also the will
 *
 * A span is a group of consecutive chunks.
 */
export const PROTOCOL_VERSION = 1
const ROOT = `edgefit/v${PROTOCOL_VERSION}`

export const UP_CHANNELS = ['presence', 'profile', 'report', 'fetch'] as const
export const DOWN_CHANNELS = ['desired', 'ack'] as const
export type UpChannel = (typeof UP_CHANNELS)[number]
export type DownChannel = (typeof DOWN_CHANNELS)[number]

export type Topic =
  | { readonly kind: 'up'; readonly fleet: string; readonly device: string; readonly channel: UpChannel }
  | { readonly kind: 'down'; readonly fleet: string; readonly device: string; readonly channel: DownChannel }
  | {
      readonly kind: 'chunks'
      readonly fleet: string
      readonly artifact: string
      readonly span: number
      /** Set where the span is one device's own. */
      readonly device?: string
    }
  | { readonly kind: 'enrol-up' | 'enrol-down'; readonly fleet: string; readonly device: string }
  | { readonly kind: 'controller'; readonly fleet: string }

export function formatTopic(topic: Topic): string {
  const fleet = `${ROOT}/${topic.fleet}`
  switch (topic.kind) {
    case 'up':
      return `${fleet}/d/${topic.device}/up/${topic.channel}`
    case 'down':
      return `${fleet}/d/${topic.device}/down/${topic.channel}`
    case 'chunks':
      return `${fleet}/c/${topic.artifact}/${topic.span}${topic.device === undefined ? '' : `/${topic.device}`}`
    case 'enrol-up':
      return `${fleet}/e/${topic.device}/up/enrol`
    case 'enrol-down':
      return `${fleet}/e/${topic.device}/down/enrol`
    case 'controller':
      return `${fleet}/controller`
  }
}

const SEGMENT = '[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}'
const DEVICE_TOPIC = new RegExp(`^${ROOT}/(${SEGMENT})/d/(${SEGMENT})/(up|down)/([a-z]+)$`)
const CHUNKS_TOPIC = new RegExp(`^${ROOT}/(${SEGMENT})/c/([0-9a-f]{64})/(\\d{1,9})(?:/(${SEGMENT}))?$`)
const ENROL_TOPIC = new RegExp(`^${ROOT}/(${SEGMENT})/e/(${SEGMENT})/(up|down)/enrol$`)
const CONTROLLER_TOPIC = new RegExp(`^${ROOT}/(${SEGMENT})/controller$`)

/** Returns `undefined` for any topic outside the tree, wildcards included: a broker is shared ground. */
export function parseTopic(text: string): Topic | undefined {
  const device = DEVICE_TOPIC.exec(text)
  if (device) {
    const [, fleet = '', id = '', direction, channel = ''] = device
    if (direction === 'up' && isOneOf(UP_CHANNELS, channel)) return { kind: 'up', fleet, device: id, channel }
    if (direction === 'down' && isOneOf(DOWN_CHANNELS, channel)) return { kind: 'down', fleet, device: id, channel }
    return undefined
  }
  const chunks = CHUNKS_TOPIC.exec(text)
  if (chunks) {
    const [, fleet = '', artifact = '', span = '', owner] = chunks
    const base = { kind: 'chunks', fleet, artifact, span: Number(span) } as const
    return owner === undefined ? base : { ...base, device: owner }
  }
  const enrol = ENROL_TOPIC.exec(text)
  if (enrol) {
    const [, fleet = '', id = '', direction] = enrol
    return { kind: direction === 'up' ? 'enrol-up' : 'enrol-down', fleet, device: id }
  }
  const controller = CONTROLLER_TOPIC.exec(text)
  return controller ? { kind: 'controller', fleet: controller[1] ?? '' } : undefined
}

/** What the controller subscribes to. */
export function controllerSubscriptions(fleet: string): readonly string[] {
  return [...UP_CHANNELS.map((channel) => `${ROOT}/${fleet}/d/+/up/${channel}`), `${ROOT}/${fleet}/e/+/up/enrol`]
}

function isOneOf<const Items extends readonly string[]>(items: Items, value: string): value is Items[number] {
  return items.includes(value)
}
