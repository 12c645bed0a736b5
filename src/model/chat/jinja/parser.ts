/** Statements, and the template as a whole. */
import { refuse } from './errors.js';
import { ExpressionParser } from './expressions.js';
import { tokenize } from './lexer.js';
import type { Expression, IfNode, Parameter, Span, Statement, Target } from './nodes.js';

type Bare = Statement extends infer S ? (S extends { readonly span: Span } ? Omit<S, 'span'> : never) : never;

/** Tags that need other templates: there are none beside a chat template, so Python fails too. */
const OTHER_TEMPLATES: ReadonlySet<string> = new Set(['extends', 'include', 'import', 'from']);
const RESERVED: ReadonlySet<string> = new Set(['true', 'false', 'none', 'True', 'False', 'None']);

/** @param source after normalise(). @throws PythonError, a TemplateSyntaxError. */
export function parse(source: string): Statement[] {
  return new Parser(tokenize(source)).template();
}

class Parser extends ExpressionParser {
  template(): Statement[] {
    return this.statements();
  }

  /** Until one of the tags `ends`, whose name is the current token then. */
  private statements(ends: readonly string[] = []): Statement[] {
    const body: Statement[] = [];
    for (;;) {
      const token = this.current;
      const index = this.position;
      if (token.type === 'eof') {
        if (ends.length > 0) this.fail(`unexpected end of template, looking for ${ends.join(' or ')}`);
        return body;
      }
      this.next();
      if (token.type === 'data') {
        body.push({ kind: 'text', text: token.text, span: token });
        continue;
      }
      if (token.type === 'begin' && ends.some((end) => this.isName(end))) return body;
      const bare: Bare =
        token.type === 'begin' ? this.statement() : { kind: 'output', nodes: [this.tuple()] };
      const { end } = this.current;
      if (this.current.type !== 'end') this.fail(`expected the end of the tag, got ${this.describe()}`);
      this.next();
      const isSimple = bare.kind === 'output' || bare.kind === 'set';
      // The tag alone of a statement with a body.
      const span = { begin: token.begin, end: isSimple ? end : this.endOfTag(index) };
      body.push({ ...bare, span } as Statement);
    }
  }

  /** Of the tag whose first token stands at `index`. */
  private endOfTag(index: number): number {
    let at = index;
    while (this.tokens[at]!.type !== 'end') ++at;
    return this.tokens[at]!.end;
  }

  private body(...ends: string[]): Statement[] {
    this.skipOperator(':');
    if (this.current.type !== 'end') this.fail(`expected the end of the tag, got ${this.describe()}`);
    this.next();
    return this.statements(ends);
  }

  /** A body up to its end tag, whose name is read. */
  private closedBody(end: string): Statement[] {
    const body = this.body(end);
    this.next();
    return body;
  }

  private statement(): Bare {
    const name = this.expectName();
    if (name === 'set') return this.set();
    if (name === 'for') return this.for();
    if (name === 'if') return this.if();
    if (name === 'print') return this.print();
    if (name === 'with') return this.with();
    if (name === 'macro') return this.macro();
    if (name === 'call') return this.callBlock();
    if (name === 'block') return this.block();
    if (name === 'break' || name === 'continue') return { kind: name };
    if (name === 'generation') return { kind: 'generation', body: this.closedBody('endgeneration') };
    if (name === 'filter') {
      const filter = this.filter(undefined, true)!;
      return { kind: 'filter block', filter, body: this.closedBody('endfilter') };
    }
    if (OTHER_TEMPLATES.has(name)) this.fail(`a chat template has no other templates for {% ${name} %}`);
    if (name === 'autoescape') return refuse('{% autoescape %}');
    return this.fail(`Encountered unknown tag '${name}'`);
  }

  private set(): Bare {
    const target = this.target({ withNamespace: true });
    if (this.skipOperator('=')) return { kind: 'set', target, value: this.tuple() };
    const filter = this.filter(undefined);
    return { kind: 'set block', target, filter, body: this.closedBody('endset') };
  }

  private for(): Bare {
    const target = this.target({ endName: 'in' });
    if (!this.skipName('in')) this.fail(`expected 'in', got ${this.describe()}`);
    const iterable = this.tuple({ withCondition: false, endName: 'recursive' });
    const test = this.skipName('if') ? this.expression() : undefined;
    const recursive = this.skipName('recursive');
    const body = this.body('endfor', 'else');
    const otherwise = this.next().text === 'else' ? this.closedBody('endfor') : [];
    return { kind: 'for', target, iterable, test, recursive, body, else: otherwise };
  }

