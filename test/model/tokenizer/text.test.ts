/** Text around a model: prompt and completion together, stop texts, what ends a text. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { Model } from '../../../src/index.js';
import { GRPOTrainer, SFTTrainer } from '../../../src/rl/index.js';
import { endIds } from '../../../src/model/endOfText.js';
import { encodePair } from '../../../src/model/tokenizer/pair.js';
import { lengthToStop, tokensWith } from '../../../src/model/tokenizer/stops.js';
import { createTokenizer, type Tokenizer } from '../../../src/model/tokenizer/tokenizer.js';
import { openAIRollouts, sglangRollouts } from '../../../src/rl/rollout/remoteRollouts.js';
import { encodeRow } from '../../../src/rl/trainers/sftRows.js';
import { resolveConfig } from '../../../src/rl/config/config.js';
import { readSamples } from '../../../src/cli/samples.js';
import {
  golden,
  needsSharedData,
  readJson,
  sharedData,
  temporaryDirectory,
  withoutSharedData,
} from '../../helpers/files.js';
import { serve } from '../../helpers/server.js';
import { BYTE_VOCABULARY, byteTokenizerJson } from '../../helpers/tokenizer.js';
import { tokenizerOfFiles } from '../../helpers/tokenizerCases.js';

type Json = Record<string, any>;

const filesOf = (name: string): Record<string, Json> =>
  readJson(join(golden('tokenizers'), `${name}.json`))['files'];
const llama = tokenizerOfFiles('llama', filesOf('class-llama'));
const bytes = createTokenizer('bytes', byteTokenizerJson(), {});
const idsOf = (text: string): number[] => [...Buffer.from(text)].map((byte) => byte + 3);

/** A small model with random weights, and a tokenizer's files beside it. */
async function modelWith(files: Record<string, Json>, config: Json = {}): Promise<Model> {
  const directory = temporaryDirectory();
  using model = await Model.fromConfig(
    {
      model_type: 'llama',
      vocab_size: 520,
      hidden_size: 16,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      intermediate_size: 16,
      max_position_embeddings: 128,
      ...config,
    },
    { seed: 3 },
  );
  await model.savePretrained(directory);
  for (const [name, content] of Object.entries(files)) {
    if (name !== 'config.json') writeFileSync(join(directory, name), JSON.stringify(content));
  }
  return Model.fromPretrained(directory);
}

describe('prompt and completion', () => {
  const pair = (prompt: string | number[], completion: string | number[], tokenizer: Tokenizer = llama) =>
    encodePair('row 1', () => tokenizer, prompt, completion);

  it('are one text: no space appears where the completion begins', () => {
    const { inputIds, completionFrom } = pair('what is', ', and where');
    expect(inputIds).toEqual(llama.encode('what is, and where'));
    expect(completionFrom).toBe(llama.encode('what is').length);
    expect(llama.decode(inputIds)).toBe('what is, and where');
  });

  it('a token across the border is the completion’s', () => {
    const whole = llama.encode('in the');
    const { inputIds, completionFrom } = pair('in t', 'he');
    expect(inputIds).toEqual(whole);
    // ▁the is one token.
    expect(completionFrom).toBe(whole.length - 1);
    expect(llama.encode('in t').slice(0, completionFrom)).toEqual(whole.slice(0, -1));
  });

  it('token ids are used as they are; a text behind them only where their text gives them again', () => {
    expect(pair([5, 6], [7])).toEqual({ inputIds: [5, 6, 7], completionFrom: 2 });
    expect(pair('what', [7]).inputIds).toEqual([...llama.encode('what'), 7]);
    const ids = idsOf('ab');
    expect(pair(ids, 'cd', bytes)).toEqual({ inputIds: idsOf('abcd'), completionFrom: 2 });
    const half = idsOf('é').slice(0, 1);
    expect(() => pair(half, 'cd', bytes)).toThrow('row 1: a completion as text needs a prompt as text');
  });
});

