import { Writable } from 'node:stream'
import { expect, it } from 'vitest'
import { createProgress } from '../../../agent/cli/progress.ts'

function streamOf(isTTY: boolean) {
  const written: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk))
      done()
    },
  })
  return { written, stream: Object.assign(stream, { isTTY, columns: 40, fd: 2 }) as unknown as NodeJS.WriteStream }
}

it('rewrites one line on a terminal with how far the step is', () => {
  const { stream, written } = streamOf(true)
  const progress = createProgress(stream, false, () => 0)

  progress.step('ranking the layers')
  progress.share(0.456)

  expect(written.filter((text) => text.startsWith('…'))).toEqual(['… ranking the layers', '… ranking the layers, 46 %'])
  progress.detail('layer 3 of 8')
  expect(written.at(-1)).toBe('… layer 3 of 8')
  progress.step('x'.repeat(100))
  expect(written.at(-1)).toHaveLength(39)
})

it('writes steps and facts elsewhere as lines, without the shares, and nothing where it is to be quiet', () => {
  const { stream, written } = streamOf(false)
  const progress = createProgress(stream, false, () => 0)

  progress.step('ranking the layers')
  progress.share(0.5)
  progress.line('ranked')
  createProgress(stream, true, () => 0).line('unseen')

  expect(written).toEqual(['ranking the layers\n', 'ranked\n'])
})

it('writes elsewhere where a step stands as a line now and then', () => {
  const { stream, written } = streamOf(false)
  let nowMs = 0
  const progress = createProgress(stream, false, () => nowMs)

  for (let update = 0; update < 100; update += 1) {
    nowMs += 1000
    progress.detail(`update ${update + 1}`)
  }

  expect(written).toEqual(['update 20\n', 'update 40\n', 'update 60\n', 'update 80\n', 'update 100\n'])
})
