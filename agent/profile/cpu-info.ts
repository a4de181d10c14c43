import { armCoreName } from './arm-cores.ts'

/** One logical CPU of /proc/cpuinfo. */
export interface CpuInfo {
  readonly id: number
  /** What the kernel calls the CPU, where it has a name. Arm kernels give a number of the architecture at most. */
  readonly modelName: string | undefined
  /** Arm: the core by its name. */
  readonly coreName: string | undefined
  readonly flags: readonly string[]
}

/** Parses /proc/cpuinfo of x64 and arm64 kernels. */
export function parseCpuInfo(text: string): readonly CpuInfo[] {
  const blocks = text.split(/\n\s*\n/).map(fieldsOf)
  return blocks.flatMap((fields) => {
    const id = fields.get('processor')
    if (id === undefined || !/^\d+$/.test(id)) return []
    const implementer = fields.get('CPU implementer')
    const part = fields.get('CPU part')
    return {
      id: Number(id),
      modelName: fields.get('model name'),
      coreName: implementer === undefined || part === undefined ? undefined : armCoreName(implementer, part),
      flags: (fields.get('flags') ?? fields.get('Features') ?? '').split(/\s+/).filter((flag) => flag !== ''),
    }
  })
}

function fieldsOf(block: string): ReadonlyMap<string, string> {
  const fields = block.split('\n').map((line): [string, string] => {
    const colon = line.indexOf(':')
    return colon < 0 ? ['', ''] : [line.slice(0, colon).trim(), line.slice(colon + 1).trim()]
  })
  return new Map(fields.filter(([name]) => name !== ''))
}

/** Flags by which the runtime picks its kernels. Others differ between kernel versions and virtual machines for nothing. */
const KERNEL_FLAGS: ReadonlySet<string> = new Set([
  ...['sse4_1', 'avx', 'fma', 'f16c', 'avx2', 'avx_vnni', 'avx_vnni_int8', 'avx_ne_convert'],
  ...['avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512_vnni', 'avx512_bf16', 'avx512_fp16'],
  ...['amx_tile', 'amx_int8', 'amx_bf16'],
  ...['asimd', 'fphp', 'asimdhp', 'asimddp', 'asimdfhm', 'bf16', 'i8mm'],
  ...['sve', 'sve2', 'svebf16', 'svei8mm', 'sme', 'sme2'],
])

/** Flags that select kernels and that every CPU has: a thread may run on any of them. Sorted. */
export function kernelFeatures(cpus: readonly CpuInfo[]): string[] {
  const [first, ...others] = cpus
  if (first === undefined) return []
  return first.flags
    .filter((flag) => KERNEL_FLAGS.has(flag) && others.every(({ flags }) => flags.includes(flag)))
    .sort()
}