describe('stop texts', () => {
  it('several tokens, parts of tokens, characters whose bytes are spread', () => {
    const length = (text: string, ...stops: string[]) =>
      lengthToStop(bytes, idsOf(text), stops, BYTE_VOCABULARY);
    expect(length('Question: a\n\nb', '\n\n')).toBe(13);
    expect(length('Question: a\n\nb', '\n')).toBe(12);
    expect(length('caféteria', 'é')).toBe(5);
    expect(length('caféteria', 'ét', 'eria')).toBe(6);
    expect(length('nothing', 'x', 'thinG')).toBeUndefined();
    expect(lengthToStop(bytes, [...idsOf('a'), 2, ...idsOf('b')], ['<|im_end|>'], BYTE_VOCABULARY)).toBe(2);
    expect([...tokensWith(bytes, ['<|im_end|>', 'q'], BYTE_VOCABULARY)]).toEqual([2, 3 + 113]);
  });

  it('the newline and the full stop of a Llama vocabulary are each one token', () => {
    const newline = llama.encode('\n', { addSpecialTokens: false }).at(-1)!;
    expect(llama.decode([newline])).toBe('\n');
    expect(tokensWith(llama, ['\n'], 520).has(newline)).toBe(true);
    const ids = llama.encode('a line.\nanother', { addSpecialTokens: false });
    const end = lengthToStop(llama, ids, ['\n'], 520)!;
    expect(llama.decode(ids.slice(0, end))).toBe('a line.\n');
    expect(llama.decode(ids.slice(0, lengthToStop(llama, ids, ['.'], 520)))).toMatch(/^a line\.$/);
  });

  it('generation ends with the token that completes one, and draws the same tokens before', async () => {
    using model = await modelWith(filesOf('class-llama'));
    const options = { maxNewTokens: 40, numReturnSequences: 8, seed: 5 };
    const free = await model.generate(['what is'], { ...options, stop: [] });
    const stop = free[0]!.text.slice(9, 14);
    const ended = await model.generate(['what is'], { ...options, stop: [stop] });
    expect(ended[0]!.finishReason).toBe('stop');
    for (const [index, { completionIds, text, logps, inputIds, finishReason }] of ended.entries()) {
      expect(completionIds).toEqual(free[index]!.completionIds.slice(0, completionIds.length));
      expect(inputIds.slice(-completionIds.length)).toEqual(completionIds);
      expect([...logps]).toEqual([...free[index]!.logps.slice(0, completionIds.length)]);
      const before = model.tokenizer.decode(completionIds.slice(0, -1), { skipSpecialTokens: false });
      expect(before).not.toContain(stop);
      if (finishReason === 'stop') expect(text).toContain(stop);
    }
    await expect(model.generate([[1]], { maxNewTokens: 1, stop: [''] })).rejects.toThrow(
      "model.generate: stop must hold token ids and texts, got ''",
    );
  });

  it.each([
    ['openAI', openAIRollouts, { stop: ['b c'], include_stop_str_in_output: true, stop_token_ids: [1] }],
    ['sglang', sglangRollouts, { stop: ['b c'], no_stop_trim: true, stop_token_ids: [1] }],
  ] as const)(
    '%s servers are told of them, and what goes beyond is cut off',
    async (name, rollouts, sent) => {
      using model = await modelWith({ 'tokenizer.json': byteTokenizerJson() as Json });
      const ids = idsOf('a b c d');
      const logps = ids.map(() => -1);
      const choice = { token_ids: ids, finish_reason: 'length', logprobs: { token_logprobs: logps } };
      const meta_info = {
        finish_reason: { type: 'length' },
        output_token_logprobs: ids.map((id) => [-1, id]),
      };
      const answer =
        name === 'openAI'
          ? { choices: [choice, choice] }
          : [0, 1].map(() => ({ output_ids: ids, meta_info }));
      const server = await serve(() => ({ body: answer }));
      const seen: (readonly number[])[] = [];
      const trainer = new GRPOTrainer({
        model,
        rollouts: rollouts({ url: server.url }),
        trainDataset: [{ prompt: 'say' }],
        rewardFuncs: ({ completionIds }) => {
          seen.push(...completionIds);
          return completionIds.map((_, i) => i);
        },
        config: {
          perDeviceTrainBatchSize: 2,
          numGenerations: 2,
          maxSteps: 1,
          stop: [1, 'b c'],
          maxCompletionLength: 16,
        },
      });
      await trainer.train();
      const body: Json = server.requests[0]!.body;
      expect(name === 'openAI' ? body : body['sampling_params']).toMatchObject(sent);
      expect(seen).toEqual([idsOf('a b c'), idsOf('a b c')]);
    },
  );
});

