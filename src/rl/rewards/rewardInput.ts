/** What reward functions see of a rollout. */
import type { Tokenizer } from '../../model/tokenizer/tokenizer.js';
import type { RewardInput } from '../interfaces.js';
import type { Rollout } from '../rollout/sample.js';

/** Names that a reward function gets from the rollout; columns of these names are not passed on. */
const RESERVED = ['prompt', 'completion', 'completionIds'];

/** TRL's keyword arguments: prompts, completions and the rows' other columns. */
export function rewardInput(
  rollout: Rollout,
  tokenizer: () => Tokenizer,
  step: number,
  stage: string,
  logMetric: RewardInput['logMetric'],
): Omit<RewardInput, 'signal'> {
  const rows = [...rollout.rows];
  const ids = [...rollout.completions].map(({ completionIds }) => completionIds);
  const names = new Set(rows.flatMap((row) => Object.keys(row)));
  for (const reserved of RESERVED) names.delete(reserved);
  const columns = [...names].map((name) => [name, rows.map((row) => row[name])]);
  let texts: string[] | undefined;
  return {
    ...Object.fromEntries(columns),
    prompts: rows.map(({ prompt }) => prompt),
    // Only a function that reads the text needs a tokenizer.
    get completions() {
      texts ??= ids.map((completionIds) => tokenizer().decode(completionIds));
      return texts;
    },
    completionIds: ids,
    terminated: [...rollout.terminated],
    trainerState: { step, stage },
    logMetric,
  };
}
