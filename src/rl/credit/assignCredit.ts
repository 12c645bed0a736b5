/** The fourth sentence of a step: one advantage per active token. */
import { perToken } from '../loss/loss.js';
import type { Rewards } from '../rewards/score.js';
import type { Kept } from '../rollout/keepForTraining.js';
import { type ByCompletion, type ByToken, mapEach, plain, sumTokens } from '../spaces.js';
import { computeAdvantages } from './advantages.js';
import type { CreditContext } from './creditContext.js';
import { importanceCorrection } from './importanceCorrection.js';
import { klTerms } from './klTerms.js';
import { discountedReturns, generalizedAdvantages, tokenRewards, whiten } from './returns.js';
import { ValueHead, type ValueHeadState } from './valueHead.js';

export interface Credit {
  /** What multiplies ∇ log π of each token, the correction for rollouts made elsewhere included. */
  readonly advantages: ByToken<number>;
  /** Before that correction; with an estimator by token the mean over its tokens. */
  readonly ofCompletions: ByCompletion<number>;
  /** With a value head: what V was and should be. */
  readonly values: { readonly old: ByToken<number>; readonly returns: ByToken<number> } | null;
  /** For a KL penalty in the loss. */
  readonly refLogps: ByToken<number> | null;
  /** For rollouts made elsewhere: this model's log-probabilities. */
  readonly oldLogps: ByToken<number> | null;
  /** Share of completions whose rewards have no spread to compare them by. */
  readonly fractionZeroStd: number;
  /** log π − log π_ref, for a KL penalty in the reward. */
  readonly tokenKl: ByToken<number> | undefined;
  /** What tokens weigh because the server's policy differs; undefined when they were sampled here. */
  readonly importance: ByToken<number> | undefined;
}

/** One number per completion, repeated for each of its active tokens. */
const spread = (values: ByCompletion<number>, lengths: ByCompletion<number>): ByToken<number> =>
  perToken(plain(values), plain(lengths));

export async function assignCredit(
  kept: Kept,
  rewards: Rewards,
  valueHead: ValueHeadState | null,
  context: CreditContext,
): Promise<Credit> {
  const { config } = context;
  const { lengths } = kept;
  const byToken = config.advantageEstimator === 'gae' || config.advantageEstimator === 'reinforce_plus_plus';
  const { refLogps, tokenKl } = await klTerms(kept.samples, context);
  const penalty =
    tokenKl && !byToken ? mapEach(sumTokens(tokenKl, lengths), (kl) => config.beta * kl) : undefined;
  const { advantages: perCompletion, fractionZeroStd } = computeAdvantages(
    rewards.columns,
    rewards.weights,
    config,
    penalty,
  );
  const { advantages, values } = byToken
    ? await tokenAdvantages(
        kept,
        { scores: perCompletion, totals: rewards.totals, tokenKl },
        valueHead,
        context,
      )
    : { advantages: spread(perCompletion, lengths), values: null };
  const correction = await importanceCorrection(kept, context);
  return {
    advantages: correction ? product(advantages, correction.weights) : advantages,
    ofCompletions: byToken ? tokenMeans(advantages, lengths) : perCompletion,
    values,
    refLogps: refLogps ?? null,
    oldLogps: correction?.oldLogps ?? null,
    fractionZeroStd,
    tokenKl,
    importance: correction?.weights,
  };
}

/** A rollout's rewards, as estimators of tokens take them. */
interface Scored {
  /** Each completion's reward, on its last token. */
  readonly scores: ByCompletion<number>;
  /** NaN where no function had an opinion. */
  readonly totals: ByCompletion<number>;
  /** For a KL penalty in the reward. */
  readonly tokenKl: ByToken<number> | undefined;
}

/**
 * REINFORCE++ and GAE: whitened advantages of tokens, and for GAE what the value head said and should have
 * said.
 */
async function tokenAdvantages(
  { samples, lengths }: Kept,
  { scores, totals, tokenKl }: Scored,
  valueHead: ValueHeadState | null,
  { model, config, features, signal }: CreditContext,
): Promise<Pick<Credit, 'advantages' | 'values'>> {
  const scorable = mapEach(totals, (total) => (Number.isNaN(total) ? 0 : 1));
  const mask = spread(scorable, lengths);
  const plainRewards = tokenRewards(scores, lengths, config.klInReward ? config.beta : 0, tokenKl);
  if (!valueHead || samples.length === 0) {
    const returns = discountedReturns(plainRewards, lengths, config.gamma);
    return { advantages: whiten(returns, { mask }), values: null };
  }
  const old = await features.with(samples, signal, (phi) => new ValueHead(model, valueHead).values(phi));
  const whitened = config.whitenRewards ? whiten(plainRewards, { shiftMean: false, mask }) : plainRewards;
  const { advantages, returns } = generalizedAdvantages(whitened, old, lengths, config);
  return { advantages: whiten(advantages, { mask }), values: { old, returns } };
}

const product = (a: ByToken<number>, b: ByToken<number>): ByToken<number> =>
  mapEach(a, (value, token) => value * b[token]!);

const tokenMeans = (values: ByToken<number>, lengths: ByCompletion<number>): ByCompletion<number> =>
  mapEach(sumTokens(values, lengths), (sum, completion) => sum / Math.max(lengths[completion]!, 1));
