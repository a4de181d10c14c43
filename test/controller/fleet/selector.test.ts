import { describe, expect, it } from 'vitest'
import type { DeviceView } from '../../../controller/fleet/device-view.ts'
import { parseSelector, selectDevices } from '../../../controller/fleet/selector.ts'
import { NOW_MS } from './fixtures.ts'

function device(id: string, overrides: Partial<DeviceView> = {}): DeviceView {
  return {
    id,
    state: 'accepted',
    online: true,
    lastSeenAtMs: NOW_MS,
    enrolledAtMs: NOW_MS,
    agentVersion: '0.1.0',
    labels: {},
    hardwareClass: 'a72-0123456789ab',
    architecture: 'arm64',
    cpuModel: 'Cortex-A72',
    ...overrides,
  }
}

const fleet = [
  device('pi-1', { labels: { site: 'lab', arch: 'a lie' } }),
  device('pi-2', { labels: { site: 'roof' } }),
  device('nuc-1', { labels: { site: 'lab' }, architecture: 'x64', hardwareClass: 'icl-0123456789ab' }),
  device('new-1', { hardwareClass: null, architecture: null }),
]

describe('selectDevices', () => {
  it.each([
    ['all', ['pi-1', 'pi-2', 'nuc-1', 'new-1']],
    ['site=lab', ['pi-1', 'nuc-1']],
    ['site=lab,arch=arm64', ['pi-1']],
    [' site=lab , arch=x64 ', ['nuc-1']],
    ['device=pi-2', ['pi-2']],
    ['class=icl-0123456789ab', ['nuc-1']],
  ])('%s', (selector, expected) => {
    expect(selectDevices(selector, fleet).map(({ id }) => id)).toEqual(expected)
  })

  it.each([
    ['sight=lab', /no accepted device has "sight"; there is arch, class, device, site/],
    ['constructor=1', /no accepted device has "constructor"/],
    ['site=cellar', /site is one of lab, roof/],
    ['site=roof,arch=x64', /no accepted device fits all terms together/],
  ])('refuses %s and says what there is', (selector, message) => {
    expect(() => selectDevices(selector, fleet)).toThrow(message)
  })

  it('points at acceptance where the fleet is empty', () => {
    expect(() => selectDevices('all', [])).toThrow(/edgefit device accept/)
  })
})

describe('parseSelector', () => {
  it.each(['', 'lab', 'site=', '=lab', 'site=lab,', 'site==lab', 'all,site=lab', 'si te=lab'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseSelector(text)).toThrow(/is not a term/)
    },
  )

  it('refuses a key given twice', () => {
    expect(() => parseSelector('site=lab,site=roof')).toThrow(/"site" is given twice/)
  })
})
