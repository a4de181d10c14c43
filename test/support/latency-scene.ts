import type { LossReason } from '@edgefit/shared/model'
import { type CandidateOptions, digestOf, type LatencyFleet, latencyFleet, NOW_MS } from './latency-fleet.ts'

const HOUR_MS = 3_600_000

/** A fleet in which every verdict and every warning occurs once or more. */
export async function mixedFleet(): Promise<LatencyFleet> {
  const fleet = await latencyFleet()
  await fleet.model('shelf-detector', 2)
  await fleet.model('shelf-detector', 3)
  await fleet.model('keywords', 1)
  const accuracy = { kind: 'relative', value: 0.99 } as const
  const objective = { latencyP90Ms: 12, accuracy, minimize: 'latency' } as const
  await fleet.rollout('detector-2', { model: 'shelf-detector', version: 2, objective })
  await fleet.rollout('detector-3', { model: 'shelf-detector', version: 3, objective })
  await fleet.rollout('keywords-1', { model: 'keywords', version: 1, objective: { ...objective, latencyP90Ms: 3 } })

  await fleet.device('aisle-1', { cpu: 'pi4', labels: { site: 'north', shelf: '1' } })
  await fleet.device('aisle-2', { cpu: 'pi4', labels: { site: 'north' } })
  await fleet.device('aisle-3', {
    cpu: 'pi4',
    labels: { site: 'north' },
    online: false,
    lastSeenMs: NOW_MS - 7 * HOUR_MS,
  })
  await fleet.device('aisle-4', { cpu: 'pi4', labels: { site: 'south' } })
  await fleet.device('aisle-5', { cpu: 'pi4' })
  await fleet.device('aisle-6', { cpu: 'pi4' })
  await fleet.device('aisle-7', { cpu: 'pi4' })
  await fleet.device('till-1', { cpu: 'n100', labels: { site: 'north' } })
  await fleet.device('till-2', { cpu: 'n100', labels: { site: 'south' } })
  await fleet.device('door-1', { cpu: 'pi5' })
  await fleet.device('store-room', { cpu: 'pi5' })
  await fleet.device('unopened', { state: 'pending', profiled: false })

  const onPi4 = { baselineMs: 28.4, baselineAccuracy: 0.931 }
  await fleet.deploy({ device: 'aisle-1', rollout: 'detector-3', search: { ...onPi4, candidates: CANDIDATES } })
  const drifted = await fleet.deploy({
    device: 'aisle-2',
    rollout: 'detector-3',
    search: { ...onPi4, baselineMs: 28.9, candidates: CANDIDATES },
  })
  await fleet.rebenchmark(drifted, {
    medianMs: 11.1,
    change: { ratio: 1.01, low: 0.99, high: 1.03 },
    drifted: false,
    atMs: NOW_MS - 27 * HOUR_MS,
  })
  await fleet.rebenchmark(drifted, { medianMs: 12.6, change: { ratio: 1.16, low: 1.12, high: 1.19 }, drifted: true })
  await fleet.deploy({
    device: 'aisle-3',
    rollout: 'detector-3',
    search: { ...onPi4, baselineMs: 27.1, spread: 0.07, throttled: true, candidates: CANDIDATES },
  })
  await fleet.deploy({
    device: 'aisle-4',
    rollout: 'detector-3',
    search: {
      ...onPi4,
      baselineMs: 36.2,
      candidates: CANDIDATES.map((candidate) => ({ ...candidate, won: false, losses: lossesAt(36.2, candidate) })),
    },
    row: {
      status: 'failed',
      reason: 'objective-infeasible',
      outcome: 'unchanged',
      verdict: 'infeasible',
      message: 'no variant reaches the objective',
      verdict_reasons: JSON.stringify([
        'fastest that holds the accuracy floor: static int8 u8s8, percentile 99.99, p90 at most 14.3 ms against a budget of 12 ms',
        "most accurate within the latency budget: static int8 u8s8, minmax, top1 0.9010 of 2000; against the floor of 0.99 times fp32's",
      ]),
    },
  })
  await fleet.deploy({
    device: 'aisle-5',
    rollout: 'detector-2',
    goal: false,
    search: { ...onPi4, candidates: CANDIDATES },
  })
  await fleet.deploy({
    device: 'aisle-5',
    rollout: 'detector-3',
    row: {
      status: 'failed',
      reason: 'disk-full',
      outcome: 'rolled_back',
      message:
        'state directory has 2.1 MiB left of the 12.4 MiB that the variant needs: free space or raise --disk-limit',
      running_digest: digestOf('detector-2-aisle-5/1'),
      ended_at_ms: NOW_MS - 2 * HOUR_MS,
    },
  })
  await fleet.deploy({
    device: 'aisle-6',
    rollout: 'detector-3',
    search: {
      ...onPi4,
      candidates: CANDIDATES.slice(0, 3).map((candidate) => ({ ...candidate, won: false, losses: [] })),
    },
    row: {
      status: 'in_progress',
      phase: 'searching',
      progress: JSON.stringify({
        trialsDone: 3,
        trialsPlanned: 14,
        best: { label: 'static int8 u8s8, percentile 99.99', p90BoundMs: 11.31, accuracy: 0.9285 },
      }),
      last_report_at_ms: NOW_MS - 60_000,
    },
  })
  await fleet.deploy({
    device: 'till-1',
    rollout: 'detector-3',
    search: { baselineMs: 6.9, baselineAccuracy: 0.931, candidates: CANDIDATES },
  })
  await fleet.deploy({
    device: 'till-1',
    rollout: 'keywords-1',
    slot: 'audio',
    search: { baselineMs: 1.42, baselineAccuracy: 0.964, candidates: CANDIDATES },
  })
  await fleet.deploy({
    device: 'till-2',
    rollout: 'detector-3',
    row: {
      status: 'failed',
      reason: 'accuracy-undecided',
      outcome: 'unchanged',
      message: "about 5200 evaluation samples are needed to prove 0.99 times fp32's accuracy, 2000 were there",
    },
  })
  await fleet.deploy({ device: 'door-1', rollout: 'detector-3', row: { status: 'queued' } })
  await fleet.deploy({
    device: 'aisle-7',
    rollout: 'detector-3',
    row: { status: 'cancelled', reason: 'superseded', message: null },
  })
  return fleet
}

