import { describe, expect, it } from 'vitest'
import { type ChildEnd, describeChildEnd } from '../../../agent/measure/child-end.ts'

const end: ChildEnd = {
  exitCode: null,
  exitSignal: null,
  killed: undefined,
  stderr: '',
  peakRssBytes: 123_400_000,
  kernelOutOfMemory: false,
}

describe('the end of a child', () => {
  it('is for want of memory when the kernel killed for that', () => {
    expect(describeChildEnd({ ...end, exitSignal: 'SIGKILL', kernelOutOfMemory: true })).toEqual({
      kind: 'failed',
      reason: 'out-of-memory',
      message: 'the kernel killed the process because the host ran out of memory; its memory had peaked at 123.4 MB',
    })
    expect(describeChildEnd({ ...end, exitSignal: 'SIGSEGV', kernelOutOfMemory: true }).reason).toBe('crashed')
  })

  it.each([
    'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
    "terminate called after throwing an instance of 'std::bad_alloc'",
  ])('is for want of memory when it says %j', (stderr) => {
    expect(describeChildEnd({ ...end, exitSignal: 'SIGABRT', stderr }).reason).toBe('out-of-memory')
  })

  it('is what we killed it for, whatever the kernel did besides', () => {
    const killed = { cause: 'timeout', timeoutMs: 1500 } as const

    expect(describeChildEnd({ ...end, exitSignal: 'SIGKILL', kernelOutOfMemory: true, killed })).toMatchObject({
      reason: 'timeout',
      message: 'not finished within 1.5 s',
    })
  })

  it('carries the last five lines, without the frames that Node adds', () => {
    const stderr = ['1', '2', '3', '4', '5', '6', '----- Native stack trace -----', ' 1: 0xb8 node'].join('\n')

    expect(describeChildEnd({ ...end, exitSignal: 'SIGABRT', stderr }).message).toMatch(/MB\n2\n3\n4\n5\n6$/)
  })
})
