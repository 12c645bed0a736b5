import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { reals, type Random, type RealTensor } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const squared = (x: RealTensor): RealTensor => ({ data: x.data.map((v) => v * v), shape: x.shape });
const update = (P: number, extra: Record<string, number> = {}, label = '') => ({
  name: `${P}${label && `, ${label}`}`,
  args: (r: Random) => ({
    param: r.normal([P]),
    grad: r.normal([P], 0.1),
    exp_avg: r.normal([P], 0.1),
    exp_avg_sq: squared(r.normal([P], 0.1)),
    step: 5,
    ...extra,
  }),
});

export const adamw = defineCases({
  op: 'adamw',
  cases: [
    update(0),
    update(1),
    update(7),
    update(100),
    update(70_001),
    update(
      33,
      { lr: 0.1, weight_decay: 0.3, beta1: 0.8, beta2: 0.95, eps: 1e-3, grad_scale: 0.25 },
      'every option',
    ),
    update(33, { step: 1_000_000, lr: 1e-6, weight_decay: 0.1 }, 'late'),
    {
      name: 'zero gradients and moments',
      args: () => ({
        param: reals(1, -2, 3),
        grad: reals(0, 0, 0),
        exp_avg: reals(0, 0, 0),
        exp_avg_sq: reals(0, 0, 0),
        step: 1,
        weight_decay: 0.1,
      }),
    },
  ],
  invariants: [
    {
      // python3: p = tensor([.5, -1.25, 2, 0], dtype=float64); AdamW([p], lr=.1, betas=(.9, .99), eps=1e-8,
      // weight_decay=.2); three steps.
      name: 'three steps of torch.optim.AdamW',
      check: (run, _, real) => {
        const options = { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.2 };
        let state = {
          param: reals(0.5, -1.25, 2, 0),
          exp_avg: reals(0, 0, 0, 0),
          exp_avg_sq: reals(0, 0, 0, 0),
        };
        [
          [0.3, -0.2, 0, 1],
          [-0.1, -0.4, 2, 1],
          [0.7, 0.05, -1, 1],
        ].forEach((grad, i) => {
          const result = run('adamw', { ...state, grad: reals(...grad), ...options, step: i + 1 });
          const next = (name: string) => reals(...numbers(result[name]!));
          state = { param: next('param'), exp_avg: next('exp_avg'), exp_avg_sq: next('exp_avg_sq') };
        });
        [0.2645280491469497, -0.9188890609941671, 1.7867792968819816, -0.2940399970596].forEach((v, i) =>
          expect(Math.abs(state.param.data[i]! - v), real).toBeLessThan(2e-6),
        );
      },
    },
  ],
  refused: [
    {
      name: 'step 0',
      args: () => ({
        param: new Float32Array(1),
        grad: new Float32Array(1),
        exp_avg: new Float32Array(1),
        exp_avg_sq: new Float32Array(1),
        step: 0,
      }),
      code: 'ERR_INVALID_ARG',
      message: 'step counts from 1, got 0',
    },
    {
      name: 'moments of another size',
      args: () => ({
        param: new Float32Array(2),
        grad: new Float32Array(2),
        exp_avg: new Float32Array(1),
        exp_avg_sq: new Float32Array(2),
      }),
      code: 'ERR_SHAPE',
      message: 'exp_avg has shape (P)',
    },
  ],
  bench: [update(1 << 24)],
});
