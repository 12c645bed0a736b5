/** A chat template: parsed and compiled once, rendered often. */
import { Frame } from './compileExpressions.js';
import { compileEnter, type Compiler, type Execute } from './compileScopes.js';
import { compileBody } from './compileStatements.js';
import { toPython } from './convert.js';
import { PythonError, raise, Refusal } from './errors.js';
import { GLOBALS } from './globals.js';
import { normalise } from './lexer.js';
import { undeclaredNames } from './names.js';
import type { Span, Statement } from './nodes.js';
import { parse } from './parser.js';
import { BUDGET, type Budget, type Environment, MISSING, type Output, Run } from './run.js';
import { FunctionScope, Symbols } from './symbols.js';
import { Structure, type Value } from './values.js';

export interface Rendering {
  readonly text: string;
  /** What {% generation %} blocks wrote: begin and end in `text`. */
  readonly generated: readonly (readonly [begin: number, end: number])[];
}

export type Render = (variables: Readonly<Record<string, unknown>>, budget?: Budget) => Rendering;

/** Why a template did not render: Python fails too, or renders what we do not. */
export class TemplateProblem extends Error {
  constructor(
    message: string,
    readonly isRefusal: boolean,
  ) {
    super(message);
  }
}

/** @throws TemplateProblem, here for what is wrong with the template, in render for the rest. */
export function compileTemplate(text: string): Render {
  const source = normalise(text);
  const execute = described(
    () => compileRoot(parse(source), new Map()),
    () => '',
  );
  return (variables, budget = BUDGET) => {
    let run: Run | undefined;
    return described(
      () => {
        const values = new Map(GLOBALS);
        for (const [name, value] of Object.entries(variables)) values.set(name, toPython(value));
        run = new Run(values, budget);
        execute([undefined], run, run.root);
        return { text: run.root.text, generated: run.generated };
      },
      () => place(source, run?.at),
    );
  };
}

/** A template, or a block of one: variables of its own, below nothing. */
function compileRoot(body: readonly Statement[], blocks: Map<string, Execute>, isBlock = false): Execute {
  const scope = new FunctionScope(undefined);
  const frame = new Frame(new Symbols(undefined, scope), scope);
  frame.isTop = !isBlock;
  const usesSelf = undeclaredNames(body, ['self']).has('self');
  if (usesSelf) frame.symbols.use('self', 'parameter');
  frame.symbols.analyse(body);
  const compiler: Compiler = {
    body: (statements, inner) => compileBody(statements, inner, compiler),
    block(name, statements) {
      if (blocks.has(name)) raise('TemplateSyntaxError', `block '${name}' defined twice`);
      const execute = compileRoot(statements, blocks, true);
      blocks.set(name, execute);
      return execute;
    },
  };
  const execute = compiler.body(body, frame);
  const enter = compileEnter(frame);
  const self = usesSelf ? scope.locate(frame.symbols.ref('self')).slot : undefined;
  const reference: Value = new Structure('TemplateReference', {});
  return (_environment: Environment, run: Run, output: Output) => {
    const own: Environment = new Array(scope.size).fill(MISSING);
    own[0] = undefined;
    if (self !== undefined) own[self] = reference;
    enter(own, run);
    return execute(own, run, output);
  };
}

const SHOWN = 120;

function place(source: string, span: Span | undefined): string {
  if (span === undefined) return '';
  const line = source.slice(0, span.begin).split('\n').length;
  const tag = source.slice(span.begin, span.end);
  const shown = tag.length > SHOWN ? `${tag.slice(0, SHOWN)}…` : tag;
  return ` in ${shown} (line ${line})`;
}

function described<Result>(work: () => Result, where: () => string): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof PythonError) {
      const type = error.type === 'TemplateError' ? '' : `${error.type}: `;
      throw new TemplateProblem(`${type}${error.message}${where()}`, false);
    }
    if (error instanceof Refusal) throw new TemplateProblem(`${error.message}${where()}`, true);
    const isTooDeep = error instanceof RangeError;
    if (isTooDeep) throw new TemplateProblem(`${error.message}: it goes too deep${where()}`, true);
    throw error;
  }
}
