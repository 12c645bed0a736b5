/** What trainers, rewards and rollouts refuse, and what they say. */
import { beforeAll, describe } from 'vitest';

import {
  CFRLTrainer,
  createContext,
  evaluateRewards,
  GRPOTrainer,
  httpReward,
  lengthReward,
  loadReward,
  mathReward,
  Model,
  openAIRollouts,
  PPOTrainer,
  SFTTrainer,
  sglangWeightSync,
  trainTestSplit,
} from '../../src/index.js';
import { any, itRefuses, type Refusal, SMALL_GPT } from '../helpers/refusals.js';

let model: Model;
beforeAll(async () => {
  const context = await createContext({ device: 'cpu', threads: 1 });
  model = await Model.fromConfig(SMALL_GPT, { context });
});
const training = () => ({ model, rewardFuncs: () => [0], trainDataset: [{ prompt: [1, 2] }] });

const refusals: Refusal[] = [
  [
    'trainer of nothing',
    'GRPOTrainer: model must be a Model, got undefined',
    () => new (any(GRPOTrainer) as new () => object)(),
  ],
  [
    'trainer args',
    "GRPOTrainer: there is no argument 'args': its name here is config",
    () => new GRPOTrainer(any({ ...training(), args: 1 })),
  ],
  [
    'trainer model',
    "GRPOTrainer: model must be a Model, got 'x'",
    () => new GRPOTrainer({ ...training(), model: any('x') }),
  ],
  [
    'trainer without rewards',
    'GRPOTrainer: rewardFuncs must be a function or an array of functions that is not empty, got undefined',
    () => new GRPOTrainer({ ...training(), rewardFuncs: any(undefined) }),
  ],
  [
    'trainer data',
    'GRPOTrainer: trainDataset must be an array of rows or a function (index, random) => row, got undefined',
    () => new GRPOTrainer({ ...training(), trainDataset: any(undefined) }),
  ],
  [
    'trainer rollouts',
    "GRPOTrainer: rollouts must be a source of completions with generate(), as openAIRollouts() makes, got 'http://x'",
    () => new GRPOTrainer({ ...training(), rollouts: any('http://x') }),
  ],
  [
    'CF-RL reward',
    "CFRLTrainer: there is no argument 'rewardFunc'. Did you mean 'rewardFuncs'?",
    () => new CFRLTrainer(any({ ...training(), rewardFunc: () => [] })),
  ],
  [
    'PPO refModel',
    "PPOTrainer: refModel must be a Model, got 'x'",
    () => new PPOTrainer({ ...training(), refModel: any('x') }),
  ],
  ['SFT reward', "SFTTrainer: there is no argument 'rewardFuncs'.", () => new SFTTrainer(any(training()))],
  [
    'train resume',
    "GRPOTrainer.train: there is no option 'resume'. Did you mean 'resumeFrom'?",
    () => new GRPOTrainer(training()).train(any({ resume: true })),
  ],
  [
    'prompt of a number',
    'GRPOTrainer: row 0 of the batch must have a prompt of text, token ids or messages { role, content }, got 5',
    () =>
      new GRPOTrainer({
        ...training(),
        trainDataset: [{ prompt: any(5) }],
        config: { maxCompletionLength: 2 },
      }).train(),
  ],
  [
    'SFT prompt of a number',
    'SFTTrainer: row 0 of trainDataset must have prompt and completion (text, token ids or messages), messages, ' +
      'text, or inputIds and scoreFrom, got prompt 5 and completion [1,2]',
    () => new SFTTrainer({ model, trainDataset: [{ prompt: any(5), completion: [1, 2] }] }).train(),
  ],
  [
    'reportTo',
    "GRPOConfig: reportTo must be 'none', 'tensorboard' or an array of these, got 1",
    () => new GRPOTrainer({ ...training(), config: { reportTo: any(1) } }),
  ],
  [
    'evaluateRewards nothing',
    'evaluateRewards: rows must be an array that is not empty, got undefined',
    () => evaluateRewards(model, any({})),
  ],
  [
    'evaluateRewards topP',
    'evaluateRewards: topP must be a number in (0, 1], got 2',
    () => evaluateRewards(model, { rows: [{ prompt: [1] }], rewardFuncs: () => [1], topP: 2 }),
  ],
  [
    'trainTestSplit',
    'trainTestSplit: testSize must be a positive number, got undefined',
    () => trainTestSplit([1, 2], any({})),
  ],
  [
    'openAIRollouts',
    "openAIRollouts: url must be an address that begins with http:// or https://, got 'host'",
    () => openAIRollouts({ url: 'host' }),
  ],
  [
    'sglangWeightSync',
    'sglangWeightSync: directory must be a non-empty string, got undefined',
    () => sglangWeightSync(any({ url: 'http://x' })),
  ],
  [
    'httpReward',
    "httpReward: there is no option 'timeout'. Did you mean 'timeoutMs'?",
    () => httpReward(any({ url: 'http://x', timeout: 1 })),
  ],
  ['mathReward', "mathReward: there is no option 'column'.", () => mathReward(any({ column: 'x' }))],
  [
    'lengthReward',
    'lengthReward: target must be a positive number of tokens, got NaN',
    () => lengthReward({ target: NaN }),
  ],
  [
    '--reward overlong:5',
    "reward 'overlong' must be written like 'overlong:512,128' (maxCompletionLength and softPunishCache, tokens), got 'overlong:5'",
    () => loadReward('overlong:5'),
  ],
  [
    '--reward length:abc',
    "reward 'length' must be written like 'length:100' (tokens), got 'length:abc'",
    () => loadReward('length:abc'),
  ],
  ['--reward think:x', "reward 'think' takes no argument, got 'think:x'", () => loadReward('think:x')],
];

describe('refusals', () => {
  itRefuses(refusals);
});
