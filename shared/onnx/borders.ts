/** Which fields of which message lead to tensors, by field number. The names are those of onnx.proto. */
const PATHS = {
  model: new Map([[7, 'graph']]),
  graph: new Map([
    [1, 'node'],
    [5, 'tensor'],
  ]),
  node: new Map([[5, 'attribute']]),
  attribute: new Map([
    [5, 'tensor'],
    [6, 'graph'],
    [10, 'tensor'],
    [11, 'graph'],
  ]),
  tensor: new Map<number, string>(),
} as const satisfies Record<string, ReadonlyMap<number, string>>
type MessageKind = keyof typeof PATHS

const RAW_DATA = 9
const MAX_DEPTH = 64

/**
 * Offsets in a serialized model where raw tensor data of at least `minBytes` begin and end: ascending, without 0 and the
 * length. Cutting there lets a model with some weights changed share the bytes of all the others.
 *
 * Works on the wire format alone, without decoding. Bytes that are not an ONNX model give `[]`.
 */
export function tensorBorders(bytes: Uint8Array, minBytes = 4096): number[] {
  const borders = new Set<number>()
  const ok = walk(bytes, { kind: 'model', start: 0, end: bytes.byteLength, depth: 0 }, (start, end) => {
    if (end - start < minBytes) return
    borders.add(start)
    borders.add(end)
  })
  borders.delete(0)
  borders.delete(bytes.byteLength)
  return ok ? [...borders].sort((a, b) => a - b) : []
}

interface Message {
  readonly kind: MessageKind
  readonly start: number
  readonly end: number
  readonly depth: number
}

/** Visits all raw_data below `message`; false as soon as the bytes are no such message. */
function walk(bytes: Uint8Array, message: Message, visit: (start: number, end: number) => void): boolean {
  if (message.depth > MAX_DEPTH) return false
  for (let at = message.start; at < message.end; ) {
    const tag = varint(bytes, at, message.end)
    if (tag === undefined) return false
    const field = Math.floor(tag.value / 8)
    const body = fieldBody(bytes, tag.next, message.end, tag.value % 8)
    if (field === 0 || body === undefined) return false
    if (body.delimited) {
      const kind: string | undefined = PATHS[message.kind].get(field)
      if (message.kind === 'tensor' && field === RAW_DATA) visit(body.start, body.end)
      else if (isMessageKind(kind)) {
        const inner = { kind, start: body.start, end: body.end, depth: message.depth + 1 }
        if (!walk(bytes, inner, visit)) return false
      }
    }
    at = body.end
  }
  return true
}

function isMessageKind(kind: string | undefined): kind is MessageKind {
  return kind !== undefined && kind in PATHS
}

interface FieldBody {
  readonly start: number
  readonly end: number
  readonly delimited: boolean
}

function fieldBody(bytes: Uint8Array, at: number, end: number, wireType: number): FieldBody | undefined {
  let start = at
  let next: number | undefined
  if (wireType === 0) next = varint(bytes, at, end)?.next
  else if (wireType === 1) next = at + 8
  else if (wireType === 5) next = at + 4
  else if (wireType === 2) {
    const length = varint(bytes, at, end)
    if (length === undefined) return undefined
    start = length.next
    next = length.next + length.value
  }
  // Groups (3, 4) do not occur in ONNX.
  return next === undefined || next > end ? undefined : { start, end: next, delimited: wireType === 2 }
}

function varint(
  bytes: Uint8Array,
  at: number,
  end: number,
): { readonly value: number; readonly next: number } | undefined {
  let value = 0
  for (let position = 0; position < 10; position++) {
    const byte = bytes[at + position]
    if (byte === undefined || at + position >= end) return undefined
    value += (byte & 0x7f) * 2 ** (7 * position)
    if (byte < 0x80) return { value, next: at + position + 1 }
  }
  return undefined
}
