/** Calls of linear_policy_gradient that must be refused, with a part of the message. */
import type { ArrayView } from '../../../../src/core/addon/contract.js';
import type { OpCases } from '../../define.js';

type Refusals = NonNullable<OpCases['refused']>;
type Extra = Record<string, unknown>;

const f32 = (shape: number[], fill = 0.5) => ({
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(fill),
  shape,
});
const reals = (...values: number[]) => Float32Array.from(values);
const ids = (...values: number[]) => Int32Array.from(values);

/** Three rows of width 2, four tokens. */
const small = (extra: Extra = {}) =>
  ({
    hidden: f32([3, 2]),
    weight: f32([4, 2]),
    targets: ids(0, 1, 3),
    ...extra,
  }) as unknown as Record<string, ArrayView>;

const refusal = (code: string) => (name: string, extra: Extra | (() => Extra), message: string) => ({
  name,
  args: () => small(typeof extra === 'function' ? extra() : extra),
  code,
  message,
});
const wrongShape = refusal('ERR_SHAPE');
const wrongType = refusal('ERR_DTYPE');
const invalid = refusal('ERR_INVALID_ARG');

const clip = (extra: Extra) => ({ loss: 'clip', advantages: reals(0, 1, 2), ...extra });
const given = (extra: Extra) => ({ coefficients: reals(0, 1, 2), ...extra });
const reference = { ref_hidden: f32([3, 2]), ref_weight: f32([4, 2]) };

const shapes: Refusals = [
  wrongShape('weight of another width', { weight: f32([4, 3]) }, 'weight'),
  wrongShape(
    'an empty vocabulary',
    { weight: f32([0, 2]), targets: ids(-100, -100, -100) },
    'at least one row',
  ),
  wrongShape('targets of another length', { targets: ids(0, 1) }, 'targets'),
  wrongType('real targets', { targets: reals(0, 1, 2) }, 'targets must be int32'),
];

const values: Refusals = [
  invalid('a target beyond the vocabulary', { targets: ids(0, 4, 1) }, 'in [0, 4), got 4 in row 1'),
  invalid('a negative target', { targets: ids(0, 1, -1) }, 'got -1 in row 2'),
  invalid(
    'a NaN coefficient',
    { coefficients: reals(0, NaN, 1) },
    'coefficients must be finite, got nan in row 1',
  ),
  invalid(
    'an infinite entropy coefficient',
    { entropy_coefficients: reals(0, 1, Infinity) },
    'entropy_coefficients must be finite, got inf in row 2',
  ),
  invalid(
    'an infinite advantage',
    { loss: 'clip', advantages: reals(-Infinity, 0, 1) },
    'advantages must be finite, got -inf in row 0',
  ),
  invalid(
    'a NaN old log-prob',
    clip({ old_logps: reals(0, NaN, 1) }),
    'old_logps must be finite, got nan in row 1',
  ),
  invalid(
    'a NaN reference log-prob',
    clip({ beta: 1, ref_logps: reals(NaN, 0, 1) }),
    'ref_logps must be finite',
  ),
  invalid(
    'a NaN weight',
    { loss: 'cispo', advantages: reals(0, 0, 1), weights: reals(0, 0, NaN) },
    'weights must be finite, got nan in row 2',
  ),
];

const losses: Refusals = [
  invalid('clip without advantages', { loss: 'clip' }, "advantages of shape (N) are required by loss 'clip'"),
  invalid(
    'advantages without a loss',
    { advantages: reals(0, 1, 2) },
    "advantages is not used by loss 'coefficients'",
  ),
  invalid('weights without a loss', { weights: reals(0, 1, 2) }, 'weights is not used'),
  invalid('clip flags without a loss', { clipped: true }, 'clipped is not used'),
  invalid('coefficients beside a loss', clip({ coefficients: reals(0, 1, 2) }), 'coefficients is not used'),
  invalid('beta beside coefficients', given({ beta: 0.1 }), 'beta needs loss'),
  invalid('entropy_coef beside coefficients', given({ entropy_coef: 0.1 }), 'give entropy_coefficients'),
  invalid('gradients of nothing', { d_hidden: true }, 'gradients need coefficients'),
];

