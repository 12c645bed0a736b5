import { type Random, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

const scaled = (N: number, C: number) => ({
  name: `${N}×${C}`,
  args: (r: Random) => ({ x: r.normal([N, C]), scale: r.normal([N]) }),
});

export const scaleRows = defineCases({
  op: 'scale_rows',
  cases: [scaled(1, 1), scaled(0, 4), scaled(7, 33), scaled(40, 300)],
  refused: [
    {
      name: 'another count',
      args: () => ({ x: float32s(2, 3), scale: new Float32Array(3) }),
      code: 'ERR_SHAPE',
      message: 'scale has shape (N)',
    },
  ],
  bench: [scaled(2048, 768)],
});
