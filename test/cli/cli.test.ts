/** The command line as a user meets it: the built program in a process of its own. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { bytesText, secondsText } from '../../src/core/units.js';
import type { RunSummary } from '../../src/report/index.js';
import { needsSharedData, sharedData, temporaryDirectory, withoutSharedData } from '../helpers/files.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const main = join(root, 'dist/cli/main.js');

interface Outcome {
  code: number | null;
  out: string;
  err: string;
}

/** `interruptAt`: SIGINT when stderr first matches. */
function headfirst(args: readonly string[], interruptAt?: RegExp): Promise<Outcome> {
  return new Promise((resolve) => {
    // The tests' own poisoning and validation would only slow the program down here.
    const child = spawn(process.execPath, [main, ...args], {
      cwd: root,
      env: { ...process.env, HEADFIRST_POISON: '', HEADFIRST_VALIDATE: '' },
    });
    const outcome: Outcome = { code: null, out: '', err: '' };
    let sent = false;
    child.stdout.on('data', (data) => {
      outcome.out += data;
    });
    child.stderr.on('data', (data) => {
      outcome.err += data;
      if (!sent && interruptAt?.test(outcome.err)) sent = child.kill('SIGINT');
    });
    child.on('close', (code) => resolve({ ...outcome, code }));
  });
}

describe('usage', () => {
  it.each([
    [['demo', '--seds', '3'], 2, /^headfirst: unknown option '--seds' \(Did you mean --seeds\?\)\n$/],
    [['demo', '--seeds', 'x'], 2, /must be an integer ≥ 1/],
    [['demo', '--task', 'other'], 2, /Allowed choices are main, contrast/],
    [['gnerate'], 2, /Did you mean generate\?/],
    [['generate', '--prompt', 'x'], 2, /required option '--model <dir>'/],
    [
      ['generate', '--model', 'no/such/model', '--prompt', 'x'],
      1,
      /^headfirst: .*no\/such\/model.* \[ERR_IO\]\n$/,
    ],
    [
      ['train', '--model', 'm', '--data', 'a.jsonl', '--data', 'b.jsonl', '--reward', 'math', '--out', 'o'],
      2,
      /--data.*given once.*'a\.jsonl'.*one file/,
    ],
    [['report', 'no/such/run'], 1, /^headfirst: report: no\/such\/run has neither .* \[ERR_IO\]\n$/],
    [
      ['train', '--model', 'x', '--data', 'x', '--reward', 'mth'],
      1,
      /Did you mean 'math'\? \[ERR_INVALID_ARG\]\n$/,
    ],
    [['train', '--model', 'x', '--data', 'x'], 1, /needs a --reward \[ERR_INVALID_ARG\]\n$/],
    [['train', '--method', 'sft', '--model', 'x', '--data', 'x', '--reward', 'math'], 1, /takes no --reward/],
    [
      ['train', '--model', 'x', '--data', 'x', '--reward', 'math', '--set', 'bf16=True'],
      1,
      /bf16 must be true or false, got "True"/,
    ],
    [
      ['train', '--model', 'x', '--data', 'x', '--reward', 'math', '--set', 'peft_config=8'],
      1,
      /peftConfig must be an object .*, got 8/,
    ],
    [
      ['train', '--model', 'x', '--data', 'x', '--reward', 'math', '--out', 'a', '--set', 'output_dir=b'],
      1,
      /--out a and outputDir b disagree/,
    ],
    [
      ['ntk', 'decompose', '--model', 'x', '--data', 'x', '--implementation', 'jacobian-contraction'],
      1,
      /no choice of --implementation/,
    ],
    [['ntk', 'spectrum', '--model', 'x', '--data', 'x', '--parts'], 1, /there are no --parts/],
    [
      ['ntk', 'gram', '--model', 'x', '--data', 'x', '--params', '('],
      2,
      /option '--params <regexp>' argument '\(' is invalid. Invalid regular expression/,
    ],
    [
      ['ntk', 'gram', '--model', 'x', '--data', 'x', '--out', 'no/such/k.npy'],
      1,
      /ntk: cannot write no\/such\/k.npy: .* \[ERR_IO\]/,
    ],
    [
      [
        'eval',
        '--model',
        'x',
        '--data',
        'examples/stories.jsonl',
        '--reward',
        'math',
        '--completions',
        'no/such/c.jsonl',
      ],
      1,
      /eval: cannot write no\/such\/c.jsonl: .* \[ERR_IO\]/,
    ],
    [['generate', '--model', 'x', '--prompt', 'x', '--top-p', '2'], 2, /must be a number from 0 to 1/],
  ])('%j exits with %i and one plain line', async (args, code, said) => {
    const { code: got, out, err } = await headfirst(args);
    expect(err).toMatch(said);
    expect(err.trim().split('\n')).toHaveLength(1);
    expect([got, out]).toEqual([code, '']);
  });

  it('help and version go to stdout', async () => {
    expect(await headfirst(['--version'])).toMatchObject({ code: 0, out: '0.1.0\n', err: '' });
    expect((await headfirst(['--help'])).out).toMatch(
      /demo[\s\S]*train[\s\S]*generate[\s\S]*report[\s\S]*info/,
    );
  });

  it('info says what this build can run, also as JSON', async () => {
    const { out, code } = await headfirst(['info', '--json']);
    const facts = JSON.parse(out) as {
      cpu: { best: string };
      backends: { name: string }[];
      ops: { name: string }[];
    };
    expect(code).toBe(0);
    expect(facts.backends.map((b) => b.name)).toEqual(['cpu', 'cuda']);
    expect(facts.ops.map((op) => op.name)).toContain('linear_policy_gradient');
    expect((await headfirst(['info'])).out).toContain(facts.cpu.best);
  });
});

