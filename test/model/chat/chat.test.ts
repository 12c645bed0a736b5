/**
 * Chat templates: what they write, where they are found, and prompts that are messages in rollouts and
 * supervised samples.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { Model } from '../../../src/index.js';
import { createChatTemplate } from '../../../src/model/chat/chat.js';
import { createTokenizer } from '../../../src/model/tokenizer/tokenizer.js';
import { GRPOTrainer, type RewardInput, SFTTrainer } from '../../../src/rl/index.js';
import { temporaryDirectory } from '../../helpers/files.js';
import { BYTE_VOCABULARY, byteTokenizerJson, CHAT_TEMPLATE } from '../../helpers/tokenizer.js';

const messages = [
  { role: 'system', content: ' Be brief. ' },
  { role: 'user', content: '2+2?' },
];
const WRITTEN = '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n';
const tokenizer = createTokenizer('t.json', byteTokenizerJson(), { chat_template: CHAT_TEMPLATE });
const bytes = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });

describe('chat template', () => {
  it('writes turns and begins the assistant’s when asked', () => {
    expect(tokenizer.encodeChat(messages)).toEqual(bytes(WRITTEN));
    expect(tokenizer.encodeChat(messages, { addGenerationPrompt: true })).toEqual(
      bytes(`${WRITTEN}<|im_start|>assistant\n`),
    );
    expect(tokenizer.encodeChat(messages)[0]).toBe(1); // the special token, not its letters
  });
  it('takes further variables', () => {
    expect(
      tokenizer.encodeChat(messages, { addGenerationPrompt: true, kwargs: { thinking: false } }),
    ).toEqual(bytes(`${WRITTEN}<|im_start|>assistant\n<think></think>`));
  });
  it('sees special tokens, and no BOS is added twice', () => {
    const config = {
      add_bos_token: true,
      bos_token: { content: '<|endoftext|>' },
      chat_template: [
        { name: 'other', template: 'x' },
        { name: 'default', template: '{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}' },
      ],
    };
    expect(
      createTokenizer('t.json', byteTokenizerJson(), config).encodeChat([{ role: 'user', content: 'a' }]),
    ).toEqual([0, 100]);
  });
  it('raises what the template raises, and says where there is none', () => {
    const raising = createTokenizer('t.json', byteTokenizerJson(), {
      chat_template: "{{ raise_exception('roles must alternate') }}",
    });
    expect(() => raising.encodeChat(messages)).toThrowError(
      expect.objectContaining({
        code: 'ERR_UNSUPPORTED',
        message: expect.stringContaining('roles must alternate'),
      }),
    );
    expect(() => createTokenizer('t.json', byteTokenizerJson(), {}).encodeChat(messages)).toThrowError(
      expect.objectContaining({ code: 'ERR_UNSUPPORTED', message: expect.stringContaining('chat_template') }),
    );
    expect(() => tokenizer.encodeChat([{ content: 'a' } as never])).toThrowError(
      expect.objectContaining({ code: 'ERR_INVALID_ARG' }),
    );
  });
});

describe('messages before a template sees them', () => {
  const write = (template: string, messages: object[], options: object = {}, config: object = {}): string =>
    createChatTemplate('t.json', { chat_template: template, ...config })!(messages as never, options).text;
  const ALL = '{{ messages }}';
  it('have no keys without a value, and reasoning under every name', () => {
    expect(write(ALL, [{ role: 'a', content: null, tool_calls: null, n: 0 }])).toBe(
      "[{'role': 'a', 'n': 0}]",
    );
    expect(write(ALL, [{ role: 'a', reasoning: 'r' }])).toBe(
      "[{'thinking': 'r', 'role': 'a', 'reasoning': 'r', 'reasoning_content': 'r'}]",
    );
    expect(write('{{ tools }} {{ documents }}', messages)).toBe('None None');
  });
  it('choose the template for tools where there is one', () => {
    const named = { default: 'plain', tool_use: 'tools {{ tools|length }}' };
    const templates = Object.entries(named).map(([name, template]) => ({ name, template }));
    const chat = createChatTemplate('t.json', { chat_template: templates })!;
    expect(chat(messages).text).toBe('plain');
    expect(chat(messages, { tools: [] }).text).toBe('tools 0');
    expect(chat(messages, { kwargs: { tools: [{ a: 1 }] } }).text).toBe('tools 1');
    const other = createChatTemplate('t.json', { chat_template: [{ name: 'x', template: 'y' }] })!;
    expect(() => other(messages)).toThrowError(expect.objectContaining({ code: 'ERR_UNSUPPORTED' }));
  });
  it('are continued where the last one ends', () => {
    const turns = "{% for m in messages %}<{{ m.content }}>{{ '\n' }}{% endfor %}";
    const trimming = '{% for m in messages %}<{{ m.content|trim }}>{% endfor %}';
    const last = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b ' },
    ];
    expect(write(turns, last, { continueFinalMessage: true })).toBe('<a>\n<b ');
    expect(write(trimming, last, { continueFinalMessage: true })).toBe('<a><b');
    expect(() => write('x', last, { continueFinalMessage: true })).toThrow("does not read 'content'");
    expect(() => write(turns, last, { continueFinalMessage: true, addGenerationPrompt: true })).toThrow(
      'exclude each other',
    );
  });
  it('say which characters the assistant wrote', () => {
    const marked =
      '{% for m in messages %}{{ m.role }}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}';
    const chat = createChatTemplate('t.json', { chat_template: marked })!;
    const { text, generated } = chat([
      { role: 'u', content: 'ab' },
      { role: 'v', content: '😀' },
    ]);
    expect(generated.map(([begin, end]) => text.slice(begin, end))).toEqual(['ab', '😀']);
  });
});

const CONFIG = {
  model_type: 'gpt',
  vocab_size: BYTE_VOCABULARY,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 16,
  max_position_embeddings: 160,
  eos_token_id: 0,
};
async function chatModel(files: Record<string, string>): Promise<Model> {
  const directory = join(temporaryDirectory(), 'model');
  await (await Model.fromConfig(CONFIG, { seed: 1 })).savePretrained(directory);
  for (const [name, text] of Object.entries({
    'tokenizer.json': JSON.stringify(byteTokenizerJson()),
    ...files,
  }))
    writeFileSync(join(directory, name), text);
  return Model.fromPretrained(directory);
}

describe('a model directory', () => {
  it.each([
    ['tokenizer_config.json', JSON.stringify({ chat_template: CHAT_TEMPLATE })],
    ['chat_template.jinja', CHAT_TEMPLATE],
    ['chat_template.json', JSON.stringify({ chat_template: CHAT_TEMPLATE })],
  ])('may hold the template in %s', async (name, text) => {
    const model = await chatModel({ [name]: text });
    const [completion] = await model.generate([messages], { maxNewTokens: 2, temperature: 0 });
    expect(completion!.inputIds.slice(0, -completion!.completionIds.length)).toEqual(
      bytes(`${WRITTEN}<|im_start|>assistant\n`),
    );
  });
  it('stops at every eos_token_id of generation_config.json', async () => {
    const eos = Array.from({ length: BYTE_VOCABULARY }, (_, id) => id);
    const model = await chatModel({ 'generation_config.json': JSON.stringify({ eos_token_id: eos }) });
    expect(await model.generate(['a', 'b'], { maxNewTokens: 5 })).toMatchObject([
      { finishReason: 'stop', completionIds: [expect.any(Number)] },
      { finishReason: 'stop' },
    ]);
  });
  it('trains on prompts that are messages; rewards see messages and columns', async () => {
    const model = await chatModel({ 'chat_template.jinja': CHAT_TEMPLATE });
    let seen: RewardInput | undefined;
    const trainer = new GRPOTrainer({
      model,
      trainDataset: [{ prompt: messages, answer: '4' }],
      rewardFuncs(input) {
        seen = input;
        return input.completionIds.map((ids) => ids.length);
      },
      config: {
        maxSteps: 1,
        perDeviceTrainBatchSize: 2,
        numGenerations: 2,
        maxCompletionLength: 3,
        chatTemplateKwargs: { thinking: false },
      },
    });
    await trainer.train();
    expect(seen).toMatchObject({ prompts: [messages, messages], answer: ['4', '4'] });
  });
  it('supervised: a completion of messages begins where the prompt ends', async () => {
    const model = await chatModel({ 'chat_template.jinja': CHAT_TEMPLATE });
    const seen: { inputIds: readonly number[]; scoreFrom: number }[] = [];
    const accumulate = model.accumulateGradients.bind(model);
    model.accumulateGradients = (samples, options) => {
      seen.push(...samples);
      return accumulate(samples, options);
    };
    const reply = [{ role: 'assistant', content: '4' }];
    const train = (row: object) =>
      new SFTTrainer({
        model,
        trainDataset: [row as never],
        config: { maxSteps: 1, perDeviceTrainBatchSize: 1 },
      }).train();
    await train({ prompt: messages, completion: reply });
    await train({ messages: [...messages, ...reply] });
    const whole = bytes(`${WRITTEN}<|im_start|>assistant\n4<|im_end|>\n`);
    expect(seen).toEqual([
      { inputIds: whole, scoreFrom: bytes(`${WRITTEN}<|im_start|>assistant\n`).length },
      { inputIds: whole, scoreFrom: 1 },
    ]);
  });
  it('supervised: a row’s tools and template variables reach the template', async () => {
    const template = '{{ tools|tojson }}{{ style }}{% for m in messages %}{{ m.content }}{% endfor %}';
    const model = await chatModel({ 'chat_template.jinja': template });
    const seen: (readonly number[])[] = [];
    const accumulate = model.accumulateGradients.bind(model);
    model.accumulateGradients = (samples, options) => {
      seen.push(...samples.map(({ inputIds }) => inputIds));
      return accumulate(samples, options);
    };
    const row = { prompt: messages.slice(1), completion: [{ role: 'assistant', content: '4' }] };
    const tools = [{ type: 'function', function: { name: 'add' } }];
    const train = (columns: object) =>
      new SFTTrainer({
        model,
        trainDataset: [{ ...row, ...columns } as never],
        config: { maxSteps: 1, perDeviceTrainBatchSize: 1, chatTemplateKwargs: { style: 'run' } },
      }).train();
    const written = '[{"type": "function", "function": {"name": "add"}}]';
    await train({ tools, chat_template_kwargs: { style: 'own' } });
    await train({ tools: JSON.stringify(tools) });
    expect(seen).toEqual([bytes(`${written}own2+2?4`), bytes(`${written}run2+2?4`)]);
    await expect(train({ tools: '{' })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG' });
  });
});
