/**
 * From a run to what a reader should see: curves with seed bands, the evaluation table, a verdict. Pages and
 * terminals only lay it out.
 */
import { groupBy } from '../core/groupBy.js';
import { mean, standardDeviation } from '../evaluation/estimators.js';
import type { DefinitionKey } from './definitions.js';
import type { Arm, EvaluationRecord, MetricsLine, Run } from './run.js';
import type { Cell, Column, Content, Curve, Figure, Row } from './types.js';
import { verdictOn } from './verdict.js';

/** A curve per arm of one number of every line. */
interface LineFigure {
  readonly id: string;
  readonly title: string;
  readonly definition: DefinitionKey;
  readonly key: string;
}

const TRAINING_FIGURES: readonly LineFigure[] = [
  { id: 'reward', title: 'Reward in training', definition: 'reward', key: 'reward' },
  { id: 'entropy', title: 'Entropy', definition: 'entropy', key: 'entropy' },
  { id: 'max-prob', title: 'Max-prob', definition: 'maxProb', key: 'max_prob' },
  { id: 'grad-norm', title: 'Gradient norm', definition: 'gradNorm', key: 'grad_norm' },
  { id: 'length', title: 'Completion length', definition: 'length', key: 'completions/mean_length' },
  { id: 'kl', title: 'KL to the start', definition: 'kl', key: 'kl' },
];

/** Keys of analysis.jsonl, nested names joined by '/'. */
const WATCHED_FIGURES: readonly LineFigure[] = [
  {
    id: 'step-r',
    title: 'The step’s effect on entropy: R',
    definition: 'stepR',
    key: 'explained/entropy/representation',
  },
  {
    id: 'step-g',
    title: 'The step’s effect on entropy: G',
    definition: 'stepG',
    key: 'explained/entropy/gradient',
  },
  {
    id: 'step-error',
    title: 'Prediction error of the step',
    definition: 'stepError',
    key: 'explained/relativeError',
  },
  { id: 'fixed-entropy', title: 'Entropy on fixed text', definition: 'entropy', key: 'entropy' },
  { id: 'drift', title: 'Feature drift', definition: 'featureDrift', key: 'featureDrift' },
  {
    id: 'classifier-moved',
    title: 'Classifier moved',
    definition: 'classifierMoved',
    key: 'classifierMoved',
  },
  { id: 'mean-cosine', title: 'Mean cosine of features', definition: 'cosine', key: 'meanCosine' },
  {
    id: 'effective-rank',
    title: 'Effective rank of the kernel',
    definition: 'effectiveRank',
    key: 'kernel/effectiveRank',
  },
  {
    id: 'alignment',
    title: 'Alignment of the kernel with the first',
    definition: 'kernelAlignment',
    key: 'kernel/alignment',
  },
  {
    id: 'sampled-distinct',
    title: 'Different completions per prompt',
    definition: 'distinct',
    key: 'sampled/distinct',
  },
  { id: 'sampled-best', title: 'Best of n', definition: 'bestOfN', key: 'sampled/bestOfN' },
];

function overSeeds(values: readonly number[]): Cell | undefined {
  const finite = values.filter(Number.isFinite);
  return finite.length === 0
    ? undefined
    : { mean: mean(finite), deviation: standardDeviation(finite), count: finite.length };
}

/** The place of an arm's colour, −1 for none. The first is the base model's, also where there is none. */
export function colourOf(arms: readonly Arm[], arm: Arm | undefined): number {
  if (arm === undefined) return -1;
  const first = arms[0]!.id === 'base' ? 0 : 1;
  return first + arms.indexOf(arm);
}

function curve(arm: Arm, index: number, samples: readonly { x: number; y: number }[]): Curve {
  const byStep = [...groupBy(samples, ({ x }) => x)].sort(([a], [b]) => a - b);
  const points = byStep.map(([x, group]) => ({ x, ...overSeeds(group.map(({ y }) => y))! }));
  return { arm, index, points };
}

function curvesOf(
  arms: readonly Arm[],
  lines: readonly MetricsLine[],
  figures: readonly LineFigure[],
): Figure[] {
  const byArm = groupBy(lines, (line) => line.arm);
  return figures.map(({ id, title, definition, key }): Figure => {
    const curves = arms.map((arm) => {
      const samples = (byArm.get(arm.id) ?? []).map(({ step, values }) => ({
        x: step,
        y: values[key] ?? NaN,
      }));
      const known = samples.filter(({ y }) => Number.isFinite(y));
      return curve(arm, colourOf(arms, arm), known);
    });
    const drawn = curves.filter(({ points }) => points.length > 0);
    return { id, title, definition, markers: false, curves: drawn };
  });
}

