/**
 * The study as files to read: README.md (claims, comparisons, tables), one SVG per figure, records.csv with
 * every evaluation.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import {
  type EntropyPoint,
  type ForecastBy,
  forecastEntropy,
  judgeForecast,
} from '../../analysis/forecast.js';
import type { AnalysisRow } from '../../analysis/record.js';
import { interval, mean, standardDeviation } from '../../evaluation/estimators.js';
import type { MarkRecord } from '../experiment/arms.js';
import { writeAtomically } from '../experiment/jsonFiles.js';
import { recordsOf } from '../experiment/runExperiment.js';
import { report } from '../../report/index.js';
import { type Claim, claimsOf, intervalText } from './claims.js';
import { BUDGETS, comparisonsOf, minus, Results } from './compare.js';
import { type StudyRun, studyRuns } from './studyPlan.js';
import type { StudyOptions } from './runStudy.js';

const isRl = ({ kind }: StudyRun): boolean => kind === 'grpo' || kind === 'rloo';
type Written = Pick<StudyOptions, 'out' | 'seeds' | 'size' | 'command' | 'environment'>;

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(head), `|${' --- |'.repeat(head.length)}`, ...rows.map(row)].join('\n');

function spread(values: readonly number[], digits: number): string {
  const finite = values.filter(Number.isFinite);
  return finite.length === 0
    ? '–'
    : `${mean(finite).toFixed(digits)}${finite.length > 1 ? ` ± ${standardDeviation(finite).toFixed(digits)}` : ''}`;
}

const COLUMNS: readonly (readonly [string, number, (r: MarkRecord) => number])[] = [
  ['pass@1', 3, (r) => r.passAt1],
  ['pass@k', 3, (r) => r.passAtK],
  ['greedy', 3, (r) => r.greedy],
  ['distinct', 2, (r) => r.distinct],
  ['max-prob fixed', 3, (r) => r.fixed!.maxProb],
  ['entropy fixed', 3, (r) => r.fixed!.entropy],
  ['entropy own', 3, (r) => r.onPolicy.entropy],
  ['‖W‖', 1, (r) => r.dynamics?.classifierNorm ?? NaN],
  ['feature drift', 3, (r) => r.dynamics?.featureDrift ?? NaN],
];
const MECHANISM: readonly (readonly [string, number, (r: MarkRecord) => number])[] = [
  ['growth R', 3, (r) => r.dynamics?.growth.representation ?? NaN],
  ['growth G', 3, (r) => r.dynamics?.growth.gradient ?? NaN],
  ['dH/dη R', 3, (r) => r.dynamics?.ascent.entropy.representation ?? NaN],
  ['dH/dη G', 3, (r) => r.dynamics?.ascent.entropy.gradient ?? NaN],
  ['Adam dH/dη R', 2, (r) => r.dynamics?.adam.entropy.representation ?? NaN],
  ['Adam dH/dη G', 2, (r) => r.dynamics?.adam.entropy.gradient ?? NaN],
  ['max-prob up by R', 2, (r) => r.dynamics?.ascent.raised.representation ?? NaN],
  ['cosine prompts', 2, (r) => r.dynamics?.cosine.prompts ?? NaN],
  ['same position', 2, (r) => r.dynamics?.cosine.samePosition ?? NaN],
  ['all', 2, (r) => r.dynamics?.cosine.all ?? NaN],
];

function tableOf(records: readonly MarkRecord[], columns: typeof COLUMNS): string {
  const rows = [...new Set(records.map((r) => r.row))];
  return table(
    ['', ...columns.map(([name]) => name)],
    rows.map((name) => [
      name,
      ...columns.map(([, digits, value]) => spread(records.filter((r) => r.row === name).map(value), digits)),
    ]),
  );
}

const comparisonTable = (results: Results): string =>
  table(
    ['against standard RL at equal', ...BUDGETS],
    comparisonsOf(results).map(({ label, gains }) => [
      label,
      ...BUDGETS.map((budget) => {
        const text = intervalText(gains[budget]);
        return gains[budget].low > 0 || gains[budget].high < 0 ? `**${text}**` : text;
      }),
    ]),
  );

const MARK = (met: boolean | undefined) => (met === undefined ? '?' : met ? '✓' : '✗');
const partText = ({ criterion, runs }: Claim['parts'][number]) =>
  [`- ${criterion}:`, ...runs.map(({ run, met, evidence }) => `  - ${MARK(met)} ${run}: ${evidence}`)].join(
    '\n',
  );

function rewardsOf(out: string): (results: Results, arm: string, seed: number) => readonly number[] {
  return ({ run }, arm, seed) => {
    const file = join(out, run.id, `seed-${seed}`, arm, 'metrics.jsonl');
    return existsSync(file)
      ? readFileSync(file, 'utf8')
          .trim()
          .split('\n')
          .map((line) => (JSON.parse(line) as { reward: number }).reward)
      : [];
  };
}

export function studyClaims(options: Pick<Written, 'out' | 'seeds' | 'size'>): Claim[] {
  return claimsOf(resultsOf(options), rewardsOf(options.out));
}

const resultsOf = ({ out, seeds, size }: Pick<Written, 'out' | 'seeds' | 'size'>): Results[] =>
  studyRuns(size).map(
    (run) => new Results(run, recordsOf({ out: join(out, run.id), plan: run.plan, seeds }), seeds),
  );

const CSV: readonly (readonly [string, (r: MarkRecord) => string | number])[] = [
  ['arm', (r) => r.arm],
  ['seed', (r) => r.seed],
  ['step', (r) => r.step],
  ['tokens', (r) => r.cost.tokens],
  ['seconds', (r) => r.cost.seconds.toFixed(3)],
  ...[...COLUMNS, ...MECHANISM].map(
    ([name, , value]): readonly [string, (r: MarkRecord) => string | number] => [
      name,
      (r) => (Number.isFinite(value(r)) ? Number(value(r).toPrecision(6)) : ''),
    ],
  ),
  ...[1, 2, 4, 8].map((n): readonly [string, (r: MarkRecord) => string | number] => [
    `best of ${n}`,
    (r) => r.bestOf.find((b) => b.n === n)?.reward.toFixed(4) ?? '',
  ]),
];

/** The first step of stage 2 tells how long stage 1 was. */
function firstStages({ run, seeds }: Results, out: string): number[] {
  return seeds.map((seed) => {
    const file = join(out, run.id, `seed-${seed}`, 'rule', 'metrics.jsonl');
    return existsSync(file)
      ? readFileSync(file, 'utf8')
          .split('\n')
          .filter((line) => line.includes('"stage":"classifier"')).length
      : NaN;
  });
}

