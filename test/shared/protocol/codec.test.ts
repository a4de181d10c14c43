import {
  assertMessageSize,
  decodeDocument,
  decodeReports,
  encodeDocument,
  MAX_MESSAGE_BYTES,
  MAX_SIGNED_BYTES,
} from '@edgefit/shared/protocol'
import { generateSigningKey, signIntroduction } from '@edgefit/shared/trust'
import { describe, expect, it } from 'vitest'

const presence = {
  v: 1,
  online: true,
  session: 'session-1',
  atMs: 1_700_000_000_000,
  agentVersion: '0.1.0',
  labels: { site: 'lab' },
}
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))

describe('decodeDocument', () => {
  it('reads what encodeDocument wrote', () => {
    expect(decodeDocument('presence', encodeDocument('presence', presence))).toEqual(presence)
  })

  it('drops a field unknown to this version', () => {
    expect(decodeDocument('presence', json({ ...presence, mood: 'fine' }))).toEqual(presence)
  })

  it('names the version of a peer that speaks another one, whatever else it says', () => {
    expect(() => decodeDocument('desired', json({ v: 2, slots: 'in a new form' }))).toThrow(
      expect.objectContaining({ code: 'PROTOCOL_UNSUPPORTED', details: { version: 2, supported: 1 } }),
    )
  })

  it.each([
    ['no JSON', Buffer.from('{'), /presence: not valid JSON/],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22]), /not valid JSON/],
    ['no version', json({ ...presence, v: undefined }), /at v/],
    ['a wrong field', json({ ...presence, session: 7 }), /at session/],
    ['too many bytes', Buffer.alloc(MAX_MESSAGE_BYTES + 1, ' '), /131073 bytes, at most 131072/],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => decodeDocument('presence', bytes)).toThrow(expect.objectContaining({ code: 'PROTOCOL_INVALID' }))
    expect(() => decodeDocument('presence', bytes)).toThrow(message)
  })
})

describe('encodeDocument', () => {
  it('fails where a faulty message is made', () => {
    expect(() => encodeDocument('ack', { v: 1, journal: 'journal-1', seqs: [] })).toThrow(/ack:[\s\S]*at seqs/)
  })
})

describe('decodeReports', () => {
  const notice = (seq: number) => ({ seq, atMs: 1, body: { kind: 'notice', code: 'x', message: 'y' } })
  const batch = (reports: unknown[]) => json({ v: 1, session: 'session-1', journal: 'journal-1', reports })

  it('keeps the readable neighbours of a report from a newer agent', () => {
    const { batch: read, unreadable } = decodeReports(
      batch([notice(1), { seq: 2, atMs: 1, body: { kind: 'telepathy' } }, notice(3)]),
    )

    expect(read.reports.map((report) => report.seq)).toEqual([1, 3])
    expect(unreadable).toEqual([{ seq: 2, message: expect.stringContaining('kind') }])
  })

  it('refuses a batch without sequence numbers', () => {
    expect(() => decodeReports(batch([{ body: {} }]))).toThrow(/seq/)
  })
})

describe('message sizes', () => {
  it('leave room for the signature around the largest signed document', async () => {
    const jws = await signIntroduction(generateSigningKey(), 'enrol-request', Buffer.alloc(MAX_SIGNED_BYTES))

    expect(() => assertMessageSize('reports', jws.length)).not.toThrow()
    expect(() => assertMessageSize('reports', MAX_MESSAGE_BYTES + 1)).toThrow(/131073/)
  })
})
