/**
 * Samples from a file: one JSON object per line, {"prompt", "completion"} (text or token ids) or {"inputIds",
 * "scoreFrom"}.
 */
import { fail } from '../errors.js';
import type { Sample } from '../model/batch.js';
import type { Model } from '../model/model.js';
import { encodePair } from '../model/tokenizer/pair.js';
import { readJsonLines } from '../rl/rollout/dataset.js';

type Row = Readonly<Record<string, unknown>>;
/** Says what is wrong with a row. */
type Refuse = (why: string) => never;

const isIds = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((id) => Number.isInteger(id));

/**
 * Prompt and completion are encoded as one text; the completion's tokens are what is scored.
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
    const sample =
      'inputIds' in row ? idSample(row, refuse) : textSample(model, row, `${file}: row ${i + 1}`, refuse);
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
function textSample(model: Model, row: Row, label: string, refuse: Refuse): Sample {
  if (!('prompt' in row && 'completion' in row)) {
    const keys = Object.keys(row).join(', ') || 'nothing';
    refuse(`must have "prompt" and "completion", or "inputIds" and "scoreFrom"; it has ${keys}`);
  }
  const tokens = (key: string): string | readonly number[] => {
    const value = row[key];
    if (typeof value === 'string' || isIds(value)) return value;
    return refuse(`must have ${key} as text or token ids, got ${JSON.stringify(value)?.slice(0, 80)}`);
  };
  const tokenizer = () => model.tokenizer;
  const { inputIds, completionFrom } = encodePair(label, tokenizer, tokens('prompt'), tokens('completion'));
  if (completionFrom === inputIds.length) refuse('has an empty completion: nothing to score');
  if (completionFrom === 0)
    refuse(
      'has an empty prompt, or one whose first token is another with the completion behind it; ' +
        'the first token has no prefix to be scored after',
    );
  return { inputIds, scoreFrom: completionFrom };
}

function checkTokens({ inputIds }: Sample, { spec }: Model, longest: number, refuse: Refuse): void {
  const stray = inputIds.find((id) => id < 0 || id >= spec.vocabSize);
  if (stray !== undefined) refuse(`has token ${stray}; the model's are 0 to ${spec.vocabSize - 1}`);
  if (inputIds.length > longest)
    refuse(`has ${inputIds.length} tokens, more than the model's context of ${longest}; shorten it`);
}
