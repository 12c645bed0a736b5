// Writes docs/options.md from the docstrings of src/rl/config/options.ts and the defaults of
// src/rl/config/config.ts: `npm run build:options` after building. A test compares the checked-in file with
// optionsPage().
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const INTERFACE = /^export interface (\w+)[^{]*\{\n(.*?)^\}/gms;
const OPTION = /^  \/\*\*(.*?)\*\/\n  (\w+)\??:\s*(.*?)(?:\s*\| undefined)?;$/gms;
const ALIAS = /^export type (\w+) = (.*);$/gm;

/** A type that is written over several lines, one alternative each, in one line. */
const oneLine = (type) =>
  type
    .replace(/\s+/g, ' ')
    .replace(/^ ?\| /, '')
    .trim();

/** Interface → its own options: name, type and docstring in one line. */
function documented() {
  const source = readFileSync(join(root, 'src/rl/config/options.ts'), 'utf8');
  const aliases = new Map([...source.matchAll(ALIAS)].map(([, name, type]) => [name, type]));
  return new Map(
    [...source.matchAll(INTERFACE)].map(([, name, body]) => [
      name,
      [...body.matchAll(OPTION)].map(([, comment, option, type]) => ({
        option,
        type: aliases.get(type) ?? oneLine(type),
        meaning: comment.replace(/\s*\n\s*\* ?/g, ' ').trim(),
      })),
    ]),
  );
}

const cell = (text) => text.replaceAll('|', '\\|');
const literal = (value) =>
  typeof value === 'string'
    ? `'${value}'`
    : typeof value === 'number' && value > 0 && value < 1e-3
      ? value.toExponential()
      : JSON.stringify(value);
const shown = (value) => (value === undefined ? '–' : `\`${cell(literal(value))}\``);

export function optionsPage(resolveConfig) {
  const interfaces = documented();
  const defaults = Object.fromEntries(
    ['GRPOConfig', 'CFRLConfig', 'RLOOConfig', 'PPOConfig', 'SFTConfig'].map((name) => [
      name,
      resolveConfig(name, {}),
    ]),
  );
  const types = (type) => cell(type).replaceAll(' \\| ', ', ');
  const nested = (name) => [
    '| | values | |',
    '| --- | --- | --- |',
    ...interfaces
      .get(name)
      .map(({ option, type, meaning }) => `| \`${option}\` | ${types(type)} | ${cell(meaning)} |`),
    '',
  ];
  const table = (name, config) => [
    '| option | values | default | |',
    '| --- | --- | --- | --- |',
    ...interfaces
      .get(name)
      .map(
        ({ option, type, meaning }) =>
          `| \`${option}\` | ${types(type)} | ${option === 'learningRate' ? `${shown(defaults.GRPOConfig[option])}, SFT ${shown(defaults.SFTConfig[option])}` : shown(defaults[config][option])} | ${cell(meaning)} |`,
      ),
    '',
  ];
  const differing = (name) =>
    Object.entries(defaults[name])
      .filter(([option, value]) => JSON.stringify(value) !== JSON.stringify(defaults.GRPOConfig[option]))
      .map(([option, value]) => `\`${option}: ${literal(value)}\``)
      .join(', ');
  return [
    '# Options of the trainers',
    '',
    "Made by `npm run build:options` from `src/rl/config/options.ts` and `src/rl/config/config.ts`. Names are TRL's in camelCase; snake_case works as well, in programs, `--config` files",
    "and `--set`. – = no default: the text says what happens. How TRL's options map to these: [training.md](training.md).",
    '',
    '## All trainers',
    '',
    ...table('TrainingOptions', 'GRPOConfig'),
    '## GRPOTrainer and what is built on it',
    '',
    ...table('GRPOConfig', 'GRPOConfig'),
    `RLOOTrainer begins from ${differing('RLOOConfig')}; PPOTrainer from ${differing('PPOConfig')}.`,
    '',
    '## CFRLTrainer',
    '',
    'Those of GRPOTrainer, and:',
    '',
    ...table('CFRLConfig', 'CFRLConfig'),
    '## SFTTrainer',
    '',
    'Those of all trainers, and:',
    '',
    ...table('SFTConfig', 'SFTConfig'),
    '## An entry of `stages`',
    '',
    ...nested('StageConfig'),
    '## lrSchedulerKwargs',
    '',
    ...nested('LrSchedulerKwargs'),
  ].join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { resolveConfig } = await import('../dist/index.js');
  writeFileSync(join(root, 'docs/options.md'), optionsPage(resolveConfig));
}
