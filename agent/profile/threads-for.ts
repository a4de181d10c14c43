/** How many threads an allowance of CPUs keeps busy: one for each whole CPU, and at least one. */
export function threadsFor(cpus: number): number {
  return Math.max(1, Math.floor(cpus))
}
