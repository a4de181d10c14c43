import * as z from 'zod'
import { EdgefitError } from '../errors.ts'
import { parseWith } from '../parse.ts'
import {
  ControllerPresence,
  DesiredState,
  EnrolReply,
  EnrolRequest,
  FetchRequest,
  Presence,
  ProfileMessage,
  Report,
  ReportAck,
  ReportBatch,
} from './messages.ts'
import { PROTOCOL_VERSION } from './topics.ts'

/** No message is longer, headers apart: managed brokers refuse more. */
export const MAX_MESSAGE_BYTES = 128 * 1024
/** A signed document grows by a third in base64, plus its header and signature. */
export const MAX_SIGNED_BYTES = 95 * 1024

/** Every JSON document there is. Those that travel signed are the payload of a compact JWS. */
const DOCUMENTS = {
  presence: Presence,
  profile: ProfileMessage,
  reports: ReportBatch,
  fetch: FetchRequest,
  desired: DesiredState,
  ack: ReportAck,
  'enrol-request': EnrolRequest,
  'enrol-reply': EnrolReply,
  controller: ControllerPresence,
} as const
export type DocumentName = keyof typeof DOCUMENTS
export type DocumentOf<Document extends DocumentName> = z.output<(typeof DOCUMENTS)[Document]>

const Versioned = z.object({ v: z.int() })
const ReportEnvelope = ReportBatch.extend({ reports: z.array(Report.extend({ body: z.unknown() })).min(1) })

/**
 * Checked like a received one, so that a faulty message fails where it is made.
 *
 * @throws EdgefitError PROTOCOL_INVALID that names the field, or a message that is too long.
 */
export function encodeDocument<Document extends DocumentName>(
  name: Document,
  document: z.input<(typeof DOCUMENTS)[Document]>,
): Uint8Array {
  const bytes = Buffer.from(JSON.stringify(parseWith(DOCUMENTS[name], document, name, 'PROTOCOL_INVALID')))
  assertMessageSize(name, bytes.length)
  return bytes
}

/**
 * @throws EdgefitError PROTOCOL_UNSUPPORTED where the peer speaks another version of the protocol,
 *   PROTOCOL_INVALID where the bytes are too many, no JSON, or not such a document.
 */
export function decodeDocument<Document extends DocumentName>(name: Document, bytes: Uint8Array): DocumentOf<Document> {
  // A union of schemas is not correlated with its key; the table above is what ties them.
  return parseWith(DOCUMENTS[name], parseVersioned(name, bytes), name, 'PROTOCOL_INVALID') as DocumentOf<Document>
}

/**
 * Like {@link decodeDocument} for a report batch, but a report that this version cannot read does not take its
 * neighbours with it; all of them may be. `unreadable` ones will not become readable by being sent again.
 */
export function decodeReports(bytes: Uint8Array): {
  readonly batch: ReportBatch
  readonly unreadable: readonly { readonly seq: number; readonly message: string }[]
} {
  const envelope = parseWith(ReportEnvelope, parseVersioned('reports', bytes), 'reports', 'PROTOCOL_INVALID')
  const reports: Report[] = []
  const unreadable: { seq: number; message: string }[] = []
  for (const item of envelope.reports) {
    const report = Report.safeParse(item)
    if (report.success) reports.push(report.data)
    else unreadable.push({ seq: item.seq, message: z.prettifyError(report.error) })
  }
  return { batch: { ...envelope, reports }, unreadable }
}

/** @throws EdgefitError PROTOCOL_INVALID */
export function assertMessageSize(what: string, sizeBytes: number): void {
  if (sizeBytes > MAX_MESSAGE_BYTES)
    throw new EdgefitError(`${what}: ${sizeBytes} bytes, at most ${MAX_MESSAGE_BYTES} fit in a message`, {
      code: 'PROTOCOL_INVALID',
      details: { sizeBytes, limitBytes: MAX_MESSAGE_BYTES },
    })
}

function parseVersioned(name: string, bytes: Uint8Array): unknown {
  assertMessageSize(name, bytes.length)
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new EdgefitError(`${name}: not valid JSON`, { code: 'PROTOCOL_INVALID', cause })
  }
  const { v } = parseWith(Versioned, value, name, 'PROTOCOL_INVALID')
  if (v !== PROTOCOL_VERSION)
    throw new EdgefitError(
      `${name}: protocol version ${v}, this side speaks ${PROTOCOL_VERSION}; update the older of the two`,
      { code: 'PROTOCOL_UNSUPPORTED', details: { version: v, supported: PROTOCOL_VERSION } },
    )
  return value
}
