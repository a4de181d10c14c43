import type { ControllerDatabase } from '../store/schema.ts'

/** Deployments beside their rollout and the versions of model and dataset that it names, to select from. */
export function deploymentsInFull(db: ControllerDatabase) {
  return db
    .selectFrom('deployments')
    .innerJoin('rollouts', 'rollouts.id', 'deployments.rollout_id')
    .innerJoin('models', (join) =>
      join.onRef('models.name', '=', 'rollouts.model_name').onRef('models.version', '=', 'rollouts.model_version'),
    )
    .innerJoin('datasets', (join) =>
      join
        .onRef('datasets.name', '=', 'rollouts.dataset_name')
        .onRef('datasets.version', '=', 'rollouts.dataset_version'),
    )
}
