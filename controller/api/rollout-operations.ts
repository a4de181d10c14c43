import * as z from 'zod'
import { planRollout, RolloutPlan } from '../rollout/plan-rollout.ts'
import { RolloutInput } from '../rollout/rollout-input.ts'
import { loadRollout, loadRollouts, RolloutSummary, RolloutView } from '../rollout/rollout-view.ts'
import { command, query } from './operation.ts'

const RolloutId = z.strictObject({ rollout: z.string() })
const OneRollout = z.object({ rollout: RolloutView })

export const rolloutOperations = {
  'rollout.plan': query(RolloutInput, z.object({ plan: RolloutPlan }), async ({ db }, input) => ({
    plan: await planRollout(db, input),
  })),

  'rollout.create': command(
    RolloutInput.extend({ start: z.boolean().default(true) }),
    OneRollout,
    async ({ db, rollouts }, { start, ...input }) => ({
      rollout: await loadRollout(db, await rollouts.create(input, start)),
    }),
  ),

  'rollout.start': command(RolloutId, OneRollout, async ({ db, rollouts }, { rollout }) => {
    await rollouts.start(rollout)
    return { rollout: await loadRollout(db, rollout) }
  }),

  'rollout.abort': command(RolloutId, OneRollout, async ({ db, rollouts }, { rollout }) => {
    await rollouts.abort(rollout)
    return { rollout: await loadRollout(db, rollout) }
  }),

  'rollout.retry': command(RolloutId, OneRollout, async ({ db, rollouts }, { rollout }) => {
    await rollouts.retry(rollout)
    return { rollout: await loadRollout(db, rollout) }
  }),

  'rollout.list': query(z.strictObject({}), z.object({ rollouts: z.array(RolloutSummary) }), async ({ db }) => ({
    rollouts: await loadRollouts(db),
  })),

  'rollout.show': query(RolloutId, OneRollout, async ({ db }, { rollout }) => ({
    rollout: await loadRollout(db, rollout),
  })),
}
