/**
 * Samples from a file: one JSON object per line, {"prompt", "completion"} (text or token ids) or {"inputIds",
 * "scoreFrom"}.
 */
import { fail } from '../errors.js';
import type { Sample } from '../model/batch.js';
import type { Model } from '../model/model.js';
import { readJsonLines } from '../rl/rollout/dataset.js';

type Row = Readonly<Record<string, unknown>>;
/** Says what is wrong with a row. */
type Refuse = (why: string) => never;

const isIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((id) => Number.isInteger(id));

/**
 * The prompt gets what the tokenizer puts in front of a text; the completion's tokens are what is scored.
 * `longest`: tokens that a sample may have.
 * @throws ERR_IO, ERR_INVALID_ARG naming the row.
 */
export async function readSamples(
  model: Model,
  file: string,
  longest = model.spec.maxPositions,
): Promise<Sample[]> {
  const rows = await readJsonLines<Row>(file);
  if (rows.length === 0)
    fail(
      'ERR_INVALID_ARG',
      `${file}: holds no rows; a row is {"prompt": …, "completion": …} or {"inputIds": […], "scoreFrom": n}`,
    );
  return rows.map((row, i) => {
    const refuse: Refuse = (why) => fail('ERR_INVALID_ARG', `${file}: row ${i + 1} ${why}`);
    const sample = 'inputIds' in row ? idSample(row, refuse) : textSample(model, row, refuse);
    checkTokens(sample, model, longest, refuse);
    return sample;
  });
}

/** Of a row that has its token ids. */
function idSample({ inputIds, scoreFrom }: Row, refuse: Refuse): Sample {
  if (!isIds(inputIds) || typeof scoreFrom !== 'number')
    return refuse('must have inputIds as an array of token ids and scoreFrom as a number');
  const inside = Number.isInteger(scoreFrom) && scoreFrom >= 1 && scoreFrom < inputIds.length;
  if (!inside) refuse(`must have 1 ≤ scoreFrom < ${inputIds.length}, its number of tokens, got ${scoreFrom}`);
  return { inputIds, scoreFrom };
}

/** Of a row with a prompt and a completion. */
function textSample(model: Model, row: Row, refuse: Refuse): Sample {
  if (!('prompt' in row && 'completion' in row)) {
    const keys = Object.keys(row).join(', ') || 'nothing';
    refuse(`must have "prompt" and "completion", or "inputIds" and "scoreFrom"; it has ${keys}`);
  }
  const tokens = (key: string, addSpecialTokens: boolean): number[] => {
    const value = row[key];
    if (typeof value === 'string') return model.tokenizer.encode(value, { addSpecialTokens });
    if (isIds(value)) return value;
    return refuse(`must have ${key} as text or token ids, got ${JSON.stringify(value)?.slice(0, 80)}`);
  };
  const prompt = tokens('prompt', true);
  const completion = tokens('completion', false);
  if (prompt.length === 0) refuse('has an empty prompt; the first token has no prefix to be scored after');
  if (completion.length === 0) refuse('has an empty completion: nothing to score');
  return { inputIds: [...prompt, ...completion], scoreFrom: prompt.length };
}

function checkTokens({ inputIds }: Sample, { spec }: Model, longest: number, refuse: Refuse): void {
  const stray = inputIds.find((id) => id < 0 || id >= spec.vocabSize);
  if (stray !== undefined) refuse(`has token ${stray}; the model's are 0 to ${spec.vocabSize - 1}`);
  if (inputIds.length > longest)
    refuse(`has ${inputIds.length} tokens, more than the model's context of ${longest}; shorten it`);
}
