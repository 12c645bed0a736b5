export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly tests: readonly string[];
}
export function listedMutants(only?: string): readonly Mutant[];
export function planted(mutant: Mutant): string;
