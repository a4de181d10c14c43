import type * as z from 'zod'
import type { CommandServices, QueryServices } from './services.ts'

/** An operator operation. Input is strict; output is what `--json` prints, and only ever gains fields. */
export type Operation<Input extends z.ZodType, Output extends z.ZodType> =
  | (OperationShape<Input, Output> & {
      /** Reads fleet state and nothing else: works without a running controller. */
      readonly kind: 'query'
      run(services: QueryServices, input: z.output<Input>, signal: AbortSignal): Promise<z.input<Output>>
    })
  | (OperationShape<Input, Output> & {
      readonly kind: 'command'
      run(services: CommandServices, input: z.output<Input>, signal: AbortSignal): Promise<z.input<Output>>
    })

interface OperationShape<Input extends z.ZodType, Output extends z.ZodType> {
  readonly input: Input
  readonly output: Output
}

export function query<Input extends z.ZodType, Output extends z.ZodType>(
  input: Input,
  output: Output,
  run: (services: QueryServices, input: z.output<Input>, signal: AbortSignal) => Promise<z.input<Output>>,
) {
  return { kind: 'query', input, output, run } as const satisfies Operation<Input, Output>
}

export function command<Input extends z.ZodType, Output extends z.ZodType>(
  input: Input,
  output: Output,
  run: (services: CommandServices, input: z.output<Input>, signal: AbortSignal) => Promise<z.input<Output>>,
) {
  return { kind: 'command', input, output, run } as const satisfies Operation<Input, Output>
}
