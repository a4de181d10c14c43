import { describe, expect, it } from 'vitest'
import { quantizationFlavours } from '../../../agent/compress/flavours.ts'

describe('quantization flavours', () => {
  it.each([
    ['arm64', ['asimddp', 'i8mm'], ['S8S8']],
    ['arm64', [], ['S8S8']],
    ['x64', ['avx2', 'avx512_vnni'], ['U8S8']],
    ['x64', ['avx2', 'avx_vnni'], ['U8S8']],
    ['x64', ['avx2', 'avx512f'], ['U8S8 with 7-bit weights', 'U8S8']],
    ['x64', [], ['U8S8 with 7-bit weights', 'U8S8']],
  ] as const)('of %s with %o are %o', (architecture, features, names) => {
    expect(quantizationFlavours({ architecture, features: [...features] }).map(({ name }) => name)).toEqual(names)
  })

  it('leave a first convolution in float on x64 only, where that was measured', () => {
    const stems = (architecture: 'arm64' | 'x64') =>
      quantizationFlavours({ architecture, features: [] }).map(({ floatStem }) => floatStem)
    expect(stems('arm64')).toEqual([false])
    expect(stems('x64')).toEqual([true, true])
  })

  it('mark 8-bit weights as risky only where products are added in 16 bits', () => {
    const risky = (features: string[]) =>
      quantizationFlavours({ architecture: 'x64', features }).filter(({ mayOverflow }) => mayOverflow)
    expect(risky(['avx2'])).toMatchObject([{ activations: { type: 'uint8' }, weights: { reducedRange: false } }])
    expect(risky(['avx512_vnni'])).toEqual([])
  })
})