function switchSection(results: Results, out: string): string[] {
  const { arms } = results.run.plan;
  const pass = (arm: string) => results.of(arm, undefined, (r) => r.passAt1);
  const head = ['', 'pass@1', 'minus k = 20', 'steps of stage 1'];
  const middle = arms.find(
    ({ id, trainer }) =>
      id !== 'rule' && trainer === 'cfrl' && id === `k-${results.run.plan.scale.classifierSteps}`,
  )!.id;
  const stages = firstStages(results, out);
  return [
    'All arms make the same number of steps in all (CF ×10). Differences are paired by seed, 95 % intervals.',
    table(
      head.map((h) => h.replace('k = 20', middle.replace('-', ' = '))),
      arms.map(({ id, label }) => [
        label,
        spread(pass(id), 3),
        id === middle ? '' : intervalText(interval(minus(pass(id), pass(middle)))),
        id === 'rule'
          ? stages.map((n) => (Number.isFinite(n) ? String(n) : '–')).join(', ')
          : label.startsWith('k')
            ? label.slice(4)
            : '0',
      ]),
    ),
  ];
}

const HORIZON = 10;
const FORECASTS: readonly (readonly [ForecastBy, string])[] = [
  ['representation', 'R of the steps made'],
  ['predicted', 'R + G of the steps made'],
  ['average', 'slope of the entropy'],
  ['last', 'entropy as it is'],
];
/** What counts as collapse: this share of the entropy that a run began with. */
const COLLAPSE = 0.5;

/** Every watched run, once on fixed text and once with the entropy of the model's own samples. */
function watched({ run, seeds }: Results, out: string, own: boolean): EntropyPoint[][] {
  return run.plan.arms.flatMap(({ id }) =>
    seeds.flatMap((seed) => {
      const directory = join(out, run.id, `seed-${seed}`, id);
      if (!existsSync(join(directory, 'analysis.jsonl')) || results(directory).length === 0) return [];
      const entropies = new Map(results(directory).map((row) => [row.step, row.entropy]));
      const points = readLines<AnalysisRow>(join(directory, 'analysis.jsonl')).flatMap(
        ({ step, entropy, explained }): EntropyPoint[] => {
          const value = own ? entropies.get(Math.max(step, 1)) : entropy;
          return value === undefined
            ? []
            : [
                {
                  step,
                  entropy: value,
                  representation: explained?.entropy.representation ?? NaN,
                  predicted: explained?.entropy.predicted ?? NaN,
                },
              ];
        },
      );
      return [points];
    }),
  );
  function results(directory: string) {
    return readLines<{ step: number; entropy: number }>(join(directory, 'metrics.jsonl'));
  }
}
const readLines = <Row>(file: string): Row[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row);

