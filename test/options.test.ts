/**
 * What is not an argument is refused, never guessed at: every row is a mistake that a stranger made or could
 * make, and what he is told.
 */
import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, it } from 'vitest';

import {
  AdamW,
  analysis,
  type Context,
  createContext,
  evaluate,
  jacobian,
  kernels,
  linearCrossEntropy,
  Model,
  ntk,
  perSampleGradientNorms,
  perSampleGradients,
  policyGradient,
  Tensor,
} from '../src/index.js';
import { any, itRefuses, type Refusal, SMALL_GPT } from './helpers/refusals.js';

let context: Context;
let model: Model;
beforeAll(async () => {
  context = await createContext({ device: 'cpu', threads: 1 });
  model = await Model.fromConfig(SMALL_GPT, { context });
});
const samples = [
  { inputIds: [1, 2, 3, 4], scoreFrom: 2 },
  { inputIds: [5, 6, 7], scoreFrom: 1 },
];
const batch = { inputIds: [[1, 2, 3]] };
const prompts = [[1, 2]];
const ones = new Float32Array(4).fill(1);
const matrix = (rows: number, columns: number) => ({
  data: new Float32Array(rows * columns).fill(1),
  shape: [rows, columns],
});
const optimizer = () => new AdamW(model);

const sampling = (range: string, values: readonly number[], name: string): Refusal[] =>
  values.map((value) => [
    `generate ${name} ${value}`,
    `model.generate: ${name} must be ${range}, got ${value}`,
    () => model.generate(prompts, { maxNewTokens: 1, [name]: value }),
  ]);
const temperatures = (name: string, call: (temperature: number) => unknown): Refusal[] =>
  [0, -1, NaN, Infinity].map((value) => [
    `${name} temperature ${value}`,
    `${name}: temperature must be a positive number, got ${value}`,
    () => call(value),
  ]);