const references: Refusals = [
  invalid('beta without a reference', clip({ beta: 0.1 }), 'need ref_logps'),
  invalid('kl_out without a reference', { kl_out: true }, 'need ref_logps'),
  invalid(
    'exact KL without the reference model',
    { kl: 'exact', kl_out: true },
    'needs ref_hidden and ref_weight',
  ),
  invalid('half a reference model', { kl: 'exact', ref_hidden: f32([3, 2]) }, 'go together'),
  invalid('a reference model for k3', reference, 'ref_hidden is not used'),
  wrongShape(
    'a reference vocabulary of another size',
    { kl: 'exact', ref_hidden: f32([3, 2]), ref_weight: f32([5, 2]) },
    'ref_weight',
  ),
  invalid(
    'bias correction of the exact KL',
    clip({ kl: 'exact', beta: 1, kl_bias_correction: true, ...reference }),
    'has no bias',
  ),
];

const sequences: Refusals = [
  invalid(
    'sequences without offsets',
    clip({ importance: 'sequence' }),
    'offsets of shape (S+1) are required',
  ),
  invalid(
    'sequence level with coefficients',
    given({ importance: 'sequence', offsets: ids(0, 3) }),
    "importance 'sequence' or 'product' needs loss",
  ),
  invalid('offsets at token level', { offsets: ids(0, 3) }, 'offsets is not used'),
  invalid(
    'offsets that leave rows out',
    clip({ importance: 'sequence', offsets: ids(0, 2) }),
    'from 0 to the 3 rows',
  ),
  invalid(
    'offsets that descend',
    clip({ importance: 'sequence', offsets: ids(0, 2, 1, 3) }),
    'must ascend, got 1 after 2',
  ),
];

const numbers: Refusals = [
  invalid('temperature 0', { temperature: 0 }, 'temperature must be positive'),
  invalid('a NaN temperature', { temperature: NaN }, 'temperature must be positive'),
  invalid('epsilon_low above 1', clip({ epsilon_low: 1.5 }), 'epsilon_low must be in [0, 1], got 1.5'),
  invalid(
    'a negative epsilon_high',
    clip({ epsilon_high: -0.1 }),
    'epsilon_high must be >= 0 and finite, got -0.1',
  ),
  invalid('an infinite beta', clip({ beta: Infinity, ref_logps: reals(0, 0, 0) }), 'beta must be finite'),
  invalid(
    'delta below the clip',
    clip({ delta: 1.1 }),
    'delta must be 0 (no cap) or at least 1 + epsilon_high',
  ),
  invalid(
    'delta for cispo',
    { loss: 'cispo', advantages: reals(0, 1, 2), delta: 2 },
    "delta needs loss 'clip'",
  ),
];

const masks: Refusals = [
  invalid('a NaN bias', { bias: reals(0, NaN, 0, 0) }, 'bias must be finite or -Infinity'),
  invalid(
    'a mask of everything',
    { bias: reals(-Infinity, -Infinity, -Infinity, -Infinity) },
    'masks every token',
  ),
  invalid(
    'a masked target in a loss',
    clip({ bias: reals(0, -Infinity, 0, 0) }),
    'target 1 of row 1 is masked',
  ),
  invalid(
    'a mask of the reference alone',
    { kl: 'exact', kl_out: true, ...reference, ref_bias: reals(0, 0, -Infinity, 0) },
    'ref_bias masks token 2',
  ),
];

const overlaps: Refusals = [
  invalid(
    'an output that is an input',
    () => {
      const data = new Float32Array(3).fill(1);
      return { coefficients: data, logps: data };
    },
    'overlaps',
  ),
  invalid(
    'd_hidden inside hidden',
    () => {
      const hidden = f32([3, 2]);
      return given({ hidden, d_hidden: hidden });
    },
    'overlaps',
  ),
  invalid(
    'two outputs in one buffer',
    () => {
      const data = new Float32Array(5);
      return { logps: { data, shape: [3] }, entropy: { data, shape: [3], offset: 2 } };
    },
    'overlaps',
  ),
];

export const refused: Refusals = [
  ...shapes,
  ...values,
  ...losses,
  ...references,
  ...sequences,
  ...numbers,
  ...masks,
  ...overlaps,
];
