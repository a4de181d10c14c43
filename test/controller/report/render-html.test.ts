import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type LatencyReport, queryLatencyReport, renderLatencyHtml } from '../../../controller/report/index.ts'
import { type LatencyFleet, latencyFleet, NOW_MS } from '../../support/latency-fleet.ts'
import { hostileFleet, largeFleet, mixedFleet } from '../../support/latency-scene.ts'

let fleet: LatencyFleet
let report: LatencyReport
let page: string
beforeAll(async () => {
  fleet = await mixedFleet()
  report = await queryLatencyReport(fleet.db, {}, NOW_MS)
  page = renderLatencyHtml(report)
})
afterAll(() => fleet.close())

/** Tags of `page` in order, once it is sure that every element is closed where it was opened. */
function elementsOf(markup: string): string[] {
  const open: string[] = []
  const names: string[] = []
  for (const [, close, name = '', rest = ''] of markup.matchAll(/<(\/?)([a-zA-Z][\w-]*)((?:"[^"]*"|[^">])*)>/g)) {
    if (close) expect(open.pop()).toBe(name)
    else {
      names.push(name)
      if (!rest.endsWith('/') && name !== 'meta' && name !== 'col') open.push(name)
    }
  }
  expect(open).toEqual([])
  return names
}

const textOf = (markup: string) =>
  markup
    .replaceAll(/<style>.*<\/style>/gs, '')
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')

describe('the report as a page', () => {
  it('is well formed', () => {
    const elements = elementsOf(page.replace('<!doctype html>', ''))

    expect(elements).toContain('svg')
    expect(elements).toContain('table')
    expect(elements.filter((name) => name === 'h1')).toHaveLength(1)
  })

  it('asks for nothing from anywhere and runs nothing', () => {
    expect(page).not.toMatch(/<script|<link|<img|<iframe|\bsrc=|url\(|@import|https?:|\son\w+=/i)
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`)
    expect(page.match(/href="[^"]*"/g)?.every((href) => href.startsWith('href="#'))).toBe(true)
  })

  it('follows the reader to dark, print and narrow pages', () => {
    expect(page).toContain('@media (prefers-color-scheme: dark)')
    expect(page).toContain('@media print')
    expect(page).toContain('width=device-width')
  })

  it('leads with how many meet their objective, and counts every verdict', () => {
    const text = textOf(page)

    expect(text).toContain('4 of 11 slots meet their objectives.')
    expect(text).toMatch(/1 ✕ failed 1 ▲ over budget 1 ◆ out of reach 1 \? undecided 2 ◌ pending 4 ● met/)
  })

  it('has every device with its verdict in words, its figures and its warnings', () => {
    const text = textOf(page)

    for (const { device, explanation, verdict, warnings } of report.rows) {
      expect(text).toContain(device.id)
      if (!['met', 'unassigned'].includes(verdict)) expect(unescaped(text)).toContain(explanation)
      for (const { message } of warnings) expect(unescaped(text)).toContain(message)
    }
    expect(text).toMatch(
      /aisle-1 Cortex-A72 · shelf=1 · site=north ● met .* 11\.2 of 12\.0 2\.62× 2\.\d\d–2\.\d\d 92\.85 % 93\.10 % 2\.34 MiB −73 %/,
    )
  })

  it('links devices to their detail, and every reference has its target once', () => {
    const ids = [...page.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => id)
    const references = [
      ...[...page.matchAll(/href="#([^"]*)"/g)].map(([, id]) => id),
      ...[...page.matchAll(/aria-labelledby="([^"]*)"/g)].flatMap(([, names]) => names?.split(' ')),
    ]

    expect(new Set(ids).size).toBe(ids.length)
    expect(references.length).toBeGreaterThan(10)
    for (const reference of references) expect(ids).toContain(reference)
  })

  it('gives every chart a name, and every mark its figures as a tooltip', () => {
    for (const [chart] of page.matchAll(/<svg height[^>]*>/g)) {
      expect(chart).toMatch(/role="img" aria-label(ledby)?="|aria-hidden="true"/)
    }
    expect(page).toMatch(
      /<title>#2 static int8 u8s8, minmax: p90 at most [\d.]+ ms, 90\.10 % \(95 %: [^)]*\); below floor<\/title>/,
    )
  })

  it('marks the chosen trial and tells why the others lost', () => {
    const text = unescaped(textOf(page))

    expect(page).toContain('class="trial won"')
    expect(page).toContain('class="ring"')
    expect(text).toContain('below floor top1 0.9010 of 2000')
    expect(text).toContain('out-of-memory: the child process reached its limit of 512 MiB while calibrating')
  })

  it('draws no mark outside its chart', () => {
    for (const [, percent] of page.matchAll(/\b(?:x|x1|x2|cx)="(-?[\d.]+|NaN)%"/g)) {
      expect(Number(percent)).toBeGreaterThanOrEqual(0)
      expect(Number(percent)).toBeLessThanOrEqual(100)
    }
    expect(page).not.toMatch(/NaN|Infinity|undefined|\bnull\b/)
  })
})

describe('a page of', () => {
  it('text that devices send shows it, and does not run it', async () => {
    const hostile = await hostileFleet()
    const markup = renderLatencyHtml(await queryLatencyReport(hostile.db, {}, NOW_MS))
    await hostile.close()

    elementsOf(markup.replace('<!doctype html>', ''))
    expect(markup).not.toMatch(/<script|<img|\u202e/)
    expect(markup).not.toContain('\u001b')
    expect(markup).toContain('&lt;script&gt;alert(1)&lt;/script&gt;')
    expect(markup).toContain('&quot;&gt;&lt;img src=x onerror=alert(2)&gt;')
  })

  it('an empty fleet says so', async () => {
    const empty = await latencyFleet()
    const markup = renderLatencyHtml(await queryLatencyReport(empty.db, {}, NOW_MS))
    await empty.close()

    expect(textOf(markup)).toContain('Nothing to report.')
    elementsOf(markup.replace('<!doctype html>', ''))
  })

  it('hundreds of devices puts their classes first and stays small', async () => {
    const large = await largeFleet(300)
    const markup = renderLatencyHtml(await queryLatencyReport(large.db, {}, NOW_MS))
    await large.close()

    expect(markup.match(/site-\d+-box-\d+<small>/g)).toHaveLength(300)
    expect(markup.indexOf('By hardware class')).toBeLessThan(markup.indexOf('<h2>Devices'))
    expect(markup).toContain('ask for one device with --device')
    expect(markup.length).toBeLessThan(1_000_000)
  })

  it('one device is its detail alone', async () => {
    const markup = renderLatencyHtml(await queryLatencyReport(fleet.db, { device: 'aisle-1' }, NOW_MS))

    expect(markup).not.toContain('<h2>Devices')
    expect(textOf(markup)).toContain('The device meets its objective.')
    elementsOf(markup.replace('<!doctype html>', ''))
  })
})

function unescaped(text: string): string {
  return text
    .replaceAll('&#39;', "'")
    .replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
}
