import { DOWN_CHANNELS, formatTopic, parseTopic } from '@edgefit/shared/protocol'

/** Who is behind a connection, as far as it has been proven. */
export type Principal =
  | { readonly kind: 'controller' }
  | { readonly kind: 'device'; readonly device: string }
  /** Holds a join token: may ask for this device to be enrolled, and nothing else. */
  | { readonly kind: 'candidate'; readonly device: string }

export type Action = 'publish' | 'subscribe'

/**
 * The access rules of section "MQTT" in ARCHITECTURE.md; deploy/broker/mosquitto.acl says the same to Mosquitto, and
 * one test holds both to it.
 *
 * A device publishes under its own `up/`; it subscribes to its own `down/`, to its own `up/presence` (to notice a
 * presence under its name that is not its own), to chunks meant for all or for it, and to `controller`. Of
 * wildcards only its own `down/+` is allowed.
 */
export function isAllowed(principal: Principal, action: Action, topicText: string, fleet: string): boolean {
  if (principal.kind === 'controller') return true
  const topic = parseTopic(topicText)
  if (topic === undefined)
    return principal.kind === 'device' && action === 'subscribe' && topicText === ownDownTopics(fleet, principal.device)
  if (topic.fleet !== fleet) return false
  const { device } = principal
  if (principal.kind === 'candidate')
    return topic.kind === (action === 'publish' ? 'enrol-up' : 'enrol-down') && topic.device === device
  if (action === 'publish') return topic.kind === 'up' && topic.device === device
  switch (topic.kind) {
    case 'down':
      return topic.device === device
    case 'up':
      return topic.device === device && topic.channel === 'presence'
    case 'chunks':
      return topic.device === undefined || topic.device === device
    case 'controller':
      return true
    case 'enrol-up':
    case 'enrol-down':
      return false
  }
}

/** Of what clients publish, the broker remembers only this: all else would fill its memory. */
export function isRetainable(topicText: string): boolean {
  const topic = parseTopic(topicText)
  return topic?.kind === 'up' && (topic.channel === 'presence' || topic.channel === 'profile')
}

function ownDownTopics(fleet: string, device: string): string {
  const [channel] = DOWN_CHANNELS
  return formatTopic({ kind: 'down', fleet, device, channel }).slice(0, -channel.length).concat('+')
}
