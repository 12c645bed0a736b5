/**
 * headfirst/native: what another native addon needs to call the kernels without JavaScript (docs/linking.md).
 * Loads nothing, so a build system may ask for `include` before any binary exists.
 */
import { join } from 'node:path';

import { candidates, root } from './locate.js';

/** The folder of `headfirst.h`, for the compiler's include path. */
export const include: string = join(root, 'native/include');
/** The addon that `import 'headfirst'` loads here, for headfirst_open(); undefined when there is none yet. */
export const addonPath: string | undefined = candidates().find(
  (candidate) => candidate.path !== undefined,
)?.path;
