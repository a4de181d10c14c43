/** CPUs of a list as Linux writes it: `0-3,8` is 0, 1, 2, 3, 8. What is no number is left out. */
export function parseCpuList(text: string): readonly number[] {
  return text.split(',').flatMap((part) => {
    const [, first, last = first] = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part) ?? []
    if (first === undefined) return []
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => Number(first) + index)
  })
}
