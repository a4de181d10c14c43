import { describe, expect, it } from 'vitest'
import { asFloat32, decodeModel, type Tensor } from '../../../shared/onnx/index.ts'
import { failure, modelBytes, T } from './support/model-bytes.ts'

describe('decodeModel with external data', () => {
  function external(entries: Readonly<Record<string, string>>): Uint8Array {
    const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }))
    return modelBytes({ name: 't', dataType: T.FLOAT, dims: [1n], dataLocation: 1, externalData })
  }
  const file = Uint8Array.of(9, 9, 9, 9, 0, 0, 128, 63)

  it('reads the span', () => {
    const bytes = external({ location: 'w.bin', offset: '4', length: '4' })

    const model = decodeModel(bytes, { externalData: new Map([['w.bin', file]]) })

    expect([...asFloat32(model.graph.initializers.get('t') as Tensor)]).toEqual([1])
  })

  it.each([
    ['a missing file', { location: 'w.bin' }, undefined, /needs the external data file "w.bin"/],
    ['a span past the end', { location: 'w.bin', offset: '6' }, file, /wants bytes 6 to 10 of "w.bin", which has 8/],
    ['a wrong length', { location: 'w.bin', length: '8' }, file, /has 8 bytes instead of 4/],
    ['an offset that is no number', { location: 'w.bin', offset: '-4' }, file, /offset "-4"/],
    ['no location', {}, file, /keeps its data in ""/],
    ['a parent folder', { location: 'a/../../w.bin' }, file, /not a path inside/],
    ['an absolute path', { location: '/etc/passwd' }, file, /not a path inside/],
    ['a Windows path', { location: 'C:\\w.bin' }, file, /not a path inside/],
  ])('refuses %s', (_, entries, content, message) => {
    const files = content === undefined ? new Map<string, Uint8Array>() : new Map([['w.bin', content]])

    expect(failure(external(entries), files)).toMatch(message)
  })
})
