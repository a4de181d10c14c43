/**
 * Every error Edgefit throws on purpose.
 *
 * `code` is the stable part: logs, MQTT payloads, HTTP bodies and tests match on it, so the wording of
 * `message` stays free to improve. A message names the field at fault and the remedy.
 */
export const ERROR_CODES = [
  'USAGE', // bad command line
  'CONFIG_INVALID', // a configuration file or setting
  'INPUT_INVALID', // a value given by the operator through the API or a file
  'NOT_FOUND',
  'CONFLICT',
  'MODEL_INVALID', // not an ONNX file, truncated, inconsistent
  'MODEL_UNSUPPORTED', // an ONNX file we or the runtime cannot handle
  'DATASET_INVALID',
  'DATASET_MISMATCH', // a good dataset that does not fit the model
  'RECIPE_INVALID',
  'PASS_FAILED',
  'ARTIFACT_CORRUPT',
  'SIGNATURE_INVALID',
  'VERSION_REPLAYED', // signed metadata older than what was already accepted
  'PROTOCOL_INVALID',
  'PROTOCOL_UNSUPPORTED', // a peer that speaks another protocol version
  'AUTH_REFUSED',
  'TRIAL_FAILED', // a child process that measures or compresses: crash, out of memory, timeout
  'TIMEOUT',
  'DISK_FULL',
  'UNAVAILABLE', // controller or broker cannot be reached
  'INTERNAL',
] as const
export type ErrorCode = (typeof ERROR_CODES)[number]

export interface EdgefitErrorOptions extends ErrorOptions {
  readonly code: ErrorCode
  /** Facts a person needs to act: paths, ids, expected and actual values. */
  readonly details?: Readonly<Record<string, unknown>>
}

export class EdgefitError extends Error {
  override readonly name = 'EdgefitError'
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(message: string, options: EdgefitErrorOptions) {
    super(message, options)
    this.code = options.code
    this.details = options.details ?? {}
  }
}

export function isEdgefitError(error: unknown, code?: ErrorCode): error is EdgefitError {
  return error instanceof EdgefitError && (code === undefined || error.code === code)
}

/** What a command prints and how it exits: 1 failed, 2 bad usage. Causes are listed, stacks only for bugs. */
export function describeFailure(error: unknown): { readonly text: string; readonly exitStatus: 1 | 2 } {
  if (!(error instanceof Error)) return { text: String(error), exitStatus: 1 }
  if (!(error instanceof EdgefitError)) return { text: error.stack ?? error.message, exitStatus: 1 }
  const causes: string[] = []
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause)
    causes.push(`  caused by: ${cause.message}`)
  const usage = error.code === 'USAGE' || error.code === 'CONFIG_INVALID' || error.code === 'INPUT_INVALID'
  return { text: [`${error.code}: ${error.message}`, ...causes].join('\n'), exitStatus: usage ? 2 : 1 }
}
