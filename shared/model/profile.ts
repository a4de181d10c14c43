import * as z from 'zod'

/** What a box is. Everything that decides speed or numerics goes into the hardware class. */
export const Profile = z.object({
  hardwareClass: z.string().regex(/^[a-z0-9]+-[0-9a-f]{12}$/),
  cpu: z.object({
    architecture: z.enum(['arm64', 'x64']),
    model: z.string(),
    /** Only the features that select kernels, sorted: asimddp, i8mm, bf16, sve …; avx2, avx512_vnni, avx_vnni … */
    features: z.array(z.string()),
    /** Cores grouped by kind, fastest first. */
    cores: z.array(z.object({ kind: z.string(), count: z.int().positive(), maxMhz: z.number().nullable() })),
    logicalCores: z.int().positive(),
    cachesBytes: z.object({ l1d: z.int().nullable(), l2: z.int().nullable(), l3: z.int().nullable() }),
  }),
  memoryBytes: z.int().positive(),
  os: z.object({ name: z.string(), kernel: z.string(), libc: z.string() }),
  limits: z.object({
    /** Cores this process may use: affinity and cgroup quota together; may be a fraction. */
    cpus: z.number().positive(),
    /** Null where nothing below the machine's memory is set. */
    memoryBytes: z.int().positive().nullable(),
    source: z.enum(['none', 'cgroup-v1', 'cgroup-v2', 'affinity', 'configured']),
  }),
  governor: z.string().nullable(),
  temperatureC: z.number().nullable(),
  runtimeVersion: z.string(),
  agentVersion: z.string(),
  /** Short measurements through the runtime in a child process. Never part of the class: they vary run to run. */
  measured: z.object({ fp32Gflops: z.number(), int8Gops: z.number(), memoryGBps: z.number() }).nullable(),
})
export type Profile = z.infer<typeof Profile>
