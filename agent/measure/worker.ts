import { serveJob } from './serve-job.ts'

// The program of the child processes. Nothing imports it: whatever it loads stays out of the agent's own process.
// A job loads only what it needs, since the memory of this process is reported as the model's.
serveJob({
  'profile-bench': async (...job) => (await import('./profile-bench.ts')).profileBench(...job),
  inspect: async (...job) => (await import('./inspect.ts')).inspect(...job),
  build: async (...job) => (await import('./build.ts')).build(...job),
  'tune-runtime': async (...job) => (await import('./tune-runtime.ts')).tuneRuntime(...job),
  'time-operators': async (...job) => (await import('./time-operators.ts')).timeOperators(...job),
  'measure-solo': async (...job) => (await import('./measure-solo.ts')).measureSolo(...job),
  'measure-against': async (...job) => (await import('./measure-against.ts')).measureAgainst(...job),
  'measure-accuracy': async (...job) => (await import('./measure-accuracy.ts')).measureAccuracy(...job),
  'rank-layers': async (...job) => (await import('./rank-layers.ts')).rankLayers(...job),
})
