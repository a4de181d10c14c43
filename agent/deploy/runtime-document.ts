import type { RuntimeJson } from '@edgefit/shared/model'
import { describeIo, loadModel } from '@edgefit/shared/onnx'
import type { DeploymentGoal } from '@edgefit/shared/protocol'
import { sessionOptions } from '../measure/session-options.ts'
import type { SearchResult } from './record.ts'

type Winner = NonNullable<SearchResult['winner']>

/** What an application finds beside the model: how to load it as it was measured, and what was measured. */
export async function runtimeDocument(
  slot: string,
  goal: DeploymentGoal,
  winner: Winner,
  modelPath: string,
  nowMs: number,
): Promise<RuntimeJson> {
  const io = describeIo(await loadModel(modelPath))
  const { recipe, recipeDigest, digest, sizeBytes, measurement } = winner
  const { name, version, task, artifact } = goal.model
  return {
    schemaVersion: 1,
    slot,
    deploymentId: goal.deploymentId,
    model: { name, version, sourceDigest: artifact.digest, task },
    variant: { digest, sizeBytes, recipeDigest, label: recipe.label ?? null },
    runtime: recipe.runtime,
    sessionOptions: { ...sessionOptions(recipe.runtime) },
    inputs: [...io.inputs],
    outputs: [...io.outputs],
    measurement,
    activatedAtMs: nowMs,
  }
}
