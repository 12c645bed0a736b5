/**
 * Models from configurations drawn at random against transformers, live: HEADFIRST_PYTHON names a Python with
 * the packages of test/peers/requirements.txt, HEADFIRST_PEER_MODELS how many (default 40). The counts are
 * printed, for docs/compatibility.md.
 */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { createContext, Model } from '../../src/index.js';
import { readJson, temporaryDirectory } from '../helpers/files.js';
import { distance, doubles, hasPeers, peersReason, runPeer, Tally } from './peers.js';

const TOLERANCE = 2e-6;

interface Case {
  readonly directory: string;
  readonly config: Record<string, unknown>;
  readonly ids: readonly number[];
}

describe.skipIf(!hasPeers)(`models against transformers${peersReason}`, () => {
  it('equal, or refused, and none different', { timeout: 1_800_000 }, async () => {
    const context = await createContext({ threads: 1 });
    const out = temporaryDirectory();
    const count = process.env['HEADFIRST_PEER_MODELS'] ?? '40';
    runPeer('models.py', out, '--count', count, '--seed', process.env['HEADFIRST_PEER_SEED'] ?? '1');
    const { versions, cases } = readJson(join(out, 'cases.json'));
    const tally = new Tally();
    for (const { directory, config, ids } of cases as Case[]) {
      let model: Model;
      try {
        model = await Model.fromPretrained(directory, { context });
      } catch (error) {
        tally.refusal(error);
        continue;
      }
      const off = await distance(model, ids, doubles(join(directory, 'logits.f64')));
      model.dispose();
      if (off <= TOLERANCE) ++tally.equal;
      else tally.different.push(`${off}: ${JSON.stringify(config)}`);
    }
    tally.print(`models: ${count}`, versions);
    expect(tally.different).toEqual([]);
    expect(tally.equal).toBeGreaterThan(0.4 * Number(count));
  });
});