function watchSection(results: Results, out: string): string[] {
  const sections = [true, false].flatMap((own) => {
    const series = watched(results, out, own);
    if (series.length === 0) return [];
    const rows = FORECASTS.map(([by, name]) => {
      const judged = series.map((points) =>
        judgeForecast(points, forecastEntropy(points, { by, horizon: HORIZON }), {
          horizon: HORIZON,
          threshold: COLLAPSE * points[0]!.entropy,
        }),
      );
      const total = (pick: (q: (typeof judged)[number]) => number) =>
        judged.reduce((sum, q) => sum + pick(q), 0);
      const leads = judged.flatMap((q) => (q.lead === undefined ? [] : [q.lead]));
      const crossed = judged.filter((q) => q.due > 0).length;
      return [
        name,
        (total((q) => q.error * q.forecasts) / total((q) => q.forecasts)).toFixed(4),
        `${total((q) => q.rightAlarms)} of ${total((q) => q.alarms)}`,
        `${total((q) => q.rightAlarms)} of ${total((q) => q.due)}`,
        `${leads.length} of ${crossed}`,
        leads.length > 0 ? mean(leads).toFixed(1) : '–',
      ];
    });
    const crossed = series.filter((points) =>
      points.some((p) => p.entropy < COLLAPSE * points[0]!.entropy),
    ).length;
    return [
      `Entropy ${own ? 'of the model’s own samples (as logged in training)' : 'at fixed text'}: ${crossed} of ${series.length} runs fall below ${COLLAPSE} of where they began.`,
      table(
        [
          'forecast by',
          `mean error ${HORIZON} steps ahead`,
          'alarms that are right',
          'due moments with an alarm',
          'runs warned of',
          'steps of warning',
        ],
        rows,
      ),
    ];
  });
  return [
    `Entropy ${HORIZON} steps ahead = entropy now + ${HORIZON} × rate, the rate averaged over three looks (every second step): of the change that the steps made were predicted to cause through R, through R and G, or of the entropy itself. An alarm says that entropy will have fallen below ${COLLAPSE} of its first value within ${HORIZON} steps. Components are those of the real (Adam) steps, at states of fixed text.`,
    ...sections,
  ];
}

async function writeFigures(out: string, run: StudyRun, results: Results): Promise<string[]> {
  const [{ colourOf, contentOf }, { chartOption, intervalOption, renderSvg, standalone }] = await Promise.all(
    [import('../../report/content.js'), import('../../report/figures.js')],
  );
  const loaded = report.load(join(out, run.id));
  const { figures } = contentOf(loaded);
  const names: string[] = [];
  const write = (id: string, title: string, option: Parameters<typeof standalone>[0], height: number) => {
    names.push(`${run.id}-${id}.svg`);
    writeAtomically(join(out, 'figures', names.at(-1)!), renderSvg(standalone(option, title), 760, height));
  };
  for (const figure of figures.filter(
    ({ id }) => id === 'pass-at-1' || (isRl(run) && (id === 'reward' || id === 'entropy')),
  )) {
    // Dense curves of every arm would hide each other: the arms that the claims are about.
    const shown = figure.markers
      ? figure.curves
      : figure.curves.filter(({ arm }) => ['standard', 'cf-10', 'cf-30', 'w-lr-10', 'lr-2'].includes(arm.id));
    write(figure.id, `${run.plan.title}: ${figure.title}`, chartOption({ ...figure, curves: shown }), 380);
  }
  if (isRl(run)) {
    const comparisons = comparisonsOf(results);
    for (const budget of ['full steps', 'total steps'] as const)
      write(
        `gain-${budget.replace(' ', '-')}`,
        `${run.plan.title}: pass@1 over standard RL at equal ${budget}, 95 % intervals`,
        intervalOption(
          comparisons.map(({ arm, label, gains }) => ({
            label,
            index: colourOf(
              loaded.summary.arms,
              loaded.summary.arms.find(({ id }) => id === arm),
            ),
            interval: gains[budget],
          })),
          'pass@1 gained',
        ),
        320,
      );
  }
  return names;
}

