/** What every number in a report means: one sentence each, shown on hover and at the end of the page. */

export interface Definition {
  readonly name: string;
  readonly text: string;
}

export const DEFINITIONS = {
  reward: {
    name: 'reward',
    text:
      'Mean reward of the completions sampled in this training step. For the noisy adder: the share of right ' +
      'answers.',
  },
  passAt1: {
    name: 'pass@1',
    text: 'Probability that one sampled completion is right, on held-out prompts at temperature 1.',
  },
  passAtK: {
    name: 'pass@k',
    text:
      'Probability that at least one of k sampled completions is right (unbiased estimator over the samples ' +
      'of each prompt).',
  },
  greedy: {
    name: 'greedy',
    text: 'Share of held-out prompts whose most likely completion, token by token, is right.',
  },
  distinct: {
    name: 'distinct',
    text: 'How many different completions there are among the samples of one prompt, on average.',
  },
  maxProb: {
    name: 'max-prob',
    text: 'Probability of the most likely next token, averaged over tokens: how sure the model is.',
  },
  entropy: {
    name: 'entropy',
    text: 'Entropy of the next-token distribution in nats, averaged over tokens: 0 means no choice is left.',
  },
  fixed: {
    name: 'on fixed text',
    text:
      'Measured on the same text for every model: the base model’s own evaluation samples, frozen. It shows ' +
      'what training did to given states.',
  },
  onPolicy: {
    name: 'on own samples',
    text: 'Measured on what the model itself writes. It also changes when the model moves to another answer format.',
  },
  gradNorm: {
    name: 'gradient norm',
    text: 'L2 norm of the gradient of all trained parameters before clipping.',
  },
  length: {
    name: 'completion length',
    text: 'Mean tokens per completion sampled in this training step, end token included.',
  },
  kl: {
    name: 'KL',
    text: 'KL(π ‖ π_ref) per token in nats: how far the policy has moved from the model it started from.',
  },
  representation: {
    name: 'representation component',
    text:
      'R: what moving the classifier W does, ⟨φ(s), φ(s′)⟩ between features times the identity. Kernel ' +
      'entries are of the log-probability of whole samples.',
  },
  gradient: {
    name: 'gradient component',
    text: 'G: what moving everything below the classifier does, seen through W on both sides.',
  },
  cross: {
    name: 'cross component',
    text: 'Only in tied models: the classifier’s gradient moves the embedding, and the other way round.',
  },
  total: {
    name: 'kernel',
    text:
      'The empirical neural tangent kernel: inner products of the gradients of the samples’ ' +
      'log-probabilities. Red: training on one raises the other. Blue: lowers it.',
  },
  spectrum: {
    name: 'spectrum',
    text: 'Eigenvalues of the kernel of the samples, largest first: how many directions training on them really has.',
  },
  cosine: {
    name: 'cosine of features',
    text:
      'Between the final hidden states of different samples with equally many answer tokens. Near 1: the ' +
      'representation component pushes the same tokens up everywhere.',
  },
  prediction: {
    name: 'prediction',
    text:
      'Change of the log-probability of every next token, predicted to first order from the weights before ' +
      'the step, against what the step really did. Error: ‖predicted − measured‖ / ‖measured‖.',
  },
  parts: {
    name: 'parts of the prediction',
    text:
      'Size of each component’s change, and of the gradient component’s by layer, relative to the whole ' +
      'predicted change. Parts can cancel, so shares may add to more than 1.',
  },
  stepR: {
    name: 'R’s effect on entropy',
    text: 'Predicted change of the mean entropy at fixed text by the representation component of the step just made.',
  },
  stepG: {
    name: 'G’s effect on entropy',
    text: 'Predicted change of the mean entropy at fixed text by the gradient component of the step just made.',
  },
  stepError: {
    name: 'prediction error',
    text:
      '‖predicted − measured‖ / ‖measured‖ of the step’s change of log π: small where the first order ' +
      'explains the step.',
  },
  featureDrift: {
    name: 'feature drift',
    text: '‖Φ − Φ₀‖ / ‖Φ₀‖: how far features at the same states have moved from the first model’s.',
  },
  classifierMoved: { name: 'classifier moved', text: '‖W − W₀‖ / ‖W₀‖ from the first model.' },
  classifierNorm: { name: 'classifier norm', text: 'Frobenius norm of the unembedding matrix W.' },
  effectiveRank: {
    name: 'effective rank',
    text: 'exp of the entropy of the kernel’s normalised eigenvalues.',
  },
  kernelAlignment: {
    name: 'kernel alignment',
    text: 'Centred alignment (linear CKA) of the kernel of the probes with the first one: 1 = it has not turned.',
  },
  bestOfN: { name: 'best of n', text: 'Expected best reward among n samples of a prompt.' },
  claim: {
    name: 'claim',
    text:
      'Of arXiv 2601.04670, with a criterion of parts: met in every run = reproduced, in none = not ' +
      'reproduced, else partly.',
  },
  step: {
    name: 'step',
    text:
      'One optimizer update. Where runs are compared, each samples the same number of completions per step, ' +
      'so equal steps are equal budgets.',
  },
  band: { name: 'band', text: 'One standard deviation over seeds on either side of their mean.' },
} as const satisfies Record<string, Definition>;

export type DefinitionKey = keyof typeof DEFINITIONS;
