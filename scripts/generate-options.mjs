// Writes docs/options.md: `npm run build:options` after building. Texts are the docstrings of
// src/rl/config/options.ts and src/policy/losses.ts, defaults those of src/rl/config/schemas.ts, and the
// losses the tables of src/policy/losses.ts. A test compares the checked-in file with optionsPage().
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const read = (path) => readFileSync(join(root, path), 'utf8');

const INTERFACE = /^export interface (\w+)[^{]*\{\n(.*?)^\}/gms;
const OPTION = /^ {2}\/\*\*(.*?)\*\/\n {2}(\w+)\??:\s*(.*?)(?:\s*\| undefined)?;$/gms;
const ALIAS = /^export type (\w+) = (.*);$/gm;
const LOSS_OPTION = /^ {2}\/\*\*(.*?)\*\/\n {2}(\w+): \{/gms;

// ---- what the sources say ---------------------------------------------------------------------------------

/** A type that is written over several lines, one alternative each, in one line. */
const oneLine = (type) =>
  type
    .replace(/\s+/g, ' ')
    .replace(/^ ?\| /, '')
    .trim();
const textOf = (comment) => comment.replace(/\s*\n\s*\* ?/g, ' ').trim();
const union = (names) => names.map((name) => `'${name}'`).join(' | ');

/** Interface → its own options: name, type and docstring in one line. */
function documentedOptions(losses) {
  const source = read('src/rl/config/options.ts');
  const aliases = new Map([...source.matchAll(ALIAS)].map(([, name, type]) => [name, type]));
  aliases.set('LossType', union(losses.lossTypes));
  aliases.set('ImportanceLevel', union(losses.importanceLevels));
  aliases.set('KlEstimator', union(losses.klEstimators));
  const interfaces = new Map();
  for (const [, name, body] of source.matchAll(INTERFACE)) {
    const options = [...body.matchAll(OPTION)].map(([, comment, option, type]) => ({
      option,
      type: aliases.get(type) ?? oneLine(type),
      meaning: textOf(comment),
    }));
    interfaces.set(name, options);
  }
  return interfaces;
}

/** The options that losses read, in the same form. */
function documentedLossOptions({ LOSS_OPTIONS }) {
  const source = read('src/policy/losses.ts');
  const table = /LOSS_OPTIONS = \{\n(.*?)^\}/ms.exec(source)[1];
  return [...table.matchAll(LOSS_OPTION)].map(([, comment, option]) => ({
    option,
    type: LOSS_OPTIONS[option].nullMeans === undefined ? 'number' : 'number | null',
    meaning: textOf(comment),
  }));
}

// ---- how they are written ---------------------------------------------------------------------------------

const cell = (text) => text.replaceAll('|', '\\|');
const code = (text) => `\`${text}\``;
const literal = (value) => {
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'number' && value > 0 && value < 1e-3) return value.toExponential();
  return JSON.stringify(value);
};
const shown = (value) => (value === undefined ? '–' : code(cell(literal(value))));
const types = (type) => cell(type).replaceAll(' \\| ', ', ');

/** A Markdown table; every row has one text per column. */
const tableRow = (texts) => `|${texts.map((text) => (text === '' ? ' |' : ` ${text} |`)).join('')}`;
const table = (columns, rows) => [
  tableRow(columns),
  tableRow(columns.map(() => '---')),
  ...rows.map(tableRow),
  '',
];

/** Options with their defaults. */
const optionTable = (options, defaultOf) =>
  table(
    ['option', 'values', 'default', ''],
    options.map(({ option, type, meaning }) => [code(option), types(type), defaultOf(option), cell(meaning)]),
  );
/** Options of an object among the options: they have no defaults of their own. */
const nestedTable = (options) =>
  table(
    ['', 'values', ''],
    options.map(({ option, type, meaning }) => [code(option), types(type), cell(meaning)]),
  );

/** The losses, their averages, their metrics, and what goes with them. */
function lossSection({ LOSS_TYPES, POLICY_LOSSES, KL_ESTIMATORS, IMPORTANCE_LEVELS }) {
  const names = (entries) => Object.entries(entries).map(([name, meaning]) => [code(name), cell(meaning)]);
  const metrics = Object.values(POLICY_LOSSES).flatMap((loss) => Object.entries(loss.metrics));
  return [
    '## Losses',
    '',
    'A `lossType` is a loss of single tokens and an average of it over the tokens. ρ is the ratio of the policy to the one',
    'that sampled, A the advantage, π the probability of the token.',
    '',
    ...table(
      ['lossType', 'loss', 'average', 'source'],
      Object.entries(LOSS_TYPES).map(([name, row]) => [
        code(name),
        code(row.loss),
        cell(row.meaning),
        row.source,
      ]),
    ),
    ...table(
      ['loss', 'of a token', 'reads', 'source'],
      Object.entries(POLICY_LOSSES).map(([name, row]) => [
        code(name),
        cell(row.meaning),
        row.reads.map(code).join(', '),
        row.source,
      ]),
    ),
    ...table(
      ['metric', 'share of'],
      metrics.map(([key, metric]) => [code(key), cell(metric.meaning)]),
    ),
    'With importanceSamplingLevel above `token` a completion counts as one token in these shares.',
    '',
    ...table(['klEstimator', 'at a token, with d = log π − log π_ref'], names(KL_ESTIMATORS)),
    ...table(['importanceSamplingLevel', 'the ratio of a token is'], names(IMPORTANCE_LEVELS)),
  ];
}

// ---- the page ---------------------------------------------------------------------------------------------

const CONFIGS = ['GRPOConfig', 'CFRLConfig', 'RLOOConfig', 'PPOConfig', 'SFTConfig'];

/** `losses`: what src/policy/losses.ts exports. */
export function optionsPage(resolveConfig, losses) {
  const interfaces = documentedOptions(losses);
  const defaults = Object.fromEntries(CONFIGS.map((name) => [name, resolveConfig(name, {})]));
  const defaultIn = (config) => (option) => shown(defaults[config][option]);
  const commonDefault = (option) =>
    option === 'learningRate'
      ? `${shown(defaults.GRPOConfig[option])}, SFT ${shown(defaults.SFTConfig[option])}`
      : shown(defaults.GRPOConfig[option]);
  const differing = (name) =>
    Object.entries(defaults[name])
      .filter(([option, value]) => JSON.stringify(value) !== JSON.stringify(defaults.GRPOConfig[option]))
      .map(([option, value]) => code(`${option}: ${literal(value)}`))
      .join(', ');

  const policy = [...interfaces.get('GRPOConfig')];
  const afterLevel = policy.findIndex(({ option }) => option === 'importanceSamplingLevel') + 1;
  policy.splice(afterLevel, 0, ...documentedLossOptions(losses));

  return [
    '# Options of the trainers',
    '',
    'Made by `npm run build:options` from `src/rl/config/options.ts`, `src/rl/config/schemas.ts` and',
    "`src/policy/losses.ts`. Names are TRL's in camelCase; snake_case works as well, in programs, `--config` files and",
    "`--set`. – = no default: the text says what happens. How TRL's options map to these: [training.md](training.md).",
    '',
    '## All trainers',
    '',
    ...optionTable(interfaces.get('TrainingOptions'), commonDefault),
    '## GRPOTrainer and what is built on it',
    '',
    ...optionTable(policy, defaultIn('GRPOConfig')),
    `RLOOTrainer begins from ${differing('RLOOConfig')}; PPOTrainer from ${differing('PPOConfig')}.`,
    '',
    ...lossSection(losses),
    '## CFRLTrainer',
    '',
    'Those of GRPOTrainer, and:',
    '',
    ...optionTable(interfaces.get('CFRLConfig'), defaultIn('CFRLConfig')),
    '## SFTTrainer',
    '',
    'Those of all trainers, and:',
    '',
    ...optionTable(interfaces.get('SFTConfig'), defaultIn('SFTConfig')),
    '## An entry of `stages`',
    '',
    ...nestedTable(interfaces.get('StageConfig')),
    '## lrSchedulerKwargs',
    '',
    ...nestedTable(interfaces.get('LrSchedulerKwargs')),
  ].join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { resolveConfig } = await import('../build/js/rl/config/config.js');
  const losses = await import('../build/js/policy/losses.js');
  writeFileSync(join(root, 'docs/options.md'), optionsPage(resolveConfig, losses));
}
