import { offsetsOf } from '../../helpers/pairs.js';
import { ints, float32s } from '../../helpers/random.js';
import { defineCases } from '../define.js';

export const segmentReduce = defineCases({
  op: 'segment_reduce',
  cases: [
    { name: 'ragged', args: (r) => ({ x: r.normal([26, 37]), offsets: offsetsOf([5, 0, 20, 1]) }) },
    {
      name: 'scaled',
      args: (r) => ({
        x: r.normal([26, 16]),
        scale_by: r.normal([26, 16]),
        offsets: offsetsOf([5, 0, 20, 1]),
      }),
    },
    {
      name: 'shared scale rows',
      args: (r) => ({
        x: r.normal([9, 5]),
        scale_by: r.normal([4, 5]),
        scale_rows: ints(0, 1, 0, 1, 2, 0, 1, 2, 3),
        offsets: ints(0, 2, 5, 9),
      }),
    },
    {
      name: 'accumulated',
      args: (r) => ({
        x: r.normal([26, 33]),
        offsets: offsetsOf([5, 21, 0]),
        accumulate: true,
        y: r.normal([3, 33]),
      }),
    },
    { name: 'one column', args: (r) => ({ x: r.normal([300, 1]), offsets: offsetsOf([100, 200]) }) },
    { name: 'no columns', args: (r) => ({ x: r.normal([3, 0]), offsets: offsetsOf([1, 2]) }) },
    { name: 'no functions', args: (r) => ({ x: r.normal([0, 4]), offsets: ints(0) }) },
  ],
  refused: [
    {
      name: 'scale_by of other rows',
      args: () => ({
        x: float32s(3, 2),
        scale_by: float32s(2, 2),
        offsets: ints(0, 3),
      }),
      code: 'ERR_SHAPE',
      message: 'give scale_rows when they are shared',
    },
    {
      name: 'offsets beyond the rows',
      args: () => ({ x: float32s(3, 2), offsets: ints(0, 4) }),
      code: 'ERR_INVALID_ARG',
      message: 'end with the 3 rows',
    },
  ],
  bench: [
    {
      name: '32 × T 64, d 1024, scaled',
      args: (r) => ({
        x: r.normal([2048, 1024]),
        scale_by: r.normal([2048, 1024]),
        offsets: offsetsOf(Array<number>(32).fill(64)),
      }),
    },
  ],
});
