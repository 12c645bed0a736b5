/** Plain sentences that belong beside the experiment's numbers. */
import { mean, standardDeviation } from '../../evaluation/estimators.js';
import type { EvaluationRecord } from '../../report/index.js';
import { EXPECTED, type Plan, SCALES } from './experimentPlan.js';

const signed = (x: number) => `${x < 0 ? '−' : '+'}${Math.abs(x).toFixed(3)}`;

/** pass@1 differences between two rows, seed by seed: both started from the same base model. */
function paired(evaluations: readonly EvaluationRecord[], row: string, against: string): number[] {
  const of = (name: string, seed: number) =>
    evaluations.find((e) => e.row === name && e.seed === seed)?.passAt1;
  return [...new Set(evaluations.map((e) => e.seed))].flatMap((seed) => {
    const a = of(row, seed);
    const b = of(against, seed);
    return a === undefined || b === undefined ? [] : [a - b];
  });
}

function gain(
  evaluations: readonly EvaluationRecord[],
  row: string,
  against: string,
  budget: string,
): string[] {
  const differences = paired(evaluations, row, against);
  if (differences.length === 0) return [];
  const spread =
    differences.length > 1
      ? ` ± ${standardDeviation(differences).toFixed(3)} over ${differences.length} seeds`
      : ' (one seed)';
  return [
    `${row} against ${against}, ${budget}: pass@1 ${signed(mean(differences))}${spread}, each pair from the same ` +
      'base model.',
  ];
}

function expectation(evaluations: readonly EvaluationRecord[]): string[] {
  return Object.entries(EXPECTED).flatMap(([row, [centre, allowed]]) => {
    const values = evaluations.filter((e) => e.row === row).map((e) => e.passAt1);
    if (values.length === 0) return [];
    const found = mean(values);
    const inside = Math.abs(found - centre) <= allowed;
    return [
      `${row}: pass@1 ${found.toFixed(3)} is ${inside ? 'inside' : 'outside'} what the experiment's prototype ` +
        `leads to expect (${centre.toFixed(3)} ± ${allowed.toFixed(2)}).`,
    ];
  });
}

export function notesOf({ variant, scale, arms }: Plan, evaluations: readonly EvaluationRecord[]): string[] {
  const standard = arms.find((arm) => arm.id === 'standard')!;
  const cf = arms.find((arm) => arm.id === 'cf')!;
  const final = cf.marks.at(-1)!.row;
  const full = scale === SCALES.full;
  return [
    ...(full
      ? []
      : ['A quick run checks that everything works. It is far too short for its numbers to mean anything.']),
    ...gain(evaluations, final, standard.marks[1]!.row, 'equal total steps (equal sampled completions)'),
    ...gain(
      evaluations,
      final,
      standard.marks[0]!.row,
      'equal full steps (classifier-first has its first stage on top)',
    ),
    ...(full && variant === 'main' ? expectation(evaluations) : []),
    ...(variant === 'main'
      ? [
          'Here most of classifier-first’s gain is a larger effective step on the classifier, and sharper ' +
            'outputs: the controls (--controls) are one stage with the classifier’s learning rate × 10, and ' +
            'standard RL at twice the learning rate. Judge it beside them.',
        ]
      : [
          'In the contrast task direct answers forget the carry: sharpening what the base model does is not ' +
            'enough, features must change. Expect no budget-matched win for classifier-first here.',
        ]),
    'Entropy on fixed text can rise when a model moves to another answer format, while on its own samples it ' +
      'falls: read both.',
    'Every seed has its own split, base model and sampling; within a seed all arms share the base model, so ' +
      'compare arms pair by pair.',
  ];
}
