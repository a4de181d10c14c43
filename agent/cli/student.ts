import { EdgefitError } from '@edgefit/shared'
import { digestFile } from '@edgefit/shared/artifact'
import type { Recipe } from '@edgefit/shared/model'
import { loadModel } from '@edgefit/shared/onnx'
import { requireReplacement } from '../compress/index.ts'
import { type PrepareInput, prepareModelAndData } from '../deploy/prepare.ts'
import type { JobRunner } from '../measure/runner.ts'

/**
 * `recipe` for the student of a file, which is taken first.
 *
 * @throws EdgefitError RECIPE_INVALID where the recipe takes another student, or one whose file is not given; INPUT_INVALID
 * for a student that cannot replace the source; MODEL_INVALID.
 */
export async function recipeForStudent(
  recipe: Recipe,
  { sourcePath, studentPath }: { readonly sourcePath: string; readonly studentPath: string | undefined },
  signal: AbortSignal,
): Promise<Recipe> {
  const [first] = recipe.passes
  const named = first?.pass === 'take-student' ? first.digest : undefined
  if (studentPath === undefined) {
    if (named === undefined) return recipe
    throw new EdgefitError(`the recipe takes the student ${named}: hand its file over with --student FILE`, {
      code: 'RECIPE_INVALID',
    })
  }
  const digest = await digestFile(studentPath, signal)
  if (named !== undefined && named !== digest) {
    throw new EdgefitError(
      `--student: ${studentPath} has the digest ${digest}, and the recipe takes the student ${named}: hand that one over, ` +
        'or leave the pass take-student out of the recipe',
      { code: 'RECIPE_INVALID', details: { digest, named } },
    )
  }
  const source = await loadModel(sourcePath)
  await ofStudent(async () => requireReplacement(source, await loadModel(studentPath)))
  return named === undefined ? { ...recipe, passes: [{ pass: 'take-student', digest }, ...recipe.passes] } : recipe
}

/** As `prepareModelAndData` for the student; errors say that they are about it. */
export async function prepareStudent(input: PrepareInput, runner: JobRunner, signal: AbortSignal): Promise<void> {
  await ofStudent(() => prepareModelAndData(input, runner, signal))
}

async function ofStudent(look: () => Promise<void>): Promise<void> {
  try {
    await look()
  } catch (error) {
    throw error instanceof EdgefitError ? aboutStudent(error) : error
  }
}

function aboutStudent({ message, code, details, cause }: EdgefitError): EdgefitError {
  return new EdgefitError(`--student: ${message}`, { code, details, cause })
}
