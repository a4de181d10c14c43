import { parseWith } from '@edgefit/shared'
import type * as z from 'zod'
import type { Operation } from './operation.ts'
import { OPERATIONS, type OperationName } from './operations.ts'
import type { CommandServices, QueryServices } from './services.ts'

/**
 * Checks the input, runs the operation and checks what it gives.
 *
 * @throws EdgefitError INPUT_INVALID for a bad input, and whatever the operation throws
 */
export async function runOperation(
  name: OperationName,
  services: CommandServices,
  input: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  const operation: Operation<z.ZodType, z.ZodType> = OPERATIONS[name]
  const parsed = parseWith(operation.input, input, name, 'INPUT_INVALID')
  const output =
    operation.kind === 'query'
      ? await operation.run(services, parsed, signal)
      : await operation.run(services, parsed, signal)
  return parseWith(operation.output, output, `result of ${name}`, 'INTERNAL')
}

/** The same without a running controller; undefined for a command, which needs one. */
export async function runQuery(
  name: OperationName,
  services: QueryServices,
  input: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  const operation: Operation<z.ZodType, z.ZodType> = OPERATIONS[name]
  if (operation.kind !== 'query') return undefined
  const parsed = parseWith(operation.input, input, name, 'INPUT_INVALID')
  return parseWith(operation.output, await operation.run(services, parsed, signal), `result of ${name}`, 'INTERNAL')
}
