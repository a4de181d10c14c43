/** Axes count from the end where negative. */
export function positiveAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis
}
