/** Expressions: the grammar of jinja2's own parser, rule by rule. */
import { raise } from './errors.js';
import type { Token } from './lexer.js';
import type {
  Arguments,
  BinaryOperator,
  CallNode,
  Comparison,
  Expression,
  FilterNode,
  SliceNode,
} from './nodes.js';

const COMPARISONS: ReadonlySet<string> = new Set(['==', '!=', '<', '>', '<=', '>=']);
const CONSTANTS: ReadonlyMap<string, boolean | null> = new Map([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
const NO_ARGUMENTS: Arguments = { positional: [], named: [] };

/** How a tuple is read. */
export interface TupleOptions {
  /** One name after the tuple is its end. */
  readonly endName?: string;
  readonly withCondition?: boolean;
  readonly parentheses?: boolean;
}

export class ExpressionParser {
  protected position = 0;

  constructor(protected readonly tokens: readonly Token[]) {}

  protected get current(): Token {
    return this.tokens[this.position]!;
  }
  protected next(): Token {
    const token = this.current;
    if (token.type !== 'eof') ++this.position;
    return token;
  }
  protected look(): Token {
    return this.tokens[this.position + 1] ?? this.current;
  }
  protected isOperator(text: string, token = this.current): boolean {
    return token.type === 'operator' && token.text === text;
  }
  protected isName(text: string, token = this.current): boolean {
    return token.type === 'name' && token.text === text;
  }
  protected skipOperator(text: string): boolean {
    const found = this.isOperator(text);
    if (found) this.next();
    return found;
  }
  protected skipName(text: string): boolean {
    const found = this.isName(text);
    if (found) this.next();
    return found;
  }
  protected fail(message: string): never {
    raise('TemplateSyntaxError', message);
  }
  protected expectOperator(text: string): Token {
    if (!this.isOperator(text)) this.fail(`expected '${text}', got ${this.describe()}`);
    return this.next();
  }
  protected expectName(): string {
    if (this.current.type !== 'name') this.fail(`expected a name, got ${this.describe()}`);
    return this.next().text;
  }
  protected describe(): string {
    return this.current.type === 'eof' ? 'the end of the template' : `'${this.current.text.slice(0, 40)}'`;
  }

  expression(withCondition = true): Expression {
    return withCondition ? this.condition() : this.or();
  }

  private condition(): Expression {
    let node = this.or();
    while (this.skipName('if')) {
      const test = this.or();
      const otherwise = this.skipName('else') ? this.condition() : undefined;
      node = { kind: 'condition', test, consequence: node, else: otherwise };
    }
    return node;
  }

  private or(): Expression {
    let left = this.and();
    while (this.skipName('or')) left = { kind: 'or', left, right: this.and() };
    return left;
  }

  private and(): Expression {
    let left = this.not();
    while (this.skipName('and')) left = { kind: 'and', left, right: this.not() };
    return left;
  }

  private not(): Expression {
    if (this.skipName('not')) return { kind: 'unary', operator: 'not', node: this.not() };
    return this.compare();
  }

  private comparison(): Comparison | undefined {
    if (this.current.type === 'operator' && COMPARISONS.has(this.current.text))
      return this.next().text as Comparison;
    if (this.skipName('in')) return 'in';
    if (!this.isName('not') || !this.isName('in', this.look())) return undefined;
    this.next();
    this.next();
    return 'not in';
  }

  private compare(): Expression {
    const node = this.sum();
    const operands: { operator: Comparison; node: Expression }[] = [];
    for (let operator = this.comparison(); operator !== undefined; operator = this.comparison())
      operands.push({ operator, node: this.sum() });
    return operands.length === 0 ? node : { kind: 'compare', node, operands };
  }

  private binary(operators: readonly BinaryOperator[], operand: () => Expression): Expression {
    let left = operand();
    for (;;) {
      const operator = operators.find((one) => this.isOperator(one));
      if (operator === undefined) return left;
      this.next();
      left = { kind: 'binary', operator, left, right: operand() };
    }
  }

  private sum(): Expression {
    return this.binary(['+', '-'], () => this.concatenation());
  }

  private concatenation(): Expression {
    const items = [this.product()];
    while (this.skipOperator('~')) items.push(this.product());
    return items.length === 1 ? items[0]! : { kind: 'concat', items };
  }

  private product(): Expression {
    return this.binary(['*', '/', '//', '%'], () => this.power());
  }

  private power(): Expression {
    return this.binary(['**'], () => this.unary());
  }

  private unary(withFilter = true): Expression {
    let node: Expression;
    if (this.skipOperator('-')) node = { kind: 'unary', operator: '-', node: this.unary(false) };
    else if (this.skipOperator('+')) node = { kind: 'unary', operator: '+', node: this.unary(false) };
    else node = this.primary();
    node = this.postfix(node);
    return withFilter ? this.filters(node) : node;
  }

  protected primary(): Expression {
    const token = this.current;
    if (token.type === 'name') {
      this.next();
      const constant = CONSTANTS.get(token.text);
      if (constant !== undefined) return { kind: 'constant', value: constant };
      return { kind: 'name', name: token.text };
    }
    if (token.type === 'string') {
      let value = '';
      while (this.current.type === 'string') value += this.next().text;
      return { kind: 'constant', value };
    }
    if (token.type === 'number') {
      this.next();
      return { kind: 'constant', value: token.value };
    }
    if (this.skipOperator('(')) {
      const node = this.tuple({ parentheses: true });
      this.expectOperator(')');
      return node;
    }
    if (this.skipOperator('[')) return this.list();
    if (this.skipOperator('{')) return this.dict();
    return this.fail(`unexpected ${this.describe()}`);
  }

  private isTupleEnd(endName: string | undefined): boolean {
    if (this.current.type === 'end' || this.isOperator(')')) return true;
    return endName !== undefined && this.isName(endName);
  }

  tuple({ endName, withCondition = true, parentheses = false }: TupleOptions = {}): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.expectOperator(',');
      if (this.isTupleEnd(endName)) break;
      items.push(this.expression(withCondition));
      if (!this.isOperator(',')) break;
      isTuple = true;
    }
    if (!isTuple && items.length > 0) return items[0]!;
    if (!isTuple && !parentheses) this.fail(`expected an expression, got ${this.describe()}`);
    return { kind: 'tuple', items };
  }

  private list(): Expression {
    const items: Expression[] = [];
    while (!this.isOperator(']')) {
      if (items.length > 0) this.expectOperator(',');
      if (this.isOperator(']')) break;
      items.push(this.expression());
    }
    this.expectOperator(']');
    return { kind: 'list', items };
  }

  private dict(): Expression {
    const items: { key: Expression; value: Expression }[] = [];
    while (!this.isOperator('}')) {
      if (items.length > 0) this.expectOperator(',');
      if (this.isOperator('}')) break;
      const key = this.expression();
      this.expectOperator(':');
      items.push({ key, value: this.expression() });
    }
    this.expectOperator('}');
    return { kind: 'dict', items };
  }

  protected postfix(start: Expression): Expression {
    let node = start;
    for (;;) {
      if (this.isOperator('.') || this.isOperator('[')) node = this.subscript(node);
      else if (this.isOperator('(')) node = this.call(node);
      else return node;
    }
  }

  private filters(start: Expression): Expression {
    let node = start;
    for (;;) {
      if (this.isOperator('|')) node = this.filter(node)!;
      else if (this.isName('is')) node = this.test(node);
      else if (this.isOperator('(')) node = this.call(node);
      else return node;
    }
  }

  private call(node: Expression): CallNode {
    return { kind: 'call', node, args: this.args() };
  }

  private subscript(node: Expression): Expression {
    if (this.skipOperator('.')) {
      const token = this.next();
      if (token.type === 'name') return { kind: 'attribute', node, name: token.text };
      const isInteger = token.type === 'number' && typeof token.value !== 'object';
      if (!isInteger) this.fail('expected name or number');
      return { kind: 'item', node, index: { kind: 'constant', value: token.value } };
    }
    this.expectOperator('[');
    const indices: (Expression | SliceNode)[] = [];
    while (!this.isOperator(']')) {
      if (indices.length > 0) this.expectOperator(',');
      indices.push(this.index());
    }
    this.expectOperator(']');
    if (indices.length === 1) return { kind: 'item', node, index: indices[0]! };
    if (indices.some(({ kind }) => kind === 'slice')) this.fail('several slices have no meaning here');
    return { kind: 'item', node, index: { kind: 'tuple', items: indices as Expression[] } };
  }

  private index(): Expression | SliceNode {
    let start: Expression | undefined;
    if (!this.isOperator(':')) {
      start = this.expression();
      if (!this.isOperator(':')) return start;
    }
    this.expectOperator(':');
    const stop = this.partOfSlice();
    const step = this.skipOperator(':') ? this.partOfSlice() : undefined;
    return { kind: 'slice', start, stop, step };
  }

  private partOfSlice(): Expression | undefined {
    const isAbsent = this.isOperator(':') || this.isOperator(']') || this.isOperator(',');
    return isAbsent ? undefined : this.expression();
  }

  private args(): Arguments {
    this.expectOperator('(');
    const positional: Expression[] = [];
    const named: { name: string; value: Expression }[] = [];
    let list: Expression | undefined;
    let mapping: Expression | undefined;
    const ensure = (holds: boolean): void => {
      if (!holds) this.fail('invalid syntax for function call expression');
    };
    for (let first = true; !this.isOperator(')'); first = false) {
      if (!first) this.expectOperator(',');
      if (this.isOperator(')')) break;
      if (this.skipOperator('*')) {
        ensure(list === undefined && mapping === undefined);
        list = this.expression();
      } else if (this.skipOperator('**')) {
        ensure(mapping === undefined);
        mapping = this.expression();
      } else if (this.current.type === 'name' && this.isOperator('=', this.look())) {
        ensure(mapping === undefined);
        const name = this.next().text;
        this.next();
        if (named.some((one) => one.name === name)) this.fail(`keyword argument repeated: ${name}`);
        named.push({ name, value: this.expression() });
      } else {
        ensure(list === undefined && mapping === undefined && named.length === 0);
        positional.push(this.expression());
      }
    }
    this.expectOperator(')');
    return { positional, named, list, mapping };
  }

  private dottedName(): string {
    let name = this.expectName();
    while (this.skipOperator('.')) name += `.${this.expectName()}`;
    return name;
  }

  /** `|name(…)|…`, or with `inline` `name(…)|…` */
  protected filter(start: Expression | undefined, inline = false): FilterNode | undefined {
    let node = start;
    for (let isFirst = inline; this.isOperator('|') || isFirst; isFirst = false) {
      if (!isFirst) this.next();
      const name = this.dottedName();
      const args = this.isOperator('(') ? this.args() : NO_ARGUMENTS;
      node = { kind: 'filter', node, name, args };
    }
    return node as FilterNode | undefined;
  }

  private beginsArgument(): boolean {
    const { type } = this.current;
    if (type === 'string' || type === 'number') return true;
    if (type === 'name') return !['else', 'or', 'and'].includes(this.current.text);
    return this.isOperator('[') || this.isOperator('{');
  }

  private test(node: Expression): Expression {
    this.next();
    const isNegated = this.skipName('not');
    const name = this.dottedName();
    let args = NO_ARGUMENTS;
    if (this.isOperator('(')) args = this.args();
    else if (this.beginsArgument()) {
      if (this.isName('is')) this.fail('You cannot chain multiple tests with is');
      args = { positional: [this.postfix(this.primary())], named: [] };
    }
    const test: Expression = { kind: 'test', node, name, args };
    return isNegated ? { kind: 'unary', operator: 'not', node: test } : test;
  }
}