export async function writeStudy(options: Written): Promise<Claim[]> {
  const { out, seeds, size } = options;
  const all = resultsOf(options);
  const claims = claimsOf(all, rewardsOf(out));
  const known = seeds.filter((seed) => all.every((results) => results.at('base', seed)));
  const sections: string[] = [];
  for (const results of all) {
    const { run } = results;
    const records = recordsOf({ out: join(out, run.id), plan: run.plan, seeds });
    if (records.length === 0) continue;
    if (run.kind === 'switch' || run.kind === 'watch') {
      sections.push(
        [
          `## ${run.plan.title}`,
          ...(run.kind === 'switch' ? switchSection(results, out) : watchSection(results, out)),
        ].join('\n\n'),
      );
      continue;
    }
    const figures = await writeFigures(out, run, results);
    sections.push(
      [
        `## ${run.plan.title}`,
        ...(isRl(run)
          ? [
              'Gain in pass@1 over standard RL, paired by seed: mean and 95 % interval (Student). Bold: the interval leaves out zero.',
              comparisonTable(results),
            ]
          : []),
        'Mean ± standard deviation over seeds.',
        tableOf(records, COLUMNS),
        '<details><summary>What one step would do at these points</summary>',
        tableOf(records, MECHANISM),
        '</details>',
        figures.map((name) => `![${name.replace('.svg', '')}](figures/${name})`).join('\n'),
      ].join('\n\n'),
    );
  }
  const [k] = [all[0]!.at('base', seeds[0]!)?.k];
  writeAtomically(
    join(out, 'README.md'),
    `${[
      '# The paper’s claims, measured',
      `${size === 'quick' ? '**A quick run: its numbers mean nothing.** ' : ''}\`${options.command}\` · ${new Date().toISOString().slice(0, 10)} · ${Object.entries(
        options.environment,
      )
        .map(([key, value]) => `${key} ${value}`)
        .join(', ')}`,
      `${known.length} seeds × 2 tasks, complete in every run. Within a seed all arms share the base model, the split and the random streams of sampling; differences are paired by seed, so they are about this model and task, at this size. k of pass@k is ${k}. "Wall time" is processor time of the training steps (one thread). Every step of every RL arm samples 32 prompts × 8 completions.`,
      '## The claims',
      'Each has a criterion of several parts, written down before these results were read (the demo’s were known), and each part is asked of every run it concerns. All met = reproduced, none = not reproduced, else partly. An interval that includes zero counts as not met.',
      table(
        ['claim', 'verdict'],
        claims.map(({ claim, verdict }) => [claim, `**${verdict}**`]),
      ),
      ...claims.map(({ claim, verdict, parts, care }, i) =>
        [`### ${i + 1}. ${verdict}`, claim, parts.map(partText).join('\n'), `Beside it: ${care}`].join(
          '\n\n',
        ),
      ),
      ...sections,
      '## What the columns mean',
      [
        '- pass@1: one sampled completion is right, on 256 held-out prompts × 8 samples; distinct: different completions among the 8; fixed: at the base model’s own evaluation samples; own: at the model’s.',
        '- ‖W‖: Frobenius norm of the classifier; feature drift: ‖Φ − Φ₀‖ / ‖Φ₀‖ at the same states as the base model.',
        '- growth R, G: ‖∂J/∂W‖² and ‖∂J/∂θ_φ‖² of a fresh rollout of 64 prompts × 8, J = (1/N) Σ advantage · log π (GRPO advantages): what plain ascent gains through each component per unit of learning rate.',
        '- dH/dη R, G: predicted change of the mean entropy at 64 held-out states by each component of that step; Adam: of a first Adam step, which is the gradient’s sign. max-prob up by R: share of those states whose largest probability R raises.',
        '- cosine: between features of different samples: prompts; equal positions; all states.',
      ].join('\n'),
    ].join('\n\n')}\n`,
  );
  const csv = [
    ['run', ...CSV.map(([name]) => name)].join(','),
    ...all.flatMap(({ run }) =>
      recordsOf({ out: join(out, run.id), plan: run.plan, seeds }).map((r) =>
        [run.id, ...CSV.map(([, value]) => value(r))].join(','),
      ),
    ),
  ];
  writeAtomically(join(out, 'records.csv'), `${csv.join('\n')}\n`);
  return claims;
}
