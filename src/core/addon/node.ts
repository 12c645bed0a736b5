/**
 * Imported before everything else: an old Node.js gets one clear error here instead of a puzzling one
 * somewhere below.
 */

/**
 * What is wrong with this version of Node.js ('20.18.0'), or undefined. The same bounds as "engines" in
 * package.json.
 */
export function nodeProblem(version: string): string | undefined {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const supported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
  if (supported) return undefined;
  return (
    `headfirst: needs Node.js ^20.19.0 or >=22.12.0, got ${version}; ` +
    'install a newer Node.js (https://nodejs.org)'
  );
}

const problem = nodeProblem(process.versions.node);
if (problem !== undefined) throw Object.assign(new Error(problem), { code: 'ERR_UNSUPPORTED' });
