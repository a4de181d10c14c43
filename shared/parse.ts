import * as z from 'zod'
import { EdgefitError, type ErrorCode } from './errors.ts'

/**
 * Validates `value` at a boundary. All faults are reported at once, each with its path.
 *
 * @throws EdgefitError with `code`, whose message starts with `what` (a file name, a topic, "option --x").
 */
export function parseWith<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  what: string,
  code: ErrorCode,
): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new EdgefitError(`${what}:\n${z.prettifyError(result.error)}`, {
    code,
    details: { issues: result.error.issues.map((issue) => ({ path: issue.path.join('.'), message: issue.message })) },
  })
}

/** `JSON.parse` plus {@link parseWith}; text that is not JSON is the same typed error. */
export function parseJsonWith<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  what: string,
  code: ErrorCode,
): z.output<Schema> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new EdgefitError(`${what}: not valid JSON`, { code, cause })
  }
  return parseWith(schema, value, what, code)
}