describe('demo', () => {
  it('runs, stops cleanly on Ctrl-C, goes on where it was, and ends as a run without a stop', async () => {
    const directory = temporaryDirectory();
    const [stopped, straight] = [join(directory, 'stopped'), join(directory, 'straight')];
    const first = await headfirst(['demo', '--quick', '--out', stopped], /base model/);
    expect(first.code).toBe(130);
    expect(first.err).toContain(`Go on with: headfirst demo --quick --out ${stopped}`);
    expect((await headfirst(['demo', '--quick', '--out', stopped])).code).toBe(0);
    const { code, out, err } = await headfirst(['demo', '--quick', '--json', '--out', straight]);
    expect(code, err).toBe(0);

    const summary = JSON.parse(out) as RunSummary;
    expect(summary.evaluations.map((e) => [e.row, e.step])).toEqual([
      ['base', 0],
      ['standard, 6', 6],
      ['standard, 8', 8],
      ['CF ×10, stage 1', 2],
      ['CF ×10, 2 + 6', 8],
    ]);
    // Everything but the processor time.
    const timeless = ({ evaluations }: RunSummary) =>
      JSON.parse(
        JSON.stringify(evaluations, (key, value: unknown) => (key === 'seconds' ? undefined : value)),
      ) as unknown;
    expect(timeless(JSON.parse(readFileSync(join(stopped, 'summary.json'), 'utf8')) as RunSummary)).toEqual(
      timeless(summary),
    );
    const lines = readFileSync(join(straight, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { arm: string; seed: number; step: number });
    expect(lines.map(({ arm, step }) => `${arm} ${step}`)).toEqual(
      ['standard', 'cf'].flatMap((arm) => Array.from({ length: 8 }, (_, i) => `${arm} ${i + 1}`)),
    );
    expect(readFileSync(join(straight, 'report.html'), 'utf8')).toContain(
      'A quick run checks that everything works',
    );
    expect(readdirSync(directory)).toEqual(['stopped', 'straight']);
    expect(readdirSync(join(straight, 'base-models'))).toHaveLength(1);

    // Done already: nothing is trained again, and another plan is not mixed in.
    const again = await headfirst(['demo', '--quick', '--out', straight]);
    expect(again).toMatchObject({ code: 0, err: '' });
    const other = await headfirst(['demo', '--quick', '--task', 'contrast', '--out', straight]);
    expect(other.code).toBe(1);
    expect(other.err).toMatch(/holds a run with other settings; choose another --out, or --fresh/);
  }, 300_000);
});

describe(`train and generate${needsSharedData}`, () => {
  it.skipIf(withoutSharedData)(
    'a story model learns from a reward module, resumes, and its saved model generates',
    async () => {
      const directory = temporaryDirectory();
      const out = join(directory, 'run');
      const data = join(directory, 'data.jsonl');
      writeFileSync(
        data,
        readFileSync(join(root, 'examples/stories.jsonl'), 'utf8').split('\n').slice(0, 6).join('\n'),
      );
      const args = [
        'train',
        '--model',
        sharedData('stories260K'),
        '--data',
        data,
        '--reward',
        join(root, 'examples/friendship-reward.mjs'),
        '--out',
        out,
        '--set',
        'per_device_train_batch_size=8',
        '--set',
        'numGenerations=4',
        '--set',
        'max_completion_length=16',
        '--set',
        'stop=[1]',
        '--set',
        'saveSteps=1',
      ];
      const first = await headfirst([...args, '--set', 'maxSteps=2']);
      expect(first.code, first.err).toBe(0);
      expect(first.err).toMatch(/^Memory: about [\d.]+ MB at its peak \(weights [\d.]+ MB, /m);
      expect(first.out).toContain(`Model: ${join(out, 'model')}`);
      expect(existsSync(join(out, 'report.html'))).toBe(true);
      expect(JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'))).toMatchObject({
        command: expect.stringMatching(/^headfirst train --model /),
        environment: { node: process.versions.node },
      });

      const prompt = 'Once upon a time';
      const { out: json } = await headfirst([
        'generate',
        '--model',
        join(out, 'model'),
        '--prompt',
        prompt,
        '--max-new-tokens',
        '8',
        '--temperature',
        '0',
        '--samples',
        '2',
        '--json',
      ]);
      const completions = JSON.parse(json) as {
        prompt: string;
        completionIds: number[];
        text: string;
        finishReason: string;
      }[];
      expect(completions).toHaveLength(2);
      expect(completions[0]).toEqual(completions[1]);
      expect(completions[0]).toMatchObject({ prompt, finishReason: 'length' });
      const { out: text } = await headfirst([
        'generate',
        '--model',
        join(out, 'model'),
        '--prompt',
        prompt,
        '--max-new-tokens',
        '8',
        '--temperature',
        '0',
      ]);
      expect(text).toMatch(/^Once upon a time, /);

      const file = join(directory, 'completions.jsonl');
      const evaluated = await headfirst([
        'eval',
        '--model',
        join(out, 'model'),
        '--data',
        data,
        '--reward',
        'length:4',
        '--samples',
        '2',
        '--limit',
        '3',
        '--max-new-tokens',
        '4',
        '--completions',
        file,
        '--json',
      ]);
      expect(evaluated.code, evaluated.err).toBe(0);
      // Four tokens each, as long as the reward wants: all right.
      expect(JSON.parse(evaluated.out)).toMatchObject({
        prompts: 3,
        samplesPerPrompt: 2,
        greedy: 1,
        'pass@1': 1,
        'pass@2': 1,
        'best@2': 1,
        reward: 1,
      });
      expect(readFileSync(file, 'utf8').trim().split('\n')).toHaveLength(9);
    },
  );

  it.skipIf(withoutSharedData)(
    'LoRA adapters and bfloat16 products by --config; rollouts elsewhere by --rollouts, whose refusal is said',
    async () => {
      const directory = temporaryDirectory();
      const [data, config, out] = ['data.jsonl', 'config.json', 'run'].map((name) =>
        join(directory, name),
      ) as [string, string, string];
      writeFileSync(
        data,
        readFileSync(join(root, 'examples/stories.jsonl'), 'utf8').split('\n').slice(0, 4).join('\n'),
      );
      writeFileSync(
        config,
        JSON.stringify({
          peft_config: { r: 2, lora_alpha: 4, target_modules: ['q_proj', 'v_proj'] },
          bf16: true,
          max_steps: 1,
          per_device_train_batch_size: 4,
          num_generations: 2,
          max_completion_length: 8,
        }),
      );
      const args = [
        'train',
        '--model',
        sharedData('stories260K'),
        '--data',
        data,
        '--reward',
        'length:4',
        '--config',
        config,
      ];
      const trained = await headfirst([...args, '--out', out, '--resume']);
      expect(trained.code, trained.err).toBe(0);
      expect(trained.err).toContain(`No checkpoint in ${out}: from the first step\n`);
      expect(JSON.parse(readFileSync(join(out, 'adapter/adapter_config.json'), 'utf8'))).toMatchObject({
        r: 2,
        lora_alpha: 4,
      });
      const greedy = [
        '--prompt',
        'Once upon a time',
        '--max-new-tokens',
        '8',
        '--temperature',
        '0',
        '--threads',
        '1',
        '--json',
      ];
      const ids = ({ out: json }: Outcome) =>
        (JSON.parse(json) as { completionIds: number[]; logps: number[] }[])[0]!;
      const [merged, beside] = [
        ids(await headfirst(['generate', '--model', join(out, 'model'), ...greedy])),
        ids(
          await headfirst([
            'generate',
            '--model',
            sharedData('stories260K'),
            '--adapter',
            join(out, 'adapter'),
            ...greedy,
          ]),
        ),
      ];
      expect(beside.completionIds).toEqual(merged.completionIds);
      beside.logps.forEach((logp, i) => expect(logp).toBeCloseTo(merged.logps[i]!, 5));

      const asked: string[] = [];
      const server = createServer((request, response) => {
        asked.push(request.url!);
        response
          .writeHead(400, { 'content-type': 'application/json' })
          .end('{"error":{"message":"no such model"}}');
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      try {
        const refused = await headfirst([
          ...args,
          '--out',
          join(directory, 'elsewhere'),
          '--rollouts',
          `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        ]);
        expect(refused.code).not.toBe(0);
        expect(refused.err).toMatch(/400/);
        expect(refused.err).toMatch(/no such model/);
        expect(asked.length).toBeGreaterThan(0);
      } finally {
        server.close();
      }
    },
  );
});

describe(`samples${needsSharedData}`, () => {
  const model = () => sharedData('stories260K');
  it.skipIf(withoutSharedData).each([
    [
      { prompt: 'Once', completion: ' there', advantage: '0.5' },
      /: row 2 must have a number as its advantage, got "0.5"/,
    ],
    [{ inputIds: [1, 2, 512], scoreFrom: 1 }, /: row 2 has token 512; the model's are 0 to 511/],
    [{ inputIds: [1, 2], scoreFrom: 2 }, /: row 2 must have 1 ≤ scoreFrom < 2/],
  ])('%j is refused by file and row', async (row, said) => {
    const directory = temporaryDirectory();
    const data = join(directory, 'samples.jsonl');
    writeFileSync(
      data,
      [{ prompt: 'Once', completion: ' upon' }, row].map((r) => JSON.stringify(r)).join('\n'),
    );
    const { code, err } = await headfirst([
      'analyze',
      model(),
      '--data',
      data,
      '--out',
      join(directory, 'out'),
    ]);
    expect(err).toMatch(said);
    expect(code).toBe(1);
  });

  it.skipIf(withoutSharedData)(
    'a stop where there is no checkpoint does not promise one; a sample beyond the context is named',
    async () => {
      const directory = temporaryDirectory();
      const [data, long] = [join(directory, 'samples.jsonl'), join(directory, 'long.jsonl')];
      const ids = Array.from({ length: 400 }, (_, i) => 1 + (i % 500));
      writeFileSync(
        data,
        Array.from({ length: 4 }, () => JSON.stringify({ inputIds: ids, scoreFrom: 1 })).join('\n'),
      );
      writeFileSync(long, JSON.stringify({ inputIds: [...ids, ...ids], scoreFrom: 1 }));
      const stopped = await headfirst(
        ['analyze', model(), '--data', data, '--out', join(directory, 'out')],
        /kernel · /,
      );
      expect(stopped.code).toBe(130);
      expect(stopped.err).toContain(
        `Stopped; there is no checkpoint. From the beginning: headfirst analyze ${model()} --data ${data}`,
      );
      expect(stopped.err).not.toContain('after writing');
      expect((await headfirst(['ntk', 'gram', '--model', model(), '--data', long])).err).toMatch(
        /long.jsonl: row 1 has 800 tokens, more than the model's context of 512/,
      );
    },
  );
});

it('quantities have no exponents', () => {
  expect([0.00042, 0.13, 0.61, 3.14, 119, 9e3].map(secondsText)).toEqual([
    '0.42 ms',
    '130 ms',
    '610 ms',
    '3.1 s',
    '119 s',
    '150 min',
  ]);
  expect([12, 999.7e3, 1.04e6, 2.5e9].map(bytesText)).toEqual(['12.0 B', '1.00 MB', '1.04 MB', '2.50 GB']);
});
