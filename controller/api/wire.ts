import { EdgefitError, ERROR_CODES, type ErrorCode } from '@edgefit/shared'
import * as z from 'zod'

/** How a failure travels over HTTP. */
export const WireError = z.object({
  error: z.object({
    code: z.enum(ERROR_CODES),
    message: z.string(),
    details: z.record(z.string(), z.unknown()),
  }),
})
export type WireError = z.infer<typeof WireError>

export function toWireError(error: EdgefitError): WireError {
  const { code, message, details } = error
  return { error: { code, message, details: { ...details } } }
}

export function fromWireError({ error }: WireError): EdgefitError {
  const { code, message, details } = error
  return new EdgefitError(message, { code, details })
}

const STATUS: Partial<Record<ErrorCode, 400 | 403 | 404 | 409 | 500 | 503 | 507>> = {
  USAGE: 400,
  CONFIG_INVALID: 400,
  INPUT_INVALID: 400,
  AUTH_REFUSED: 403,
  NOT_FOUND: 404,
  CONFLICT: 409,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DISK_FULL: 507,
}

/** HTTP status of a failure; 422 where the request is well formed and what it brings cannot be used. */
export function httpStatus(code: ErrorCode) {
  return STATUS[code] ?? 422
}
