import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeHistogram,
  EMPTY_HISTOGRAM,
  encodeHistogram,
  HISTOGRAM_ERROR_RATIO,
  histogramBins,
  histogramQuantileNs,
  histogramRecorder,
  type LatencyHistogram,
  mergeHistograms,
  quantile,
  seededRandom,
  sortedCopy,
} from '../../../shared/stats/index.ts'

const latency = fc.oneof(
  fc.integer({ min: 0, max: 5000 }),
  fc.integer({ min: 100_000, max: 50_000_000 }),
  fc.maxSafeInteger().map(Math.abs),
)
const latencies = fc.array(latency, { maxLength: 60 })

function histogramOf(sample: Iterable<number>): LatencyHistogram {
  const recorder = histogramRecorder()
  for (const value of sample) recorder.record(value)
  return recorder.snapshot()
}

describe('latency histogram', () => {
  it('keeps every quantile within the stated error, the extremes exactly', () => {
    expect(HISTOGRAM_ERROR_RATIO).toBeLessThanOrEqual(0.001)
    fc.assert(
      fc.property(
        fc.array(latency, { minLength: 1, maxLength: 60 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (sample, fraction) => {
          const histogram = histogramOf(sample)
          const exact = quantile(sortedCopy(sample), fraction)

          expect(Math.abs((histogramQuantileNs(histogram, fraction) ?? -1) - exact)).toBeLessThanOrEqual(
            exact * HISTOGRAM_ERROR_RATIO,
          )
          expect(histogramQuantileNs(histogram, 0)).toBe(Math.min(...sample))
          expect(histogramQuantileNs(histogram, 1)).toBe(Math.max(...sample))
          expect(histogram.count).toBe(sample.length)
        },
      ),
    )
  })

  it('gives its buckets as ranges that hold the latencies counted in them', () => {
    const bins = histogramBins(histogramOf([0, 2047, 2048, 2049, 1e9]))

    expect(bins.slice(0, 3)).toEqual([
      { fromNs: 0, toNs: 1, count: 1 },
      { fromNs: 2047, toNs: 2048, count: 1 },
      { fromNs: 2048, toNs: 2050, count: 2 },
    ])
    expect(bins[3]?.fromNs).toBeLessThanOrEqual(1e9)
    expect(bins[3]?.toNs).toBeGreaterThan(1e9)
  })

  it('is within the stated error at both ends of a bucket', () => {
    for (let exponent = 11; exponent < 50; exponent += 1) {
      const width = 2 ** (exponent - 10)
      for (const exact of [2 ** exponent, 2 ** exponent + width - 1, 2 ** (exponent + 1) - 1]) {
        const estimate = histogramQuantileNs(histogramOf([1, exact, exact, 2 ** 52]), 0.5) ?? 0
        expect(Math.abs(estimate - exact)).toBeLessThanOrEqual(exact * HISTOGRAM_ERROR_RATIO)
      }
    }
  })

  it('merges exactly: merging histograms is recording all samples in one', () => {
    fc.assert(
      fc.property(latencies, latencies, latencies, (a, b, c) => {
        const [x, y, z] = [histogramOf(a), histogramOf(b), histogramOf(c)]

        expect(mergeHistograms([x, y, z])).toEqual(histogramOf([...a, ...b, ...c]))
        expect(mergeHistograms([mergeHistograms([x, y]), z])).toEqual(mergeHistograms([x, mergeHistograms([y, z])]))
        expect(mergeHistograms([x, y])).toEqual(mergeHistograms([y, x]))
        expect(mergeHistograms([x, EMPTY_HISTOGRAM])).toEqual(x)
      }),
    )
  })

  it('gives snapshots that later recording does not change', () => {
    const recorder = histogramRecorder()
    recorder.record(10)
    const before = recorder.snapshot()
    recorder.record(10)

    expect(before).toEqual({ count: 1, minNs: 10, maxNs: 10, buckets: [[10, 1]] })
  })

  it('has no quantiles while empty', () => {
    expect(histogramQuantileNs(EMPTY_HISTOGRAM, 0.5)).toBeUndefined()
    expect(mergeHistograms([])).toEqual(EMPTY_HISTOGRAM)
  })

  it('rounds fractions and refuses what is not a latency', () => {
    expect(histogramOf([1.4]).minNs).toBe(1)
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      expect(() => histogramRecorder().record(bad)).toThrow(/is not a latency/)
    }
  })
})

describe('histogram encoding', () => {
  it('gives back what was encoded', () => {
    fc.assert(
      fc.property(latencies, (sample) => {
        const histogram = histogramOf(sample)
        expect(decodeHistogram(encodeHistogram(histogram))).toEqual(histogram)
      }),
    )
  })

  it('stays small: latencies spread over a factor of ten thousand, a million times', () => {
    const random = seededRandom(11)
    const recorder = histogramRecorder()
    for (let run = 0; run < 1_000_000; run += 1) recorder.record(50_000 * 10_000 ** random())

    expect(encodeHistogram(recorder.snapshot()).length).toBeLessThan(48 * 1024)
  })

  it('stays tiny for what one device reports', () => {
    const random = seededRandom(12)
    const sample = Array.from({ length: 1000 }, () => 2_000_000 * (1 + 0.05 * random()))

    expect(encodeHistogram(histogramOf(sample)).length).toBeLessThan(1024)
  })

  it.each([
    ['nothing', '', /cut off/],
    ['another version', Buffer.from([2, 0, 0, 0]).toString('base64'), /version 2/],
    ['a cut', Buffer.from([1, 5, 5, 1, 5]).toString('base64'), /cut off/],
    ['bytes after the end', Buffer.from([1, 5, 5, 1, 5, 1, 0]).toString('base64'), /after the last bucket/],
    ['a repeated bucket', Buffer.from([1, 5, 5, 2, 5, 1, 0, 1]).toString('base64'), /out of order/],
    ['an empty bucket', Buffer.from([1, 5, 5, 1, 5, 0]).toString('base64'), /out of order/],
    ['extremes elsewhere', Buffer.from([1, 4, 5, 1, 5, 1]).toString('base64'), /extremes/],
    ['a huge number', Buffer.from([1, ...Array<number>(9).fill(255), 1]).toString('base64'), /too large/],
  ])('refuses %s', (_, text, message) => {
    expect(() => decodeHistogram(text)).toThrow(
      expect.objectContaining({ code: 'PROTOCOL_INVALID', message: expect.stringMatching(message) }),
    )
  })

  it('never accepts random bytes as a different histogram', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const text = Buffer.from([1, ...bytes]).toString('base64')
        let histogram: LatencyHistogram | undefined
        try {
          histogram = decodeHistogram(text)
        } catch (error) {
          expect(error).toMatchObject({ code: 'PROTOCOL_INVALID' })
          return
        }
        expect(decodeHistogram(encodeHistogram(histogram))).toEqual(histogram)
      }),
    )
  })
})