/** Every combination of nine sites and three boards, all with the same model: a fleet of `count`. */
export async function largeFleet(count: number): Promise<LatencyFleet> {
  const fleet = await latencyFleet()
  await fleet.model('shelf-detector', 3)
  const objective = { latencyP90Ms: 12, minimize: 'latency' } as const
  await fleet.rollout('detector-3', { model: 'shelf-detector', version: 3, objective })
  for (let index = 0; index < count; index += 1) {
    const cpu = (['pi4', 'pi5', 'n100'] as const)[index % 3] ?? 'pi4'
    const device = `site-${(index % 9) + 1}-box-${index}`
    await fleet.device(device, { cpu, online: index % 17 !== 0 })
    const baselineMs = { pi4: 28, pi5: 11, n100: 7 }[cpu] * (1 + (index % 13) / 100)
    const candidates = index % 41 === 40 ? CANDIDATES.map((one) => ({ ...one, won: false })) : CANDIDATES
    await fleet.deploy({ device, rollout: 'detector-3', search: { baselineMs, baselineAccuracy: 0.931, candidates } })
  }
  return fleet
}

const slow = (detail: string): LossReason => ({ reason: 'too-slow', detail })
const inaccurate = (detail: string): LossReason => ({ reason: 'accuracy-below-floor', detail })
const beaten: LossReason = {
  reason: 'not-smallest',
  detail:
    "feasible, but static int8 u8s8, percentile 99.99 is better by latency (0.402 times fp32's latency against 0.381 times fp32's latency)",
}