  private if(): Bare {
    const branch = (): { test: Expression; body: Statement[] } => {
      const test = this.tuple({ withCondition: false });
      return { test, body: this.body('elif', 'else', 'endif') };
    };
    const first = branch();
    const elifs: IfNode[] = [];
    let ending = this.next().text;
    while (ending === 'elif') {
      elifs.push({ kind: 'if', ...branch(), elifs: [], else: [] });
      ending = this.next().text;
    }
    const otherwise = ending === 'else' ? this.closedBody('endif') : [];
    return { kind: 'if', ...first, elifs, else: otherwise };
  }

  private print(): Bare {
    const nodes: Expression[] = [];
    while (this.current.type !== 'end') {
      if (nodes.length > 0) this.expectOperator(',');
      nodes.push(this.expression());
    }
    return { kind: 'output', nodes };
  }

  private with(): Bare {
    const targets: Target[] = [];
    const values: Expression[] = [];
    while (this.current.type !== 'end') {
      if (targets.length > 0) this.expectOperator(',');
      targets.push(this.target());
      this.expectOperator('=');
      values.push(this.expression());
    }
    return { kind: 'with', targets, values, body: this.closedBody('endwith') };
  }

  private parameters(): Parameter[] {
    const parameters: Parameter[] = [];
    this.expectOperator('(');
    while (!this.isOperator(')')) {
      if (parameters.length > 0) this.expectOperator(',');
      const name = this.targetName();
      if (parameters.some((one) => one.name === name)) this.fail(`duplicate argument '${name}'`);
      const value = this.skipOperator('=') ? this.expression() : undefined;
      const isOutOfOrder = value === undefined && parameters.at(-1)?.default !== undefined;
      if (isOutOfOrder) this.fail('non-default argument follows default argument');
      parameters.push({ name, default: value });
    }
    this.expectOperator(')');
    return parameters;
  }

  private macro(): Bare {
    const name = this.targetName();
    const parameters = this.parameters();
    return { kind: 'macro', name, parameters, body: this.closedBody('endmacro') };
  }

  private callBlock(): Bare {
    const parameters = this.isOperator('(') ? this.parameters() : [];
    const call = this.expression();
    if (call.kind !== 'call') return this.fail('expected call');
    return { kind: 'call block', parameters, call, body: this.closedBody('endcall') };
  }

  private block(): Bare {
    const name = this.expectName();
    if (this.isName('scoped') || this.isName('required')) refuse(`{% block … ${this.current.text} %}`);
    const body = this.closedBody('endblock');
    this.skipName(name);
    return { kind: 'block', name, body };
  }

  private targetName(): string {
    const name = this.expectName();
    if (RESERVED.has(name)) this.fail(`can't assign to '${name}'`);
    return name;
  }

  private target({
    endName,
    withNamespace = false,
  }: {
    endName?: string;
    withNamespace?: boolean;
  } = {}): Target {
    const items: Target[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.expectOperator(',');
      const isEnd = this.current.type === 'end' || this.isOperator(')');
      if (isEnd || (endName !== undefined && this.isName(endName))) break;
      items.push(this.singleTarget(withNamespace));
      if (!this.isOperator(',')) break;
      isTuple = true;
    }
    if (!isTuple && items.length > 0) return items[0]!;
    if (!isTuple) this.fail(`expected a name to assign to, got ${this.describe()}`);
    return { kind: 'targets', items };
  }

  private singleTarget(withNamespace: boolean): Target {
    if (this.skipOperator('(')) {
      const target = this.parenthesised();
      this.expectOperator(')');
      return target;
    }
    if (this.current.type !== 'name') this.fail(`can't assign to ${this.describe()}`);
    if (withNamespace && this.isOperator('.', this.look())) {
      const name = this.targetName();
      this.next();
      return { kind: 'attribute of namespace', name, attribute: this.expectName() };
    }
    return { kind: 'name', name: this.targetName() };
  }

  /** `(a, b)`: inside parentheses there are no attributes. */
  private parenthesised(): Target {
    const items: Target[] = [];
    let isTuple = false;
    while (!this.isOperator(')')) {
      items.push(this.singleTarget(false));
      if (!this.skipOperator(',')) break;
      isTuple = true;
    }
    return !isTuple && items.length === 1 ? items[0]! : { kind: 'targets', items };
  }
}
