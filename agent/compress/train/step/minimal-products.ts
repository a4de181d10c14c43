/** One axis of a convolution with few products: y = out · ((kernel · w) ⊙ (into · x)). */
export interface AxisAlgorithm {
  readonly products: number
  /** Elements that one run gives. */
  readonly outputs: number
  /** [products, elements that a run reads] */
  readonly into: Matrix
  /** [products, taps] */
  readonly kernel: Matrix
  /** [outputs, products] */
  readonly out: Matrix
}

export type Matrix = readonly (readonly number[])[]
/** Coefficients from x⁰ on. */
type Polynomial = readonly number[]

/** Where polynomials are evaluated beside infinity. */
const POINTS = [0, 1, -1, 0.5, -2, -0.5]
/** Evaluated at more points than these, float32 loses digits; x² + 1, at one more product, keeps them. */
const MOST_POINTS_ALONE = 5

/** Every algorithm that keeps float32's digits, by the outputs of one run, from one on. */
export function axisAlgorithms(taps: number, stride: number): readonly AxisAlgorithm[] {
  const longest = Math.max(1, POINTS.length + 4 - Math.ceil(taps / stride))
  return range(longest).map((shorter) => strided(shorter + 1, taps, stride))
}

/** Taps a stride apart read the same elements as those of a convolution without: one for each start, and their sum. */
function strided(outputs: number, taps: number, stride: number): AxisAlgorithm {
  const starts = range(Math.min(stride, taps))
  const phases = starts.map((start) => minimal(outputs, Math.ceil((taps - start) / stride)))
  const spread = (rows: Matrix, start: number, length: number): Matrix =>
    rows.map((row) => range(length).map((at) => (at % stride === start ? (row[Math.floor(at / stride)] ?? 0) : 0)))
  return {
    products: phases.reduce((sum, { products }) => sum + products, 0),
    outputs,
    into: phases.flatMap(({ into }, start) => spread(into, start, stride * (outputs - 1) + taps)),
    kernel: phases.flatMap(({ kernel }, start) => spread(kernel, start, taps)),
    out: range(outputs).map((row) => phases.flatMap(({ out }) => out[row] ?? [])),
  }
}

/**
 * Stride 1 by Toom and Cook's multiplication of polynomials, transposed as Winograd did: evaluate both, multiply, and
 * interpolate by the Chinese remainder theorem. Where many points are needed two of them give way to x² + 1, whose
 * remainders take three products (Barabasz and Gregg, arXiv 1905.05233): seven outputs of three taps are then as
 * accurate as four by points alone, about twice as far from the exact result as the plain sum.
 */
function minimal(outputs: number, taps: number): AxisAlgorithm {
  if (taps === 1) {
    return { products: outputs, outputs, into: identity(outputs), kernel: ones(outputs), out: identity(outputs) }
  }
  if (outputs === 1) {
    return { products: taps, outputs, into: identity(taps), kernel: identity(taps), out: transposed(ones(taps)) }
  }
  const degree = outputs + taps - 2
  const hasQuadratic = degree > MOST_POINTS_ALONE
  const points = POINTS.slice(0, hasQuadratic ? degree - 2 : degree)
  const evaluated = (length: number): Matrix => [
    ...points.map((point) => range(length).map((power) => point ** power)),
    ...(hasQuadratic ? remainders(length) : []),
    range(length).map((power) => (power === length - 1 ? 1 : 0)),
  ]
  const quadratic: Polynomial = hasQuadratic ? [1, 0, 1] : [1]
  const into = [
    ...points.map((point) => basisOf(points, point, quadratic)),
    ...(hasQuadratic ? quadraticBases(product(...points.map(rootedAt))) : []),
    product(quadratic, ...points.map(rootedAt)),
  ]
  return {
    products: into.length,
    outputs,
    into,
    kernel: evaluated(taps),
    out: transposed(evaluated(outputs)),
  }
}

/** Of powers of x by x² + 1: their numbers, their multiples of x, and the sums of both. */
function remainders(length: number): Matrix {
  const [real, imaginary] = [0, 1].map((turn) =>
    range(length).map((power) => [1, 0, -1, 0][(power + 3 * turn) % 4] ?? 0),
  )
  return [real ?? [], imaginary ?? [], range(length).map((power) => (real?.[power] ?? 0) + (imaginary?.[power] ?? 0))]
}

/** 1 at `point`, 0 at the other points and wherever `shared` is. */
function basisOf(points: readonly number[], point: number, shared: Polynomial): Polynomial {
  const rest = product(shared, ...points.filter((other) => other !== point).map(rootedAt))
  const there = rest.reduce((sum, coefficient, power) => sum + coefficient * point ** power, 0)
  return rest.map((coefficient) => coefficient / there)
}

/**
 * What each of the products p₀q₀, p₁q₁ and (p₀ + p₁)(q₀ + q₁) adds to a polynomial whose remainder by x² + 1 is
 * (p₀ + p₁x)(q₀ + q₁x) and which is a multiple of `rest`.
 */
function quadraticBases(rest: Polynomial): readonly Polynomial[] {
  const [a = 0, b = 0] = remainders(rest.length).map((row) =>
    row.reduce((sum, value, power) => sum + value * (rest[power] ?? 0), 0),
  )
  const size = a * a + b * b
  // rest · (s₀ + s₁x) / (a + bx) for the remainders s of each product alone
  return [
    [1, -1],
    [-1, -1],
    [0, 1],
  ].map(([s0 = 0, s1 = 0]) => product(rest, [(s0 * a + s1 * b) / size, (s1 * a - s0 * b) / size]))
}

function rootedAt(point: number): Polynomial {
  return [-point, 1]
}

function product(...factors: readonly Polynomial[]): Polynomial {
  return factors.reduce(
    (left, right) =>
      range(left.length + right.length - 1).map((power) =>
        left.reduce((sum, coefficient, at) => sum + coefficient * (right[power - at] ?? 0), 0),
      ),
    [1],
  )
}

function ones(length: number): Matrix {
  return range(length).map(() => [1])
}

function transposed(rows: Matrix): Matrix {
  return range(rows[0]?.length ?? 0).map((column) => rows.map((row) => row[column] ?? 0))
}

function identity(length: number): Matrix {
  return range(length).map((row) => range(length).map((column) => (row === column ? 1 : 0)))
}

function range(length: number): readonly number[] {
  return Array.from({ length }, (_, at) => at)
}
