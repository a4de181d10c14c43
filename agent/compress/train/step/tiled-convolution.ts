import { elementCount, floatTensor, intsValue } from '@edgefit/shared/onnx'
import type { Emitter } from '../autodiff/emitter.ts'
import type { Correlation } from '../autodiff/rules/convolution-geometry.ts'
import { of } from '../autodiff/rules/window-geometry.ts'
import { type AxisAlgorithm, axisAlgorithms, type Matrix } from './minimal-products.ts'

/** How each of two axes is cut into tiles. */
export interface Tiling {
  readonly rows: AxisTiling
  readonly columns: AxisTiling
}

interface AxisTiling extends AxisAlgorithm {
  readonly tiles: number
}

/**
 * A convolution over two axes with fewer multiplications than taps: tiles of the input and the kernel are transformed,
 * multiplied, and the products transformed back (Lavin and Gray, arXiv 1509.09308).
 *
 * Where places come before batch and channels, a transform of an axis is one product with a matrix that holds the
 * overlap of tiles and the padding, too. So are the gradients of all this: none needs a slice or another order.
 *
 * @param x [places, batch · channels]
 * @returns [places, batch · filters] of the output
 */
export function tiledConvolution(
  emit: Emitter,
  correlation: Correlation,
  { rows, columns }: Tiling,
  x: string,
  weights: string,
): string {
  const { batch, channels, filters } = correlation
  const [height = 1, width = 1] = correlation.large
  const [outHeight = 1, outWidth = 1] = correlation.small
  const taps = elementCount(correlation.kernel)
  const times = (left: Matrix, right: string, dims: readonly number[]): string =>
    isIdentity(left) ? right : emit.add('MatMul', [matrix(emit, left), emit.reshape(right, dims)])

  const tall = times(intoTiles(correlation, rows, 0), x, [height, width * batch * channels])
  const tiles = times(intoTiles(correlation, columns, 1), tall, [lengthOf(rows), width, batch * channels])
  const turned = emit.add('Transpose', [emit.reshape(weights, [filters * channels, taps])], { perm: intsValue([1, 0]) })
  const kernels = times(kronecker(rows.kernel, columns.kernel), turned, [1, taps, filters * channels])
  const products = emit.add('MatMul', [
    emit.reshape(tiles, [rows.products, rows.tiles, columns.products, columns.tiles * batch, channels]),
    emit.add('Transpose', [emit.reshape(kernels, [rows.products, 1, columns.products, filters, channels])], {
      perm: intsValue([0, 1, 2, 4, 3]),
    }),
  ])
  const flat = times(outOfTiles(correlation, columns, 1), products, [
    lengthOf(rows),
    lengthOf(columns),
    batch * filters,
  ])
  const y = times(outOfTiles(correlation, rows, 0), flat, [lengthOf(rows), outWidth * batch * filters])
  return emit.reshape(y, [outHeight * outWidth, batch * filters])
}

/**
 * What takes as long as so many multiplications of a large matrix product, forward and backward together; measured on
 * x64 with AVX-512 in steps of a ResNet with 16 to 128 channels. Where both ways are within a tenth of each other the
 * constants decide, and it matters little.
 */
const COST = {
  /** A multiplication of the runtime's convolution, whose weights are not constant here. */
  direct: 1.3,
  /** An element under one tap that is copied for the gradient of the weights. */
  copied: 16,
  /** An element of a transformed tile, beside its products: it is written and read several times. */
  transformed: 50,
  /** An element of a transformed kernel, likewise. */
  kernel: 100,
  /** An element whose layout changes. */
  moved: 50,
} as const

/**
 * The tiling that costs least; undefined where the runtime's own convolution does.
 *
 * @param isPlaceMajor whether the input is laid out for tiles already
 */
export function bestTiling(correlation: Correlation, isPlaceMajor: boolean): Tiling | undefined {
  const { group, kernel, dilations, strides, channels, filters, batch, large, small } = correlation
  if (group !== 1 || kernel.length !== 2 || dilations.some((dilation) => dilation !== 1)) return undefined
  const [rows = [], columns = []] = [0, 1].map((axis) =>
    axisAlgorithms(of(kernel, axis), of(strides, axis)).map((algorithm) => ({
      ...algorithm,
      tiles: Math.ceil(of(small, axis) / algorithm.outputs),
    })),
  )
  const tilings = rows.flatMap((row) => columns.map((column) => ({ rows: row, columns: column })))
  const [best] = tilings
    .map((tiling) => ({ tiling, cost: costOf(correlation, tiling) }))
    .sort((left, right) => left.cost - right.cost)
  const underTaps = elementCount(small) * elementCount(kernel) * batch * channels
  const direct = underTaps * (3 * COST.direct * filters + COST.copied)
  const moving = COST.moved * elementCount(large) * batch * channels
  return best !== undefined && best.cost + (isPlaceMajor ? 0 : moving) < direct + (isPlaceMajor ? moving : 0)
    ? best.tiling
    : undefined
}

/** Three products with the tiles: forward, and one for each gradient. Each transform is run twice, there and back. */
function costOf({ batch, channels, filters, large, small }: Correlation, { rows, columns }: Tiling): number {
  const [tall, wide] = [lengthOf(rows), lengthOf(columns)]
  const into = tall * of(large, 1) * (of(large, 0) + wide) * channels
  const out = tall * of(small, 1) * (of(small, 0) + wide) * filters
  const products = tall * wide * (3 * channels * filters + COST.transformed * (channels + filters))
  return batch * (products + 2 * (into + out)) + COST.kernel * rows.products * columns.products * channels * filters
}

/** Products of all tiles: for each product of one tile, that of every tile. */
function lengthOf({ products, tiles }: AxisTiling): number {
  return products * tiles
}

/** [length, places of the input] */
function intoTiles(
  { large, strides, padsBegin }: Correlation,
  { into, tiles, outputs }: AxisTiling,
  axis: number,
): Matrix {
  const start = (tile: number): number => tile * outputs * of(strides, axis) - of(padsBegin, axis)
  return into.flatMap((row) =>
    range(tiles).map((tile) => range(of(large, axis)).map((place) => row[place - start(tile)] ?? 0)),
  )
}

/** [places of the output, length] */
function outOfTiles({ small }: Correlation, { out, products, tiles, outputs }: AxisTiling, axis: number): Matrix {
  return range(of(small, axis)).map((place) =>
    range(products).flatMap((product) => range(tiles).map((tile) => out[place - tile * outputs]?.[product] ?? 0)),
  )
}

function kronecker(left: Matrix, right: Matrix): Matrix {
  return left.flatMap((a) => right.map((b) => a.flatMap((x) => b.map((y) => x * y))))
}

function isIdentity(rows: Matrix): boolean {
  return rows.every(
    (row, at) => row.length === rows.length && row.every((value, column) => value === Number(at === column)),
  )
}

function matrix(emit: Emitter, rows: Matrix): string {
  return emit.constant(floatTensor('tiles', [rows.length, rows[0]?.length ?? 0], Float32Array.from(rows.flat())))
}

function range(length: number): readonly number[] {
  return Array.from({ length }, (_, at) => at)
}
