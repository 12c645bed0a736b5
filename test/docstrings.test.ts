/**
 * Everything that `import 'headfirst'` gives says what it is, and so does every public member of its classes:
 * an editor's hover is the reference.
 */
import { fileURLToPath } from 'node:url';
import {
  API,
  type Checker,
  ModifierFlags,
  type Symbol as TypeScriptSymbol,
  SymbolFlags,
} from 'typescript/unstable/sync';
import { afterAll, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const api = new API({ cwd: root });
afterAll(() => api.close());

/** Private or protected. */
function hidden({ valueDeclaration }: TypeScriptSymbol): boolean {
  const { modifierFlags = 0 } = (valueDeclaration?.resolve() ?? {}) as {
    readonly modifierFlags?: ModifierFlags;
  };
  return (modifierFlags & (ModifierFlags.Private | ModifierFlags.Protected)) !== 0;
}

/**
 * Names without a docstring among what a module exports: symbols, those of its namespaces, and public members
 * of its classes.
 */
function undocumented(
  checker: Checker,
  module: TypeScriptSymbol,
  path = '',
  seen = new Set<number>(),
): { total: number; missing: string[] } {
  const found = { total: 0, missing: [] as string[] };
  const look = (symbol: TypeScriptSymbol, name: string) => {
    found.total += 1;
    const internal = checker.getJsDocTagsOfSymbol(symbol).some((tag) => tag.name === 'internal');
    if (!internal && checker.getDocumentationCommentOfSymbol(symbol).trim() === '') found.missing.push(name);
  };
  for (const exported of checker.getExportsOfModule(module)) {
    const symbol = exported.flags & SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    if (seen.has(symbol.id)) continue;
    seen.add(symbol.id);
    if (symbol.flags & SymbolFlags.ValueModule) {
      const inner = undocumented(checker, symbol, `${path}${exported.name}.`, seen);
      found.total += inner.total;
      found.missing.push(...inner.missing);
      continue;
    }
    look(symbol, path + exported.name);
    if (!(symbol.flags & SymbolFlags.Class)) continue;
    const members = checker
      .getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol))
      .map((member) => [member, '#'] as const);
    const statics = [...symbol.getExports().values()]
      .filter(({ name }) => name !== 'prototype')
      .map((member) => [member, '.'] as const);
    for (const [member, sign] of [...members, ...statics])
      if (!/^(#|__)/.test(member.name) && !hidden(member))
        look(member, path + exported.name + sign + member.name);
  }
  return found;
}

it('has a docstring on every exported symbol and every public member of a class', () => {
  const entry = `${root}src/index.ts`;
  const { program, checker } = api.updateSnapshot({ openFiles: [entry] }).getDefaultProjectForFile(entry)!;
  const { total, missing } = undocumented(
    checker,
    checker.getSymbolAtLocation(program.getSourceFile(entry)!)!,
  );
  expect(total).toBeGreaterThan(250);
  expect(missing).toEqual([]);
});
