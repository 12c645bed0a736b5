import { expect, it } from 'vitest';

import { onePerLine } from '../../../src/research/study/prose.js';

const words = (text: string): string[] => text.split(/\s+/);

it('breaks prose at sentences and clauses, and nothing else', () => {
  const long = `A first sentence of some words, with a clause. ${'A second one goes on, and on; '.repeat(6)}to its end.`;
  const page = `# ${long}\n\n${long}\n\n- ${long}\n\n| ${long} |\n`;
  const broken = onePerLine(page);
  expect(words(broken)).toEqual(words(page));
  const [title, , paragraph, ...rest] = broken.split('\n');
  expect(title).toBe(`# ${long}`);
  expect(paragraph).toBe('A first sentence of some words, with a clause.');
  expect(rest.filter((line) => line.startsWith('|'))).toEqual([`| ${long} |`]);
  const prose = rest.filter((line) => !line.startsWith('|'));
  expect(Math.max(...prose.map((line) => line.length))).toBeLessThanOrEqual(110);
  expect(prose.filter((line) => line.startsWith('  ')).length).toBeGreaterThan(1);
  expect(onePerLine(broken)).toBe(broken);
});
