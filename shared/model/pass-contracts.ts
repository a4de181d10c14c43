/** What a model has, of the things that passes need or take away. The words are for people, after "needs". */
const PROPERTIES = {
  'untouched-source': 'a source that no pass has worked on',
  'float-weights': 'weights in float32 as they were trained',
  'float32-model': 'a model in float32',
  'float-activations': 'activations that are not quantized yet',
  'trained-ranges': 'channels in the ranges they were trained with',
  'batch-norm': 'BatchNormalization nodes that are not folded yet',
  'static-int8': 'a statically quantized model, nothing changed since',
} as const
type Property = keyof typeof PROPERTIES

/** What is true of every source model. */
const OF_SOURCE: readonly Property[] = [
  'untouched-source',
  'float-weights',
  'float32-model',
  'float-activations',
  'trained-ranges',
  'batch-norm',
]

interface PassContract {
  readonly requires: readonly Property[]
  /** Required only where channels are judged by this. */
  readonly requiresFor?: Readonly<Record<string, readonly Property[]>>
  /** True afterwards, though not before. */
  readonly ensures?: readonly Property[]
  /** No longer true afterwards. */
  readonly ends?: readonly Property[]
}

/**
 * What each pass needs of what came before it, and what it leaves: which orders make sense. Checked when a recipe is read,
 * without the model. Whether a model has anything for a pass to work on, only the pass itself can tell.
 */
const PASS_CONTRACTS = {
  'take-student': { requires: ['untouched-source'] },
  'fold-constants': { requires: [] },
  'remove-identities': { requires: [] },
  'remove-dropout': { requires: [] },
  'remove-dead-branches': { requires: [] },
  'lift-opset': { requires: [] },
  'fold-batch-norm': { requires: ['float-weights', 'trained-ranges'], ends: ['batch-norm'] },
  'estimate-batch-norm': { requires: ['float-weights', 'float32-model', 'float-activations', 'batch-norm'] },
  equalize: { requires: ['float-weights'], ends: ['trained-ranges'] },
  'smooth-quant': { requires: ['float-weights'] },
  'prune-channels': {
    requires: ['float-weights'],
    requiresFor: { 'batch-norm-gamma': ['batch-norm'] },
  },
  'scale-width': { requires: ['float-weights'] },
  'prune-weights': { requires: ['float-weights'] },
  'quantize-static': {
    requires: ['float32-model', 'float-activations'],
    ensures: ['static-int8'],
    ends: ['float-weights', 'float-activations'],
  },
  'quantize-dynamic': { requires: ['float32-model'], ends: ['float-weights', 'static-int8'] },
  'quantize-weights': { requires: ['float32-model'], ends: ['float-weights', 'static-int8'] },
  'to-float16': { requires: [], ends: ['float-weights', 'float32-model', 'static-int8'] },
  'correct-bias': { requires: ['static-int8'] },
  'fine-tune': { requires: ['float-weights', 'float32-model', 'float-activations'] },
  'quantize-aware': {
    requires: ['float-weights', 'float32-model', 'float-activations'],
    ends: ['float-weights', 'float-activations'],
  },
  'quantize-weights-aware': { requires: ['float-weights', 'float32-model'], ends: ['float-weights', 'static-int8'] },
} as const satisfies Readonly<Record<string, PassContract>>

interface OrderFault {
  /** Position of the pass that cannot be where it is. */
  readonly index: number
  readonly message: string
}

interface Step {
  readonly pass: keyof typeof PASS_CONTRACTS
  /** Of prune-channels. */
  readonly importance?: unknown
}

/** What is wrong with the order of `passes`, with the remedy. */
export function orderFaults(passes: readonly Step[]): readonly OrderFault[] {
  const holds = new Set<Property>(OF_SOURCE)
  const endedBy = new Map<Property, number>()
  const faults: OrderFault[] = []
  for (const [index, step] of passes.entries()) {
    const contract: PassContract = PASS_CONTRACTS[step.pass]
    for (const property of requirements(step, contract)) {
      if (holds.has(property)) continue
      const ender = endedBy.get(property)
      const remedy =
        ender === undefined
          ? `put ${makersOf(property)} before it`
          : `which pass ${ender + 1}, ${passes[ender]?.pass}, ends: put ${step.pass} before that one`
      faults.push({
        index,
        message: `pass ${index + 1}, ${step.pass}, needs ${PROPERTIES[property]}${ender === undefined ? ': ' : ', '}${remedy}`,
      })
    }
    for (const property of contract.ensures ?? []) holds.add(property)
    for (const property of [...(contract.ends ?? []), 'untouched-source' as const]) {
      if (holds.delete(property)) endedBy.set(property, index)
    }
  }
  return faults
}

function requirements({ importance }: Step, { requires, requiresFor = {} }: PassContract): readonly Property[] {
  return [...requires, ...(typeof importance === 'string' ? (requiresFor[importance] ?? []) : [])]
}

function makersOf(property: Property): string {
  const makers = Object.entries<PassContract>(PASS_CONTRACTS).filter(([, { ensures }]) => ensures?.includes(property))
  return makers.map(([pass]) => pass).join(' or ')
}
