import { defineConfig } from 'vitest/config'

// Read the workspace packages from their sources, so no build step comes before a unit test run.
const resolve = { conditions: ['source'] }
const project = (name: string, include: string[], extra: Record<string, unknown> = {}) => ({
  resolve,
  ssr: { resolve },
  test: { name, include, pool: 'forks' as const, ...extra },
})

export default defineConfig({
  test: {
    // Measurements and child processes share two cores: more workers only make them wait for each other.
    maxWorkers: 2,
    projects: [
      project('unit', ['test/{shared,agent,controller}/**/*.test.ts'], { testTimeout: 60_000 }),
      project('integration', ['test/integration/**/*.test.ts'], { testTimeout: 120_000, hookTimeout: 60_000 }),
      // Real processes of the built packages: the build comes first.
      project('e2e', ['test/{e2e,faults}/**/*.test.ts'], {
        testTimeout: 300_000,
        hookTimeout: 180_000,
        globalSetup: ['./test/support/build-packages.ts'],
      }),
      // The built packages on emulated CPUs, where test/arm64/setup.sh has prepared them.
      project('arm64', ['test/arm64/**/*.test.ts'], {
        testTimeout: 600_000,
        hookTimeout: 180_000,
        globalSetup: ['./test/arm64/build-packages.ts'],
      }),
    ],
  },
})
