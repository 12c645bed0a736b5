/** What a study is asked for. */
import type { RunOptions } from '../experiment/arms.js';
import type { Size } from '../experiment/experimentPlan.js';

export type StudyOptions = Omit<RunOptions, 'plan' | 'baseDirectory'> & { readonly size: Size };
/** What its files are made from. */
export type WriteOptions = Pick<StudyOptions, 'out' | 'seeds' | 'size' | 'command' | 'environment'>;