describe('what ends a text', () => {
  it('the tokenizer’s EOS and those of generation_config.json, else of config.json', async () => {
    const plain = filesOf('class-llama');
    using fromTokenizer = await modelWith(plain);
    expect(fromTokenizer.tokenizer).toMatchObject({ eosToken: '</s>', eosTokenId: 2 });
    expect(endIds(fromTokenizer)).toEqual([2]);
    using fromConfig = await modelWith(plain, { eos_token_id: 7 });
    expect(endIds(fromConfig)).toEqual([2, 7]);
    const generation = { 'generation_config.json': { eos_token_id: [5, 2] } };
    using fromBoth = await modelWith({ ...plain, ...generation }, { eos_token_id: 7 });
    expect(endIds(fromBoth)).toEqual([2, 5]);
    const beyond = { 'tokenizer_config.json': { tokenizer_class: 'LlamaTokenizer', eos_token: '<new>' } };
    using tooMany = await modelWith({ ...plain, ...beyond }, { vocab_size: 420 });
    expect(tooMany.tokenizer.eosTokenId).toBe(420);
    expect(endIds(tooMany)).toEqual([]);
  });

  it('rows of supervised training end in it, once, and learn no space that the text does not have', async () => {
    using model = await modelWith(filesOf('class-llama'));
    const context = {
      model,
      tokenizer: () => model.tokenizer,
      config: resolveConfig('SFTConfig', undefined),
    };
    const row = (value: Parameters<typeof encodeRow>[0]) => encodeRow(value, 0, context);
    const ids = model.tokenizer.encode('what is, and where');
    const scoreFrom = model.tokenizer.encode('what is').length;
    const expected = { inputIds: [...ids, 2], scoreFrom };
    expect(row({ prompt: 'what is', completion: ', and where' })).toEqual(expected);
    expect(row({ prompt: 'what is', completion: ', and where</s>' })).toEqual(expected);
    expect(row({ text: 'what is, and where' })).toEqual({ inputIds: [...ids, 2], scoreFrom: 1 });
    expect(row({ prompt: 'what is', completion: [9, 8] }).inputIds.slice(-2)).toEqual([9, 8]);
    const trainer = new SFTTrainer({
      model,
      trainDataset: [expected],
      evalDataset: [{ prompt: 'what is', completion: ', and where' }, expected],
    });
    const { logps } = await model.score([expected]);
    const mean = -logps.reduce((sum, logp) => sum + logp, 0) / logps.length;
    expect((await trainer.evaluate())['eval_loss']).toBeCloseTo(mean, 6);
  });
});

describe.skipIf(withoutSharedData)(`stories260K${needsSharedData}`, () => {
  it('a row of text has the tokens of its text, which the model knows', async () => {
    using model = await Model.fromPretrained(sharedData('stories260K'));
    const file = join(temporaryDirectory(), 'rows.jsonl');
    writeFileSync(file, JSON.stringify({ prompt: 'Once upon a time', completion: ', there was' }));
    const samples = await readSamples(model, file);
    expect(samples).toEqual([{ inputIds: [1, 403, 407, 261, 378, 432, 383, 286], scoreFrom: 5 }]);
    const { logps } = await model.score(samples);
    expect(logps.reduce((sum, logp) => sum + logp, 0)).toBeCloseTo(-0.116, 3);
  });

  it.each([
    ['\n', 13],
    ['.', 426],
  ])('generation ends at %j, one token of its vocabulary', async (stop, id) => {
    using model = await Model.fromPretrained(sharedData('stories260K'));
    const options = { temperature: 0, maxNewTokens: 60, stop: [stop] };
    const [completion] = await model.generate(['Once upon a time'], options);
    expect(completion!.completionIds.indexOf(id)).toBe(completion!.completionIds.length - 1);
    expect(completion!.finishReason).toBe('stop');
  });
});

describe('what this package does not compute is refused by name', () => {
  const file = (change: (json: Json) => void): Json => {
    const json = structuredClone(filesOf('gpt2')['tokenizer.json']!);
    change(json);
    return json;
  };
  it.each([
    ['it has the model BPE with dropout 0.1', (json: Json) => (json['model'].dropout = 0.1)],
    [
      'it has the pre_tokenizer UnicodeScripts',
      (json: Json) => (json['pre_tokenizer'] = { type: 'UnicodeScripts' }),
    ],
    ['it has the normalizer Unheard', (json: Json) => (json['normalizer'] = { type: 'Unheard' })],
    ['it has the decoder CTC', (json: Json) => (json['decoder'] = { type: 'CTC' })],
    [
      'it has the regular expression a{2}+ (it has the quantifier {2}+)',
      (json: Json) =>
        (json['pre_tokenizer'] = {
          type: 'Split',
          pattern: { Regex: 'a{2}+' },
          behavior: 'Isolated',
          invert: false,
        }),
    ],
  ])('%s', (words, change) => {
    expect(() => createTokenizer('x/tokenizer.json', file(change), {})).toThrow(words);
  });
  it('a tokenizer_class with rules of its own', () => {
    const config = { tokenizer_class: 'T5TokenizerFast' };
    expect(() => createTokenizer('x', filesOf('gpt2')['tokenizer.json']!, config)).toThrow(
      'it has tokenizer_class T5Tokenizer, which transformers builds by rules of its own',
    );
  });
});
