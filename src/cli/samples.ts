/**
 * Samples from a file: one JSON object per line, {"prompt", "completion"} (text or token ids) or {"inputIds",
 * "scoreFrom"}.
 */
import { fail } from '../errors.js';
import type { Sample } from '../model/batch.js';
import type { Model } from '../model/model.js';
import { readJsonLines } from '../rl/rollout/dataset.js';

const isIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((id) => Number.isInteger(id));

/**
 * The prompt gets what the tokenizer puts in front of a text; the completion's tokens are what is scored.
 * `longest`: in tokens.
 * @throws ERR_IO, ERR_INVALID_ARG naming the row.
 */
export async function readSamples(
  model: Model,
  file: string,
  longest = model.spec.maxPositions,
): Promise<Sample[]> {
  const rows = await readJsonLines<Record<string, unknown>>(file);
  if (rows.length === 0)
    fail(
      'ERR_INVALID_ARG',
      `${file}: holds no rows; a row is {"prompt": …, "completion": …} or {"inputIds": […], "scoreFrom": n}`,
    );
  return rows.map((row, i) => {
    const bad = (why: string) => fail('ERR_INVALID_ARG', `${file}: row ${i + 1} ${why}`);
    const tokens = (key: string, addSpecialTokens: boolean) => {
      const value = row[key];
      return typeof value === 'string'
        ? model.tokenizer.encode(value, { addSpecialTokens })
        : isIds(value)
          ? value
          : bad(`must have ${key} as text or token ids, got ${JSON.stringify(value)?.slice(0, 80)}`);
    };
    const checked = (sample: Sample): Sample => {
      const { length } = sample.inputIds;
      const stray = sample.inputIds.find((id) => id < 0 || id >= model.spec.vocabSize);
      if (stray !== undefined) bad(`has token ${stray}; the model's are 0 to ${model.spec.vocabSize - 1}`);
      if (length > longest)
        bad(`has ${length} tokens, more than the model's context of ${longest}; shorten it`);
      return sample;
    };
    if ('inputIds' in row) {
      const { inputIds, scoreFrom } = row;
      if (!isIds(inputIds) || typeof scoreFrom !== 'number')
        return bad('must have inputIds as an array of token ids and scoreFrom as a number');
      if (!(Number.isInteger(scoreFrom) && scoreFrom >= 1 && scoreFrom < inputIds.length))
        bad(`must have 1 ≤ scoreFrom < ${inputIds.length}, its number of tokens, got ${scoreFrom}`);
      return checked({ inputIds, scoreFrom });
    }
    if (!('prompt' in row && 'completion' in row))
      return bad(
        'must have "prompt" and "completion", or "inputIds" and "scoreFrom"; it has ' +
          `${Object.keys(row).join(', ') || 'nothing'}`,
      );
    const prompt = tokens('prompt', true);
    const completion = tokens('completion', false);
    if (prompt.length === 0)
      return bad('has an empty prompt; the first token has no prefix to be scored after');
    if (completion.length === 0) return bad('has an empty completion: nothing to score');
    return checked({ inputIds: [...prompt, ...completion], scoreFrom: prompt.length });
  });
}
