import { expect } from 'vitest';

import { numbers } from '../../helpers/kernels.js';
import { distance, pairs, tokenLevel } from '../../helpers/pairs.js';
import { defineCases } from '../define.js';
import { formCases, formInvariants, formRefusals } from './gram_forms.js';

const layer = (width: number, functions: number, rows: number) => ({
  name: `d ${width}, n ${functions} × T ${rows}`,
  args: (random: import('../../helpers/random.js').Random) => ({
    ...pairs(random, Array<number>(functions).fill(rows), width, width),
  }),
});

export const jacobianGram = defineCases({
  op: 'jacobian_gram',
  cases: [
    ...formCases,
    {
      name: 'many small blocks',
      args: (r) => ({ ...pairs(r, [5, 9, 30], 50, 41), bias: true, max_bytes: 1000 }),
    },
    {
      name: 'blocks of all outputs, few inputs',
      args: (r) => ({ ...pairs(r, [5, 9, 30], 150, 7), max_bytes: 6000 }),
    },
    {
      name: 'blocks of all inputs, few outputs',
      args: (r) => ({ ...pairs(r, [5, 9, 30], 17, 150), bias: true, max_bytes: 6000 }),
    },
  ],
  invariants: [
    ...formInvariants('jacobian_gram'),
    {
      name: 'the byte budget changes nothing beyond rounding',
      check: (run, random, real) => {
        const p = { ...tokenLevel(random, [20, 30], 4, 70, 90), bias: true };
        const whole = numbers(run('jacobian_gram', p)['gram']!);
        for (const max_bytes of [1, 20000, 100000])
          expect(distance(numbers(run('jacobian_gram', { ...p, max_bytes })['gram']!), whole)).toBeLessThan(
            real === 'float64' ? 1e-13 : 1e-6,
          );
      },
    },
  ],
  refused: formRefusals('jacobian_gram'),
  bench: [layer(256, 64, 256), layer(1024, 64, 256), layer(256, 32, 64)],
});
