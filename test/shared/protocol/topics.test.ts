import {
  controllerSubscriptions,
  DOWN_CHANNELS,
  formatTopic,
  parseTopic,
  type Topic,
  UP_CHANNELS,
} from '@edgefit/shared/protocol'
import { describe, expect, it } from 'vitest'

const fleet = 'lab'
const device = 'pi-kitchen.2_b-0a1b2c3d'
const artifact = '0123456789abcdef'.repeat(4)
const TOPICS: readonly Topic[] = [
  ...UP_CHANNELS.map((channel) => ({ kind: 'up', fleet, device, channel }) as const),
  ...DOWN_CHANNELS.map((channel) => ({ kind: 'down', fleet, device, channel }) as const),
  { kind: 'chunks', fleet, artifact, span: 0 },
  { kind: 'chunks', fleet, artifact, span: 12, device },
  { kind: 'enrol-up', fleet, device },
  { kind: 'enrol-down', fleet, device },
  { kind: 'controller', fleet },
]

describe('topics', () => {
  it.each(TOPICS.map((topic) => [formatTopic(topic), topic] as const))(
    '%s is read as it was written',
    (text, topic) => {
      expect(parseTopic(text)).toEqual(topic)
    },
  )

  it.each(TOPICS.map(formatTopic))('%s fits brokers that allow seven slashes', (text) => {
    expect(text.split('/').length - 1).toBeLessThanOrEqual(7)
  })

  it.each([
    '',
    'edgefit/v1/lab',
    'edgefit/v2/lab/controller',
    'edgefit/v1/lab/controller/x',
    'edgefit/v1/lab/d/pi/up/desired',
    'edgefit/v1/lab/d/pi/down/presence',
    'edgefit/v1/lab/d/pi/up/+',
    'edgefit/v1/lab/d/+/up/presence',
    'edgefit/v1/lab/#',
    'edgefit/v1/lab/d//up/presence',
    'edgefit/v1/lab/d/-pi/up/presence',
    `edgefit/v1/lab/d/${'x'.repeat(65)}/up/presence`,
    'edgefit/v1/lab/c/0123/0',
    `edgefit/v1/lab/c/${artifact}/-1`,
    `edgefit/v1/lab/c/${artifact}/0/+`,
    'edgefit/v1/lab/d/pi/up/presence\n',
    '$SYS/broker/version',
  ])('%j is none of ours', (text) => {
    expect(parseTopic(text)).toBeUndefined()
  })

  it('that devices publish are all covered by the subscriptions of the controller', () => {
    const matches = (filter: string, topic: string) => {
      const parts = topic.split('/')
      const filters = filter.split('/')
      return parts.length === filters.length && filters.every((part, index) => part === '+' || part === parts[index])
    }
    const fromDevices = TOPICS.filter(({ kind }) => kind === 'up' || kind === 'enrol-up').map(formatTopic)

    for (const topic of fromDevices)
      expect(controllerSubscriptions(fleet).filter((filter) => matches(filter, topic))).toHaveLength(1)
  })
})
