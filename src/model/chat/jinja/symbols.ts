/**
 * Where names live: the scopes of jinja2.
 *
 * jinja2 compiles a template to functions of Python, and decides before it runs which name of a scope is a
 * variable of its own, one of an outer scope, or one of the caller's. What a name means follows from that,
 * also in odd corners (a name that is set below its use), so the same decision is made here.
 */
import type { ForNode, Parameter, Statement } from './nodes.js';
import { namesOf, namesOfTarget, type Use } from './names.js';
import { raise } from './errors.js';

/** The variables of one function: a macro, a filter of a loop, a recursive loop, the template itself. */
export class FunctionScope {
  private readonly slots = new Map<string, number>();
  constructor(readonly parent: FunctionScope | undefined) {}

  declare(identifier: string): void {
    // Slot 0 holds the variables of the function around it.
    if (!this.slots.has(identifier)) this.slots.set(identifier, this.slots.size + 1);
  }
  /** How many functions outwards, and which slot there. */
  locate(identifier: string): { readonly hops: number; readonly slot: number } {
    const slot = this.slots.get(identifier);
    if (slot !== undefined) return { hops: 0, slot };
    const { hops, slot: outer } = this.parent!.locate(identifier);
    return { hops: hops + 1, slot: outer };
  }
  get size(): number {
    return this.slots.size + 1;
  }
}

/** What a variable holds when its scope is entered. */
export type Load =
  | { readonly kind: 'parameter' }
  | { readonly kind: 'undefined' }
  | { readonly kind: 'alias'; readonly of: string }
  | { readonly kind: 'resolve'; readonly name: string };

export class Symbols {
  private refs = new Map<string, string>();
  private stores = new Set<string>();
  loads = new Map<string, Load>();
  private readonly level: number;

  constructor(
    private readonly parent: Symbols | undefined,
    readonly scope: FunctionScope,
  ) {
    this.level = parent === undefined ? 0 : parent.level + 1;
  }

  private define(name: string, load: Load): string {
    const identifier = `${this.level} ${name}`;
    this.scope.declare(identifier);
    this.refs.set(name, identifier);
    this.loads.set(identifier, load);
    return identifier;
  }

  private find(name: string): string | undefined {
    return this.refs.get(name) ?? this.parent?.find(name);
  }

  ref(name: string): string {
    return this.find(name) ?? raise('TemplateError', `the name '${name}' is unknown to its scope`);
  }

  parameter(name: string): string {
    this.stores.add(name);
    return this.define(name, { kind: 'parameter' });
  }

  private store(name: string): void {
    this.stores.add(name);
    if (this.refs.has(name)) return;
    const outer = this.parent?.find(name);
    this.define(name, outer === undefined ? { kind: 'undefined' } : { kind: 'alias', of: outer });
  }

  private load(name: string): void {
    if (this.find(name) === undefined) this.define(name, { kind: 'resolve', name });
  }

  /** A name in an expression, or one that is assigned to. */
  use = (name: string, use: Use): void => {
    if (use === 'load') this.load(name);
    else if (use === 'store') this.store(name);
    else this.parameter(name);
  };

  sibling(): Symbols {
    return new Symbols(this.parent, this.scope);
  }

  private copy(): Symbols {
    const copy = new Symbols(this.parent, this.scope);
    copy.refs = new Map(this.refs);
    copy.loads = new Map(this.loads);
    copy.stores = new Set(this.stores);
    return copy;
  }

  /** What only some branches set is, in the others, what it was outside. */
  private joinBranches(branches: readonly Symbols[]): void {
    const stored = new Set(
      branches.flatMap(({ stores }) => [...stores].filter((name) => !this.stores.has(name))),
    );
    for (const branch of branches) {
      for (const [name, identifier] of branch.refs) this.refs.set(name, identifier);
      for (const [identifier, load] of branch.loads) this.loads.set(identifier, load);
      for (const name of branch.stores) this.stores.add(name);
    }
    for (const name of stored) {
      const outer = this.parent?.find(name);
      this.loads.set(
        this.ref(name),
        outer === undefined ? { kind: 'resolve', name } : { kind: 'alias', of: outer },
      );
    }
  }

  /** The names of statements that lie in this scope; scopes inside are analysed when they are compiled. */
  analyse(body: readonly Statement[]): void {
    for (const node of body) this.statement(node);
  }

  private statement(node: Statement): void {
    const { use } = this;
    switch (node.kind) {
      case 'output':
        for (const one of node.nodes) namesOf(one, use);
        return;
      case 'set':
        namesOf(node.value, use);
        this.targets(node.target);
        return;
      case 'set block':
        this.targets(node.target);
        return;
      case 'for':
        namesOf(node.iterable, use);
        return;
      case 'if':
        this.branches(node);
        return;
      case 'macro':
        this.store(node.name);
        return;
      case 'call block':
        namesOf(node.call, use);
        return;
      case 'filter block':
        namesOf(node.filter, use);
        return;
      case 'with':
        for (const value of node.values) namesOf(value, use);
        return;
      default:
        return;
    }
  }

  private targets(target: Extract<Statement, { kind: 'set' }>['target']): void {
    if (target.kind === 'attribute of namespace') this.load(target.name);
    else if (target.kind === 'targets') for (const item of target.items) this.targets(item);
    else this.store(target.name);
  }

  private branches(node: Extract<Statement, { kind: 'if' }>): void {
    namesOf(node.test, this.use);
    const branch = (body: readonly Statement[]): Symbols => {
      const copy = this.copy();
      copy.analyse(body);
      return copy;
    };
    const elifs = node.elifs.map((one) => ({ ...one, span: node.span }));
    this.joinBranches([branch(node.body), branch(elifs), branch(node.else)]);
  }

  analyseParameters(parameters: readonly Parameter[]): void {
    for (const { name } of parameters) this.parameter(name);
    for (const parameter of parameters) namesOf(parameter.default, this.use);
  }

  analyseLoopTarget({ target }: Pick<ForNode, 'target'>): void {
    namesOfTarget(target, this.use, 'parameter');
  }
}
