import { DOWN_CHANNELS, formatTopic, UP_CHANNELS } from '@edgefit/shared/protocol'
import { describe, expect, it } from 'vitest'
import { isAllowed, type Principal } from '../../../controller/link/authorize.ts'

const fleet = 'lab'
const artifact = 'a'.repeat(64)
const own: Principal = { kind: 'device', device: 'pi-a' }
const candidate: Principal = { kind: 'candidate', device: 'pi-a' }
const up = (device: string, channel: (typeof UP_CHANNELS)[number], of = fleet) =>
  formatTopic({ kind: 'up', fleet: of, device, channel })
const down = (device: string, channel: (typeof DOWN_CHANNELS)[number], of = fleet) =>
  formatTopic({ kind: 'down', fleet: of, device, channel })
const chunks = (device?: string) =>
  formatTopic({ kind: 'chunks', fleet, artifact, span: 3, ...(device === undefined ? {} : { device }) })
const controller = formatTopic({ kind: 'controller', fleet })
const enrolUp = (device: string) => formatTopic({ kind: 'enrol-up', fleet, device })
const enrolDown = (device: string) => formatTopic({ kind: 'enrol-down', fleet, device })

describe('a device', () => {
  it.each(UP_CHANNELS.map((channel) => up('pi-a', channel)))('may publish %s', (topic) => {
    expect(isAllowed(own, 'publish', topic, fleet)).toBe(true)
  })

  it.each([...DOWN_CHANNELS.map((channel) => down('pi-a', channel)), `edgefit/v1/${fleet}/d/pi-a/down/+`])(
    'may subscribe to %s',
    (topic) => {
      expect(isAllowed(own, 'subscribe', topic, fleet)).toBe(true)
    },
  )

  it.each([up('pi-a', 'presence'), chunks(), chunks('pi-a'), controller])('may subscribe to %s', (topic) => {
    expect(isAllowed(own, 'subscribe', topic, fleet)).toBe(true)
  })

  it.each([
    ...DOWN_CHANNELS.map((channel) => down('pi-a', channel)),
    ...UP_CHANNELS.map((channel) => up('pi-b', channel)),
    up('pi-a', 'report', 'other'),
    up('pi-a/d/pi-b', 'report'),
    chunks(),
    chunks('pi-a'),
    controller,
    enrolUp('pi-a'),
    enrolDown('pi-a'),
    '$SYS/heartbeat',
    '',
  ])('may not publish %s', (topic) => {
    expect(isAllowed(own, 'publish', topic, fleet)).toBe(false)
  })

  it.each([
    ...DOWN_CHANNELS.map((channel) => down('pi-b', channel)),
    ...UP_CHANNELS.map((channel) => up('pi-b', channel)),
    up('pi-a', 'report'),
    up('pi-a', 'profile'),
    chunks('pi-b'),
    down('pi-a', 'desired', 'other'),
    formatTopic({ kind: 'controller', fleet: 'other' }),
    enrolDown('pi-a'),
    '#',
    '+',
    '$SYS/#',
    `edgefit/v1/${fleet}/#`,
    `edgefit/v1/${fleet}/d/+/down/desired`,
    `edgefit/v1/${fleet}/d/pi-a/#`,
    `edgefit/v1/${fleet}/d/pi-b/down/+`,
    `edgefit/v1/${fleet}/c/+/+`,
    `edgefit/v1/${fleet}/e/+/up/enrol`,
  ])('may not subscribe to %s', (topic) => {
    expect(isAllowed(own, 'subscribe', topic, fleet)).toBe(false)
  })
})

describe('a candidate', () => {
  it('may use its own enrolment topics, each in one direction', () => {
    expect(isAllowed(candidate, 'publish', enrolUp('pi-a'), fleet)).toBe(true)
    expect(isAllowed(candidate, 'subscribe', enrolDown('pi-a'), fleet)).toBe(true)
    expect(isAllowed(candidate, 'publish', enrolDown('pi-a'), fleet)).toBe(false)
    expect(isAllowed(candidate, 'subscribe', enrolUp('pi-a'), fleet)).toBe(false)
  })

  it.each([
    up('pi-a', 'presence'),
    down('pi-a', 'desired'),
    `edgefit/v1/${fleet}/d/pi-a/down/+`,
    chunks(),
    controller,
    enrolUp('pi-b'),
    enrolDown('pi-b'),
    `edgefit/v1/${fleet}/e/+/down/enrol`,
  ])('may not touch %s', (topic) => {
    expect(isAllowed(candidate, 'publish', topic, fleet)).toBe(false)
    expect(isAllowed(candidate, 'subscribe', topic, fleet)).toBe(false)
  })
})
