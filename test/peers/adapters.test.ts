/**
 * LoRA adapters drawn at random against peft, both ways, live: HEADFIRST_PYTHON names a Python with the
 * packages of test/peers/requirements.txt, HEADFIRST_PEER_ADAPTERS how many (default 40). The counts are
 * printed, for docs/compatibility.md.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { createContext, Model, type PeftConfig } from '../../src/index.js';
import { readJson, temporaryDirectory } from '../helpers/files.js';
import { Random } from '../helpers/random.js';
import { distance, doubles, hasPeers, peersReason, runPeer, Tally } from './peers.js';

const TOLERANCE = 2e-6;

interface Case {
  readonly directory: string;
  readonly base: string;
  readonly options: Record<string, unknown>;
  readonly ids: readonly number[];
}

const context = await createContext({ threads: 1 });

/** The options that are ours, from peft's. */
function ourOptions(options: Case['options']): PeftConfig {
  const ours = ['r', 'lora_alpha', 'target_modules', 'exclude_modules', 'modules_to_save', 'use_rslora'];
  const layers = ['layers_to_transform', 'layers_pattern'];
  const chosen = [...ours, ...layers].filter((key) => options[key] !== undefined);
  return Object.fromEntries(chosen.map((key) => [key, options[key]])) as PeftConfig;
}

/** A model with fresh adapters, moved as by training. */
async function trained({ base, options }: Case): Promise<Model> {
  const model = await Model.fromPretrained(base, { context, peftConfig: ourOptions(options) });
  const random = new Random(5);
  for (const { name, size } of model.parameters((p) => p.trainable)) {
    const before = await model.getParameter(name);
    const moves = random.normal([size]).data;
    await model.setParameter(
      name,
      before.map((value, index) => value + 0.1 * moves[index]!),
    );
  }
  return model;
}

describe.skipIf(!hasPeers)(`adapters against peft${peersReason}`, () => {
  it('of peft, read here, and of ours, read by peft: equal, or refused', { timeout: 1_800_000 }, async () => {
    const out = temporaryDirectory();
    const count = process.env['HEADFIRST_PEER_ADAPTERS'] ?? '40';
    runPeer('adapters.py', out, '--count', count, '--seed', process.env['HEADFIRST_PEER_SEED'] ?? '1');
    const { versions, cases } = readJson(join(out, 'cases.json'));
    const theirs = new Tally();
    const ours = new Tally();
    const ourModels = new Map<Case, Model>();
    for (const each of cases as Case[]) {
      const { directory, base, options, ids } = each;
      try {
        const model = await Model.fromPretrained(base, { context, adapter: directory });
        const off = await distance(model, ids, doubles(join(directory, 'theirs.f64')));
        if (off <= TOLERANCE) ++theirs.equal;
        else theirs.different.push(`${off}: ${base} ${JSON.stringify(options)}`);
      } catch (error) {
        theirs.refusal(error);
      }
      try {
        const model = await trained(each);
        await model.saveAdapter(join(directory, 'ours'));
        ourModels.set(each, model);
      } catch (error) {
        ours.refusal(error);
      }
    }
    runPeer('adapters.py', out, '--load');
    for (const [{ directory, base, options, ids }, model] of ourModels) {
      expect(existsSync(join(directory, 'ours.f64'))).toBe(true);
      const off = await distance(model, ids, doubles(join(directory, 'ours.f64')));
      if (off <= TOLERANCE) ++ours.equal;
      else ours.different.push(`${off}: ${base} ${JSON.stringify(options)}`);
    }
    theirs.print(`adapters of peft: ${count}`, versions);
    ours.print(`adapters of ours: ${count}`, versions);
    expect([...theirs.different, ...ours.different]).toEqual([]);
    expect(theirs.equal).toBeGreaterThan(0.25 * Number(count));
    expect(ours.equal).toBeGreaterThan(0.4 * Number(count));
  });
});