const refusals: Refusal[] = [
  ...sampling('a number ≥ 0 (0 = greedy)', [-1, NaN, Infinity], 'temperature'),
  ...sampling('a number in (0, 1]', [0, -1, 2, NaN], 'topP'),
  ...sampling('a number in [0, 1]', [5, -1, NaN], 'minP'),
  ...sampling('an integer ≥ 0 (0 = all)', [-1, 1.5], 'topK'),
  ...temperatures('model.score', (temperature) => model.score(samples, { temperature })),
  ...temperatures('model.logprobs', (temperature) => model.logprobs(batch, { temperature })),
  ...temperatures('model.accumulateGradients', (temperature) =>
    model.accumulateGradients(samples, { loss: 'coefficients', coefficients: ones, temperature }),
  ),
  ...temperatures('policyGradient', (temperature) =>
    policyGradient({ hidden: matrix(2, 3), weight: matrix(4, 3), targets: new Int32Array(2), temperature }),
  ),
  ...temperatures('linearCrossEntropy', (temperature) =>
    linearCrossEntropy({
      hidden: matrix(2, 3),
      weight: matrix(4, 3),
      targets: new Int32Array(2),
      temperature,
    }),
  ),
  ...temperatures('evaluate', (temperature) =>
    evaluate(model, { prompts, reward: () => 1, maxNewTokens: 1, temperature }),
  ),

  ['context null', 'createContext: options must be an object, got null', () => createContext(any(null))],
  [
    'context threads',
    'createContext: threads must be a positive integer, got 2.5',
    () => createContext({ threads: 2.5 }),
  ],
  [
    'Tensor.from without a context',
    'Tensor.from: context must be a context, as createContext() makes, got a Float32Array',
    () => Tensor.from(any(ones), any([4]), any(undefined)),
  ],
  [
    'fromPretrained untie',
    "fromPretrained: there is no option 'untie'. Did you mean 'untieClassifier'?",
    () => Model.fromPretrained('x', any({ untie: true })),
  ],
  [
    'fromPretrained context',
    'fromPretrained: context must be a context, as createContext() makes, got an empty object',
    () => Model.fromPretrained('x', { context: any({}) }),
  ],
  [
    'fromConfig option',
    "fromConfig: there is no option 'sed'. Did you mean 'seed'?",
    () => Model.fromConfig({ model_type: 'gpt' }, any({ sed: 1 })),
  ],

  [
    'generate a text',
    "model.generate: prompts must be an array of prompts (text, token ids or messages), got 'text'",
    () => model.generate(any('text'), { maxNewTokens: 1 }),
  ],
  [
    'generate numbers',
    'model.generate: prompts[0] must be text, token ids or messages { role, content }, got 1',
    () => model.generate(any([1, 2]), { maxNewTokens: 1 }),
  ],
  [
    'generate stop',
    "model.generate: stop must be an array, got 'x'",
    () => model.generate(prompts, { maxNewTokens: 1, stop: any('x') }),
  ],
  [
    'generate without length',
    'model.generate: maxNewTokens must be an integer ≥ 0, got undefined',
    () => model.generate(prompts, any({})),
  ],
  [
    'generate signal',
    'model.generate: signal must be an AbortSignal, got 5',
    () => model.generate(prompts, { maxNewTokens: 1, signal: any(5) }),
  ],
  [
    'forward of nothing',
    'model.forward: inputIds must be an array, got undefined',
    () => model.forward(any(undefined)),
  ],
  [
    'forward input_ids',
    "model.forward: there is no field 'input_ids'. Did you mean 'inputIds'?",
    () => model.forward(any({ input_ids: [[1]] })),
  ],
  [
    'forward hidden_states',
    "model.forward: there is no option 'hidden_states'. Did you mean 'hiddenStates'?",
    () => model.forward(batch, any({ hidden_states: true })),
  ],
  [
    'score one sample',
    'model.score: samples must be an array of samples { inputIds, scoreFrom }, got an object { inputIds, scoreFrom }',
    () => model.score(any(samples[0])),
  ],
  [
    'features of ids',
    'model.features: samples[0] must be { inputIds, scoreFrom }, got [1,2]',
    () => model.features(any([[1, 2]])),
  ],
  [
    'setTrainable head',
    "model.setTrainable: which must be 'all', 'classifier', 'body' or a RegExp of parameter names, got 'head'",
    () => model.setTrainable(any('head')),
  ],
  [
    'parameters filter',
    "model.parameters: filter must be a RegExp or a function of a parameter, got 'norm'",
    () => model.parameters(any('norm')),
  ],
  [
    'vjp of arrays',
    'model.vjp: cotangents[0] must be a Tensor (Tensor.from), got an object { data, shape }',
    () => model.vjp(batch, any([matrix(3, 11)])),
  ],
  [
    'loss misspelt',
    "model.accumulateGradients: there is no option 'coefs'.",
    () => model.accumulateGradients(samples, any({ loss: 'coefficients', coefs: ones })),
  ],
  [
    'loss without its arrays',
    "model.accumulateGradients: coefficients must be given for loss 'coefficients', got undefined",
    () => model.accumulateGradients(samples, { loss: 'coefficients' }),
  ],
  [
    'clip without advantages',
    "model.accumulateGradients: advantages must be given for loss 'clip', got undefined",
    () => model.accumulateGradients(samples, { loss: 'clip' }),
  ],
  [
    'kl without a reference',
    "model.accumulateGradients: refLogps must be given for kl 'k3', got undefined",
    () => model.accumulateGradients(samples, { loss: 'clip', advantages: ones, beta: 0.1 }),
  ],
  [
    'estimateTraining',
    'model.estimateTraining: sequences must be a positive integer, got 0',
    () => model.estimateTraining({ sequences: 0, sequenceLength: 4 }),
  ],

  ['AdamW eps', 'AdamW: eps must be a positive number, got -1', () => new AdamW(model, { eps: -1 })],
  [
    'AdamW betas',
    'AdamW: betas must be two numbers in [0, 1), got [2,3]',
    () => new AdamW(model, { betas: [2, 3] }),
  ],
  ['AdamW lr', "AdamW: there is no option 'lr'.", () => new AdamW(model, any({ lr: 0.1 }))],
  [
    'AdamW stepCount',
    'AdamW: stepCount must be an integer ≥ 0, got -4',
    () => {
      optimizer().stepCount = -4;
    },
  ],
  [
    'AdamW.step NaN',
    'AdamW.step: learningRate must be a number ≥ 0, got NaN',
    () => optimizer().step({ learningRate: NaN }),
  ],
  ['AdamW moment', "AdamW: there is no parameter 'x'.", () => optimizer().readMoment('x', 'exp_avg')],

  [
    'gram of nothing',
    'ntk.gram: samples must be an array of samples { inputIds, scoreFrom }, got undefined',
    () => ntk.gram(model, any(undefined)),
  ],
  [
    'gram level',
    "ntk.gram: level must be 'sequence' or 'token', got 'tokens'",
    () => ntk.gram(model, samples, null, { level: any('tokens') }),
  ],
  [
    'gram outputs',
    "ntk.gram: outputs must be 'target', 'trace' or 'full', got 'logits'",
    () => ntk.gram(model, samples, null, { outputs: any('logits') }),
  ],
  [
    'gram implementation',
    "ntk.gram: implementation must be 'auto', 'jacobian-contraction'",
    () => ntk.gram(model, samples, null, { implementation: any('ghost') }),
  ],
  [
    'gram bogus',
    "ntk.gram: there is no option 'bogus'.",
    () => ntk.gram(model, samples, null, any({ bogus: 1 })),
  ],
  [
    'gram options in third place',
    'ntk.gram: x2 must be an array of samples, or null for those of x1; options are the fourth argument, got an ' +
      'object { level }',
    () => ntk.gram(model, samples, any({ level: 'token' })),
  ],
  [
    'gram params',
    "ntk.gram: params must be a RegExp or a function of a parameter, got 'norm'",
    () => ntk.gram(model, samples, null, { params: any('norm') }),
  ],
  [
    'decompose level',
    "ntk.decompose: level must be 'sequence' or 'token', got 'tokens'",
    () => ntk.decompose(model, samples, null, { level: any('tokens') }),
  ],
  [
    'decompose implementation',
    "ntk.decompose: there is no option 'implementation'.",
    () => ntk.decompose(model, samples, null, any({ implementation: 'auto' })),
  ],
  [
    'estimate level',
    'ntk.estimate: level must be',
    () => ntk.estimate(model, samples, null, { level: any('tokens') }),
  ],
  [
    'sketch sized',
    "ntk.sketch: there is no option 'sized'. Did you mean 'size'?",
    () => ntk.sketch(model, samples, null, any({ sized: 8 })),
  ],
  [
    'vectorProduct v',
    'ntk.vectorProduct: v must be a Float64Array, got [1,2]',
    () => ntk.vectorProduct(model, samples, null, any([1, 2])),
  ],
  [
    'linearize',
    "ntk.linearize: there is no option 'levels'. Did you mean 'level'?",
    () => ntk.linearize(model, any({ levels: 'token' })),
  ],
  [
    'perSampleGradients param',
    "perSampleGradients: there is no option 'param'. Did you mean 'params'?",
    () => perSampleGradients(model, samples, any({ param: /norm/ })),
  ],
  [
    'perSampleGradientNorms level',
    "perSampleGradientNorms: there is no option 'level'.",
    () => perSampleGradientNorms(model, samples, any({ level: 'token' })),
  ],
  [
    'jacobian outputs',
    "jacobian: outputs must be 'all' or an array of token ids, got 3",
    () => jacobian(model, prompts, { outputs: any(3) }),
  ],

  [
    'kernel argument',
    "gemm: there is no argument 'aplha'. Did you mean 'alpha'?",
    () => kernels.gemmSync(any({ a: matrix(1, 1), b: matrix(1, 1), aplha: 2 })),
  ],
  [
    'kernel argument, asynchronous',
    "gemm: there is no argument 'aplha'. Did you mean 'alpha'?",
    () => kernels.gemm(any({ a: matrix(1, 1), b: matrix(1, 1), aplha: 2 })),
  ],
  [
    'kernel option',
    "kernels.gemmSync: there is no option 'thread'. Did you mean 'threads'?",
    () => kernels.gemmSync({ a: matrix(1, 1), b: matrix(1, 1) }, any({ thread: 1 })),
  ],
  ...[0, 2.5].map(
    (threads): Refusal => [
      `kernel threads ${threads}`,
      `kernels.gemmSync: threads must be a positive integer, got ${threads}`,
      () => kernels.gemmSync({ a: matrix(1, 1), b: matrix(1, 1) }, { threads }),
    ],
  ),

  [
    'explainStep without options',
    'analysis.explainStep: learningRate must be a number ≥ 0, got undefined',
    () =>
      analysis.explainStep(
        model,
        samples.map((s) => ({ ...s, advantage: 1 })),
        prompts,
        any(undefined),
      ),
  ],
  [
    'snapshot state',
    "analysis.snapshot: there is no option 'state'. Did you mean 'states'?",
    () => analysis.snapshot(model, samples, any({ state: 1 })),
  ],
  [
    'featureSimilarity bin',
    "analysis.featureSimilarity: there is no option 'bin'. Did you mean 'bins'?",
    () => analysis.featureSimilarity(model, samples, any({ bin: 1 })),
  ],
  [
    'diversity',
    "analysis.diversity: there is no option 'perPrompts'. Did you mean 'perPrompt'?",
    () => analysis.diversity([[1]], any({ perPrompts: 1 })),
  ],
  [
    'evaluate nothing',
    'evaluate: prompts must be an array that is not empty, got undefined',
    () => evaluate(model, any({})),
  ],
  ['no model', 'evaluate: model must be a Model, got an empty object', () => evaluate(any({}), any({}))],
];

