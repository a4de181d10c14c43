import { stripVTControlCharacters } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type LatencyReport, queryLatencyReport, renderLatencyTerminal } from '../../../controller/report/index.ts'
import { type LatencyFleet, latencyFleet, NOW_MS } from '../../support/latency-fleet.ts'
import { hostileFleet, largeFleet, mixedFleet } from '../../support/latency-scene.ts'

let fleet: LatencyFleet
let report: LatencyReport
beforeAll(async () => {
  fleet = await mixedFleet()
  report = await queryLatencyReport(fleet.db, {}, NOW_MS)
})
afterAll(() => fleet.close())

const plain = (of: LatencyReport, columns = 100) => renderLatencyTerminal(of, { columns, colour: false })
const widest = (text: string) => Math.max(...text.split('\n').map((line) => [...stripVTControlCharacters(line)].length))

describe('the report of a fleet on the terminal', () => {
  it.each([72, 80, 100, 120, 200])('fits in %i columns', (columns) => {
    expect(widest(plain(report, columns))).toBeLessThanOrEqual(columns)
  })

  it('lists the worst first and ends with the sum', () => {
    const text = plain(report)
    const lines = text.split('\n')
    const lineOf = (text: string) => lines.findIndex((line) => line.includes(text))

    expect(lineOf('failed (1)')).toBeLessThan(lineOf('over budget (1)'))
    expect(lineOf('over budget (1)')).toBeLessThan(lineOf('met (4)'))
    expect(text.split('\n\n').at(-1)).toMatch(/^4 of 11 slots meet their objectives\. 1 failed, 1 over budget/)
  })

  it('shows a device with its figures, limits and warnings', () => {
    const text = plain(report, 120)

    expect(text).toMatch(/aisle-1 +shelf-detector@3 +11\.2 \/ 12\.0 +2\.62× +92\.85 % +2\.34/)
    expect(text).toMatch(
      /Cortex-A72 +static int8 u8s8, percentile 99\.99 +[\d.]+–[\d.]+ +[\d.]+–[\d.]+ +fp32 93\.10 % +−73 %/,
    )
    expect(text).toContain('! latency changed by +16 % since it was chosen')
    expect(text).toContain('still serves shelf-detector@2')
  })

  it('says which columns a narrow terminal has no room for', () => {
    expect(plain(report, 80)).toContain('Left out for want of width: size.')
    expect(plain(report, 100)).not.toContain('want of width')
  })

  it('is in colour only when asked, and says the same', () => {
    const coloured = renderLatencyTerminal(report, { columns: 100, colour: true })

    expect(coloured).toContain('\u001b[')
    expect(plain(report)).not.toContain('\u001b')
    expect(stripVTControlCharacters(coloured)).toBe(plain(report))
  })

  it('lays out hundreds of devices', async () => {
    const large = await largeFleet(300)
    const text = plain(await queryLatencyReport(large.db, {}, NOW_MS))
    await large.close()

    expect(text.match(/^ +site-\d+-box-\d+/gm)).toHaveLength(300)
    expect(widest(text)).toBeLessThanOrEqual(100)
  })

  it('says that there is nothing', async () => {
    const empty = await latencyFleet()
    const text = plain(await queryLatencyReport(empty.db, {}, NOW_MS))
    await empty.close()

    expect(text).toBe('Latency report · 2026-07-29 14:02 UTC\n\nNothing to report.\n')
  })
})

describe('the report of one device on the terminal', () => {
  it('draws both distributions over an axis with the budget between them', async () => {
    const text = plain(await queryLatencyReport(fleet.db, { device: 'aisle-1' }, NOW_MS))
    const lines = text.split('\n')
    const budget = lines.find((line) => line.includes('▲ budget 12.0 ms'))?.indexOf('▲') ?? -1
    const variant = lines.find((line) => line.startsWith('variant ') && line.includes('█')) ?? ''
    const fp32 = lines.find((line) => line.startsWith('fp32 ') && line.includes('█')) ?? ''

    expect(budget).toBeGreaterThan(0)
    expect(variant.lastIndexOf('█')).toBeLessThan(budget)
    expect(fp32.indexOf('█')).toBeGreaterThan(budget)
    expect(fp32[budget]).toBe('│')
  })

  it('lists every trial with why it lost or failed', async () => {
    const text = plain(await queryLatencyReport(fleet.db, { device: 'aisle-1' }, NOW_MS), 120)

    expect(text).toMatch(/ 1 +static int8 u8s8, percentile 99\.99 +chosen/)
    expect(text).toMatch(/ 2 +static int8 u8s8, minmax +below floor/)
    expect(text).toMatch(/ 9 .* +failed/)
    expect(text).toContain('out-of-memory: the child process reached its limit of 512 MiB')
    expect(text).toContain('0.76×')
  })

  it('gives the reasons of an objective that is out of reach', async () => {
    const text = plain(await queryLatencyReport(fleet.db, { device: 'aisle-4' }, NOW_MS), 160)

    expect(text).toContain('◆ out of reach: nothing measured reaches it')
    expect(text).toContain('most accurate within the latency budget')
  })

  it.each(['door-1', 'store-room', 'till-2', 'unopened'])(
    'has something to say of %s, which measured nothing',
    async (device) => {
      const text = plain(await queryLatencyReport(fleet.db, { device }, NOW_MS))

      expect(text).toContain(device)
      expect(text).not.toMatch(/undefined|null|NaN/)
    },
  )
})

describe('text that devices send', () => {
  it('cannot move the cursor or reorder a line', async () => {
    const hostile = await hostileFleet()
    const all = await queryLatencyReport(hostile.db, {}, NOW_MS)
    const device = all.rows[0]?.device.id ?? ''
    const texts = [plain(all), plain(await queryLatencyReport(hostile.db, { device }, NOW_MS))]
    await hostile.close()

    for (const text of texts) expect(text).not.toMatch(/(?!\n)\p{Cc}|\u202e/u)
    expect(widest(texts.join('\n'))).toBeLessThanOrEqual(100)
  })
})
