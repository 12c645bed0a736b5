/** Evaluation by rewards, with every completion scripted, and majorityAtK by hand. */
import { describe, expect, it } from 'vitest';

import { majorityAtK } from '../../../src/evaluation/estimators.js';
import type { Completion } from '../../../src/model/generation.js';
import { createTokenizer } from '../../../src/model/tokenizer/tokenizer.js';
import {
  evaluateRewards,
  GRPOTrainer,
  mathReward,
  type RolloutRequest,
  type RolloutSource,
} from '../../../src/rl/index.js';
import { answerKeys } from '../../../src/rl/rewards/answerKeys.js';
import { BYTE_VOCABULARY, byteTokenizerJson } from '../../helpers/tokenizer.js';
import { Model } from '../../../src/index.js';
import { config, prompts, tinyModel, wantedTokens } from '../helpers.js';

describe('majorityAtK', () => {
  it('is the mean over blocks; ties share; no answer has no vote', () => {
    const right = (answers: (string | undefined)[]) => answers.map((a) => a === 'r');
    const of = (answers: (string | undefined)[], k: number) => majorityAtK(answers, right(answers), k);
    expect(of(['r', 'r', 'w', 'w', 'w', 'r'], 3)).toBe(0.5);
    expect(of(['r', 'w', 'w', 'r'], 4)).toBe(0.5);
    expect(of(['r', 'w', 'x'], 3)).toBeCloseTo(1 / 3, 12);
    expect(of([undefined, undefined, 'r'], 3)).toBe(1);
    expect(of([undefined, undefined], 2)).toBe(0);
    expect(of(['r', 'w', 'r', 'w'], 1)).toBe(0.5);
    expect(of(['r', 'r', 'w', 'w', 'w'], 2)).toBe(0.5); // the fifth is in no block
    expect(() => of(['r'], 2)).toThrow('k must be an integer in 1 … 1');
  });
  it('answers are the same when the mathematics is', () =>
    expect(answerKeys(['so 1/2', '#### 0.5', 'none', '\\boxed{50\\%}', '2', 'maybe 2.0'])).toEqual([
      '1/2',
      '1/2',
      undefined,
      '1/2',
      '2',
      '2',
    ]));
});

const tokenizer = createTokenizer('t.json', byteTokenizerJson(), {});
const model = () =>
  Model.fromConfig({
    model_type: 'gpt',
    vocab_size: BYTE_VOCABULARY,
    hidden_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    intermediate_size: 16,
    max_position_embeddings: 64,
    eos_token_id: 0,
  });

/** Greedy says the first of a prompt's texts, sampling says them in turn. */
function scripted(texts: Record<string, string[]>, requests: RolloutRequest[] = []): RolloutSource {
  return {
    async generate(given, request) {
      requests.push(request);
      return given.flatMap((prompt) =>
        (request.temperature === 0
          ? texts[tokenizer.decode(prompt)]!.slice(0, 1)
          : texts[tokenizer.decode(prompt)]!
        ).map((text): Completion => {
          const completionIds = tokenizer.encode(text, { addSpecialTokens: false });
          return {
            inputIds: [...prompt, ...completionIds],
            completionIds,
            text: '',
            logps: new Float32Array(completionIds.length),
            finishReason: 'stop',
          };
        }),
      );
    },
  };
}

describe('evaluateRewards', () => {
  const rows = [
    { prompt: 'a', answer: '2' },
    { prompt: 'b', answer: '#### 1/2' },
  ];
  const rollouts = scripted({ a: ['3', '2', 'it is 2.0', '5'], b: ['0.5', '1', '1', '1'] });

  it('greedy, pass@k, maj@k, best@k, the reward', async () => {
    const seen: object[] = [];
    const result = await evaluateRewards(await model(), {
      rows,
      rewardFuncs: mathReward(),
      samples: 4,
      tokenizer,
      rollouts,
      onCompletion: (record) => void seen.push(record),
    });
    expect(result).toMatchObject({
      prompts: 2,
      samplesPerPrompt: 4,
      greedy: 0.5,
      'pass@1': 3 / 8,
      'pass@4': 1,
      'maj@1': 3 / 8,
      'maj@4': 0.5,
      'best@4': 1,
      reward: 3 / 8,
      'rewards/math/mean': 3 / 8,
    });
    expect(result['pass@2']).toBeCloseTo((1 - 1 / 6 + 1 / 2) / 2, 12);
    expect(result['best@2']).toBeCloseTo(result['pass@2'] as number, 12);
    expect(result['maj@2']).toBeCloseTo((0.5 + 0.5) / 2 / 2 + 0.25 / 2, 12); // a: [3,2] ½, [2,5] ½; b: [½,1] ½, [1,1] 0
    expect(seen).toHaveLength(10);
    expect(seen[0]).toEqual({ index: 0, greedy: true, completion: '3', reward: 0, right: false });
  });
  it('does not depend on the batch size, and greedy alone asks for nothing else', async () => {
    const m = await model();
    const all = await evaluateRewards(m, {
      rows,
      rewardFuncs: mathReward(),
      samples: 4,
      tokenizer,
      rollouts,
    });
    expect(
      await evaluateRewards(m, {
        rows,
        rewardFuncs: mathReward(),
        samples: 4,
        tokenizer,
        rollouts,
        batchSize: 1,
      }),
    ).toEqual(all);
    const requests: RolloutRequest[] = [];
    expect(
      await evaluateRewards(m, {
        rows,
        rewardFuncs: mathReward(),
        samples: 0,
        topK: 5,
        tokenizer,
        rollouts: scripted({ a: ['2'], b: ['0'] }, requests),
      }),
    ).toEqual({ prompts: 2, samplesPerPrompt: 0, greedy: 0.5 });
    expect(requests).toMatchObject([{ temperature: 0, topK: 0, numReturnSequences: 1 }]);
  });
  it('samples with the model itself, the same for any batch size', async () => {
    const m = await model();
    const options = {
      rows: [{ prompt: [3, 4] }, { prompt: [5] }, { prompt: [6, 7] }],
      rewardFuncs: Object.assign(
        ({ completionIds }: { completionIds: readonly (readonly number[])[] }) =>
          completionIds.map((ids) => ids.length / 4),
        { rewardName: 'l' },
      ),
      samples: 3,
      maxCompletionLength: 5,
      tokenizer,
    };
    expect(await evaluateRewards(m, { ...options, batchSize: 1 })).toEqual(await evaluateRewards(m, options));
  });
  it('during training: pass@k and best@k of the evalDataset', async () => {
    const trainer = new GRPOTrainer({
      model: await tinyModel(),
      rewardFuncs: wantedTokens,
      trainDataset: prompts(),
      evalDataset: prompts(3),
      config: { ...config, evalSteps: 1, maxSteps: 1 },
    });
    const row = (await trainer.train()).metrics!;
    for (const key of ['pass@1', 'pass@2', 'pass@4', 'best@1', 'best@4'])
      expect(typeof row[`eval_${key}`], key).toBe('number');
    expect(row['eval_best@1']).toBeCloseTo(row['eval_reward'] as number, 6);
    expect(row['eval_best@4'] as number).toBeGreaterThan(row['eval_best@1'] as number);
  });
});
