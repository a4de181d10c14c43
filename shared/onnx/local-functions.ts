import type { Model } from './graph.ts'
import { fromOpaque, schemas } from './protobuf.ts'

/**
 * Operators that the model defines itself, as `domain.name`. Their bodies are not part of the graph as it is held here;
 * the runtime reads them in the opset of the model.
 */
export function localFunctions({ opaque }: Model): readonly string[] {
  return fromOpaque(schemas.model, opaque).functions.map(({ domain, name }) => `${domain}.${name}`)
}