/** Every arm starts at the base model. */
function evaluationFigure({ summary }: Run): Figure {
  const trained = summary.arms.filter((arm) =>
    summary.evaluations.some((e) => e.arm === arm.id && e.step > 0),
  );
  const start = summary.evaluations.filter((e) => e.arm === 'base');
  const curves = trained.map((arm) => {
    const own = summary.evaluations.filter((e) => e.arm === arm.id && e.step > 0);
    const samples = [...start, ...own]
      .filter((e) => Number.isFinite(e.passAt1))
      .map((e) => ({ x: e.step, y: e.passAt1 }));
    return curve(arm, colourOf(summary.arms, arm), samples);
  });
  return {
    id: 'pass-at-1',
    title: 'Right answers on held-out prompts',
    definition: 'passAt1',
    markers: true,
    curves: curves.filter(({ points }) => points.length > 1),
  };
}

const COLUMNS: readonly (Column & { readonly value: (e: EvaluationRecord) => number | undefined })[] = [
  { key: 'passAt1', label: 'pass@1', definition: 'passAt1', digits: 3, value: (e) => e.passAt1 },
  { key: 'passAtK', label: 'pass@k', definition: 'passAtK', digits: 3, value: (e) => e.passAtK },
  { key: 'greedy', label: 'greedy', definition: 'greedy', digits: 3, value: (e) => e.greedy },
  { key: 'distinct', label: 'distinct', definition: 'distinct', digits: 2, value: (e) => e.distinct },
  {
    key: 'maxProbFixed',
    label: 'max-prob',
    definition: 'maxProb',
    qualifier: 'fixed',
    digits: 3,
    value: (e) => e.fixed?.maxProb,
  },
  {
    key: 'maxProbOwn',
    label: 'max-prob',
    definition: 'maxProb',
    qualifier: 'onPolicy',
    digits: 3,
    value: (e) => e.onPolicy?.maxProb,
  },
  {
    key: 'entropyFixed',
    label: 'entropy',
    definition: 'entropy',
    qualifier: 'fixed',
    digits: 3,
    value: (e) => e.fixed?.entropy,
  },
  {
    key: 'entropyOwn',
    label: 'entropy',
    definition: 'entropy',
    qualifier: 'onPolicy',
    digits: 3,
    value: (e) => e.onPolicy?.entropy,
  },
];

function table({ summary }: Run): { columns: Column[]; rows: Row[] } {
  const k = summary.evaluations.find((e) => Number.isFinite(e.k))?.k;
  const columns = COLUMNS.map(({ value: _, ...column }) =>
    column.key === 'passAtK' && k ? { ...column, label: `pass@${k}` } : column,
  );
  const rows = [...groupBy(summary.evaluations, (e) => e.row)].map(([label, records]): Row => {
    const arm = summary.arms.find(({ id }) => id === records[0]!.arm);
    return {
      label,
      armIndex: colourOf(summary.arms, arm),
      cells: COLUMNS.map(({ value }) => overSeeds(records.map((e) => value(e) ?? NaN))),
    };
  });
  return { columns, rows };
}

/** For where there is no room for the definition's name. */
export function shortLabel({ label, qualifier }: Column): string {
  if (!qualifier) return label;
  return `${label}/${qualifier === 'fixed' ? 'fixed' : 'own'}`;
}

/** Everything that a page or a terminal shows of a run. */
export function contentOf(run: Run): Content {
  const { arms } = run.summary;
  const figures = [evaluationFigure(run), ...curvesOf(arms, run.metrics, TRAINING_FIGURES)];
  const watched = curvesOf(arms, run.watched, WATCHED_FIGURES);
  const { columns, rows } = table(run);
  const seeds = new Set([...run.metrics, ...run.summary.evaluations].map(({ seed }) => seed)).size;
  return {
    verdict: verdictOn(figures, rows),
    figures: figures.filter((f) => f.curves.length > 0),
    watched: watched.filter((f) => f.curves.length > 0),
    columns,
    rows,
    seeds,
  };
}
