/** A reward for form, by regular expression. */
import { fail } from '../../errors.js';
import type { RewardFunc } from '../interfaces.js';
import { named } from './named.js';

/**
 * 1 when the completion's text matches anywhere, else 0. A string is a pattern with flag u; of a RegExp the
 * flags g and y are dropped.
 * @throws ERR_INVALID_ARG for an empty or broken pattern.
 */
export function regexReward(pattern: string | RegExp): RewardFunc {
  if (pattern === '')
    fail(
      'ERR_INVALID_ARG',
      "regexReward: the pattern must not be empty; on a command line write 'regex:<pattern>'",
    );
  const regex = compile(pattern);
  return named('regex', ({ completions }) =>
    completions.map((completion) => (regex.test(completion) ? 1 : 0)),
  );
}

function compile(pattern: string | RegExp): RegExp {
  try {
    if (typeof pattern === 'string') return new RegExp(pattern, 'u');
    // A global or sticky expression would remember where it stopped in the text before.
    return new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''));
  } catch (error) {
    return fail('ERR_INVALID_ARG', `regexReward: ${(error as Error).message}`, error);
  }
}