describe('refusals', () => {
  itRefuses(refusals);

  it('vjp: the shape of a cotangent, in words', async () => {
    const wrong = (shape: number[]) =>
      model.vjp(batch, [Tensor.from(context, new Float32Array(shape.reduce((a, b) => a * b, 1)), shape)]);
    await expect(wrong([2, 3, 10])).rejects.toMatchObject({
      code: 'ERR_SHAPE',
      message: 'model.vjp: cotangents[0] must have shape [k, T, V] = [2, 3, 11], got [2, 3, 10]',
    });
    await expect(wrong([3, 11])).rejects.toMatchObject({
      code: 'ERR_SHAPE',
      message: 'model.vjp: cotangents[0] must have shape [k, T, V] = [k, 3, 11], got [3, 11]',
    });
    expect(
      Object.keys(await model.vjp(batch, [Tensor.from(context, new Float32Array(66), [2, 3, 11])])).length,
    ).toBeGreaterThan(0);
  });

  it('a wrong HEADFIRST_ISA is an argument, not a missing addon', () => {
    const run = spawnSync(
      process.execPath,
      ['-e', "import('./dist/index.js').catch((e) => console.log(e.code, e.message));"],
      { encoding: 'utf8', env: { ...process.env, HEADFIRST_ISA: 'x' } },
    );
    expect(run.stdout.trim()).toBe(
      "ERR_INVALID_ARG headfirst: HEADFIRST_ISA must be base, avx2 or avx512, got 'x'",
    );
  });

  it('a result beyond the budget: the cheaper call fits what was asked', async () => {
    const advice = (options: ntk.GramOptions) =>
      ntk.gram(model, samples, null, { maxBytes: 8, ...options }).then(
        () => 'accepted',
        (error: Error) => error.message,
      );
    expect(await advice({ outputs: 'full' })).toMatch(/use fewer samples, or outputs 'trace'$/);
    expect(await advice({ level: 'token', parts: true })).toMatch(
      /use fewer samples, or level 'sequence', or no parts$/,
    );
    expect(await advice({})).toMatch(/use fewer samples$/);
  });
});
