import { createInterface } from 'node:readline'

/**
 * Answers each line of standard input, a number of steps, with a line of JSON: how long each took, the last loss, the
 * peak of this process. A line before says that it is ready.
 */
export async function answerTurns(step: () => Promise<number>, more: object = {}): Promise<void> {
  const peakMib = (): number => process.resourceUsage().maxRSS / 1024
  console.log(JSON.stringify({ peakMib: peakMib() }))
  for await (const line of createInterface({ input: process.stdin })) {
    const wallMs: number[] = []
    const cpuMs: number[] = []
    let loss = Number.NaN
    for (let left = Number(line); left > 0; left--) {
      const used = process.cpuUsage()
      const started = performance.now()
      loss = await step()
      wallMs.push(performance.now() - started)
      const { user, system } = process.cpuUsage(used)
      cpuMs.push((user + system) / 1000)
    }
    console.log(JSON.stringify({ wallMs, cpuMs, loss, ...more, peakMib: peakMib() }))
  }
}
