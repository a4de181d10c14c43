import type * as z from 'zod'
import { catalogOperations } from './catalog-operations.ts'
import { deviceOperations } from './device-operations.ts'
import { fleetOperations } from './fleet-operations.ts'
import { rolloutOperations } from './rollout-operations.ts'

/** Everything an operator can do: the HTTP interface and the command line are two views of this table. */
export const OPERATIONS = {
  ...fleetOperations,
  ...deviceOperations,
  ...catalogOperations,
  ...rolloutOperations,
}

export type OperationName = keyof typeof OPERATIONS
export type InputOf<Name extends OperationName> = z.input<(typeof OPERATIONS)[Name]['input']>
export type OutputOf<Name extends OperationName> = z.output<(typeof OPERATIONS)[Name]['output']>

export function isOperationName(name: string): name is OperationName {
  return Object.hasOwn(OPERATIONS, name)
}
