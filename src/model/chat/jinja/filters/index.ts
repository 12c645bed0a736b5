/** The filters of jinja2, with transformers' tojson. */
import type { Filter } from './filter.js';
import { listFilters } from './lists.js';
import { NUMBER_FILTERS } from './numbers.js';
import { TEXT_FILTERS } from './text.js';

export const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ...TEXT_FILTERS,
  ...NUMBER_FILTERS,
  ...listFilters((name) => FILTERS.get(name)),
]);
