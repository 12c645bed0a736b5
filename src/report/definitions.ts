/** What every number in a report means: one sentence each, shown on hover and at the end of the page. */

export interface Definition {
  readonly name: string;
  readonly text: string;
}

export const DEFINITIONS = {
  reward: { name: 'reward', text: 'Mean reward of the completions sampled in this training step. For the noisy adder: the share of right answers.' },
  passAt1: { name: 'pass@1', text: 'Probability that one sampled completion is right, on held-out prompts at temperature 1.' },
  passAtK: { name: 'pass@k', text: 'Probability that at least one of k sampled completions is right (unbiased estimator over the samples of each prompt).' },
  greedy: { name: 'greedy', text: 'Share of held-out prompts whose most likely completion, token by token, is right.' },
  distinct: { name: 'distinct', text: 'How many different completions there are among the samples of one prompt, on average.' },
  maxProb: { name: 'max-prob', text: 'Probability of the most likely next token, averaged over tokens: how sure the model is.' },
  entropy: { name: 'entropy', text: 'Entropy of the next-token distribution in nats, averaged over tokens: 0 means no choice is left.' },
  fixed: { name: 'on fixed text', text: 'Measured on the same text for every model: the base model’s own evaluation samples, frozen. It shows what training did to given states.' },
  onPolicy: { name: 'on own samples', text: 'Measured on what the model itself writes. It also changes when the model moves to another answer format.' },
  gradNorm: { name: 'gradient norm', text: 'L2 norm of the gradient of all trained parameters before clipping.' },
  length: { name: 'completion length', text: 'Mean tokens per completion sampled in this training step, end token included.' },
  kl: { name: 'KL', text: 'KL(π ‖ π_ref) per token in nats: how far the policy has moved from the model it started from.' },
  step: { name: 'step', text: 'One optimizer update. Every arm samples the same number of completions per step, so equal steps are equal budgets.' },
  band: { name: 'band', text: 'One standard deviation over seeds on either side of their mean.' },
} as const satisfies Record<string, Definition>;

export type DefinitionKey = keyof typeof DEFINITIONS;