const CANDIDATES: readonly CandidateOptions[] = [
  { label: 'static int8 u8s8, percentile 99.99', ratio: 0.381, accuracyLost: 0.0025, won: true },
  {
    label: 'static int8 u8s8, minmax',
    ratio: 0.379,
    accuracyLost: 0.03,
    losses: [
      inaccurate("top1 0.9010 of 2000; against the floor of 0.99 times fp32's: 0.9678, 95 % bounds 0.9611 to 0.9743"),
    ],
  },
  {
    label: 'static int8 u8s8, percentile 99.9',
    ratio: 0.383,
    accuracyLost: 0.011,
    losses: [
      inaccurate("top1 0.9200 of 2000; against the floor of 0.99 times fp32's: 0.9882, 95 % bounds 0.9841 to 0.9919"),
    ],
  },
  { label: 'static int8 u8s8, first and last layer in float', ratio: 0.402, accuracyLost: 0.001, losses: [beaten] },
  {
    label: 'static int8 s8s8, percentile 99.99',
    ratio: 0.55,
    accuracyLost: 0.002,
    losses: [slow('p90 is at most 16.0 ms with 99 % confidence, the budget is 12.0 ms')],
  },
  {
    label: 'static int8 s8s8, minmax',
    ratio: 0.548,
    accuracyLost: 0.31,
    losses: [
      slow('p90 is at most 16.0 ms with 99 % confidence, the budget is 12.0 ms'),
      inaccurate("top1 0.6210 of 2000; against the floor of 0.99 times fp32's: 0.6670, 95 % bounds 0.6455 to 0.6881"),
    ],
  },
  {
    label: 'dynamic int8',
    ratio: 1.31,
    accuracyLost: 0.0005,
    losses: [
      slow('p90 is at most 38.2 ms with 99 % confidence, the budget is 12.0 ms'),
      { reason: 'slower-than-baseline', detail: "1.310 times fp32's latency (95 % interval 1.290 to 1.330)" },
    ],
  },
  {
    label: 'fp32, batch norm folded, 2 threads',
    ratio: 1.45,
    sizeRatio: 0.99,
    losses: [slow('p90 is at most 42.5 ms with 99 % confidence, the budget is 12.0 ms')],
  },
  {
    label: 'static int8 u8s8, reduced range',
    failure: {
      kind: 'failed',
      reason: 'out-of-memory',
      message: 'the child process reached its limit of 512 MiB while calibrating',
    },
  },
  { label: 'static uint16 activations' },
]

function lossesAt(baselineMs: number, { ratio = 1, losses = [], won }: CandidateOptions): LossReason[] {
  const p90Ms = (baselineMs * ratio * 1.035).toFixed(1)
  const tooSlow = slow(`p90 is at most ${p90Ms} ms with 99 % confidence, the budget is 12.0 ms`)
  return won || losses.length === 0 || losses[0] === beaten ? [tooSlow] : [...losses]
}

/** What a device under somebody else's control could send: markup, escape codes, text that runs backwards, long words. */
export async function hostileFleet(): Promise<LatencyFleet> {
  const fleet = await latencyFleet()
  await fleet.model('m', 1)
  await fleet.rollout('r', { model: 'm', version: 1, objective: { latencyP90Ms: 12, minimize: 'latency' } })
  const attack = '<script>alert(1)</script>\u001b[2J\u202e"><img src=x onerror=alert(2)>'
  const device = `box-${'long-name-'.repeat(6)}`
  await fleet.device(device, { labels: { note: attack } })
  const candidates = [
    { label: attack, ratio: 0.4, won: true },
    { label: 'x'.repeat(120), ratio: 0.5, losses: [slow(attack)] },
    { label: 'failing', failure: { kind: 'failed', reason: 'crashed', message: attack } },
  ] as const
  await fleet.deploy({
    device,
    rollout: 'r',
    search: {
      baselineMs: 20,
      baselineAccuracy: 0.9,
      candidates: candidates.map((one) => ({ ...one, losses: 'losses' in one ? [...one.losses] : [] })),
    },
  })
  await fleet.device('other')
  await fleet.deploy({ device: 'other', rollout: 'r', row: { status: 'failed', reason: 'internal', message: attack } })
  return fleet
}
