export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly tests: readonly string[];
  /** A pattern of test names, as for `vitest -t`. */
  readonly only?: string;
}
export function listedMutants(only?: string): readonly Mutant[];
export function planted(mutant: Mutant): string;
