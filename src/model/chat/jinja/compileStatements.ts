/** Statements become functions that write to an output. */
import {
  compile,
  compileCall,
  compileFilter,
  compileRead,
  type Evaluate,
  type Frame,
} from './compileExpressions.js';
import { compileFor } from './compileLoops.js';
import {
  compileAssign,
  compileEnter,
  type Compiler,
  type Execute,
  type Flow,
  insideLoop,
} from './compileScopes.js';
import { raise, refuse } from './errors.js';
import { compileMacro } from './macros.js';
import { namesOf } from './names.js';
import type { Expression, Span, Statement, Target } from './nodes.js';
import { stringOf } from './printing.js';
import type { Environment, Output, Run } from './run.js';
import { Namespace, truthy } from './values.js';

export function compileBody(body: readonly Statement[], frame: Frame, compiler: Compiler): Execute {
  const statements = body.map((node) => compileStatement(node, frame, compiler));
  if (statements.length === 1) return statements[0]!;
  return (environment, run, output) => {
    for (const execute of statements) {
      const flow = execute(environment, run, output);
      if (flow !== 'next') return flow;
    }
    return 'next';
  };
}

/** A body in a scope of its own, whose text is kept. */
function compileCapture(
  body: readonly Statement[],
  frame: Frame,
  compiler: Compiler,
  filter?: Expression,
): (environment: Environment, run: Run) => { readonly flow: Flow; readonly text: string } {
  frame.symbols.analyse(body);
  namesOf(filter, frame.symbols.use);
  const enter = compileEnter(frame);
  const execute = compiler.body(body, frame);
  return (environment, run) => {
    enter(environment, run);
    const output: Output = { text: '' };
    const flow = execute(environment, run, output);
    return { flow, text: output.text };
  };
}

function compileStatement(node: Statement, frame: Frame, compiler: Compiler): Execute {
  if (node.kind === 'text') {
    const { text } = node;
    return (_environment, run, output) => {
      run.write(output, text);
      return 'next';
    };
  }
  const { span } = node;
  const execute = compileTag(node, frame, compiler, span);
  return (environment, run, output) => {
    run.at = span;
    run.step();
    return execute(environment, run, output);
  };
}

function compileTag(
  node: Exclude<Statement, { kind: 'text' }>,
  frame: Frame,
  compiler: Compiler,
  span: Span,
): Execute {
  switch (node.kind) {
    case 'output': {
      const values = node.nodes.map((one) => compile(one, frame));
      return (environment, run, output) => {
        for (const value of values) run.write(output, stringOf(value(environment, run)));
        return 'next';
      };
    }
    case 'set':
      return compileSet(node, frame);
    case 'set block':
      return compileSetBlock(node, frame, compiler);
    case 'for':
      return compileFor(node, frame, compiler, span);
    case 'if':
      return compileIf(node, frame, compiler);
    case 'macro': {
      const macro = compileMacro(node, frame, compiler, node.name);
      const assign = compileAssign({ kind: 'name', name: node.name }, frame);
      return (environment, run) => {
        assign(environment, run, macro(environment, run));
        return 'next';
      };
    }
    case 'call block': {
      const caller = compileMacro(node, frame, compiler, undefined);
      const call = compileCall(node.call, frame, caller);
      return (environment, run, output) => {
        run.write(output, stringOf(call(environment, run)));
        return 'next';
      };
    }
    case 'generation':
      return compileGeneration(node, frame, compiler);
    case 'filter block': {
      const inner = frame.inner();
      let text = '';
      const capture = compileCapture(node.body, inner, compiler, node.filter);
      const filter = compileFilter(node.filter, inner, () => text);
      return (environment, run, output) => {
        const captured = capture(environment, run);
        if (captured.flow !== 'next') return captured.flow;
        text = captured.text;
        run.write(output, stringOf(filter(environment, run)));
        return 'next';
      };
    }
    case 'with':
      return compileWith(node, frame, compiler);
    case 'block':
      return compileBlock(node, frame, compiler);
    case 'break':
    case 'continue': {
      const { kind } = node;
      if (!insideLoop.has(frame.scope)) raise('TemplateSyntaxError', `'${kind}' outside loop`);
      return () => kind;
    }
  }
}

/** Namespaces that a target names must be some before the value is computed. */
function compileChecks(target: Target, frame: Frame): Evaluate[] {
  if (target.kind === 'targets') return target.items.flatMap((item) => compileChecks(item, frame));
  if (target.kind === 'name') return [];
  const read = compileRead(frame.symbols.ref(target.name), frame.scope);
  return [
    (environment, run) => {
      const isNamespace = read(environment, run) instanceof Namespace;
      if (!isNamespace) raise('TemplateError', 'cannot assign attribute on non-namespace object');
      return null;
    },
  ];
}

function compileSet(node: Extract<Statement, { kind: 'set' }>, frame: Frame): Execute {
  const checks = compileChecks(node.target, frame);
  const value = compile(node.value, frame);
  const assign = compileAssign(node.target, frame);
  return (environment, run) => {
    for (const check of checks) check(environment, run);
    assign(environment, run, value(environment, run));
    return 'next';
  };
}

function compileSetBlock(
  node: Extract<Statement, { kind: 'set block' }>,
  frame: Frame,
  compiler: Compiler,
): Execute {
  const inner = frame.inner();
  let text = '';
  const capture = compileCapture(node.body, inner, compiler);
  const value: Evaluate =
    node.filter === undefined ? () => text : compileFilter(node.filter, inner, () => text);
  const checks = compileChecks(node.target, frame);
  const assign = compileAssign(node.target, frame);
  return (environment, run) => {
    const captured = capture(environment, run);
    if (captured.flow !== 'next') return captured.flow;
    text = captured.text;
    for (const check of checks) check(environment, run);
    assign(environment, run, value(environment, run));
    return 'next';
  };
}

// ---- the rest ---------------------------------------------------------------------------------------------

function compileIf(node: Extract<Statement, { kind: 'if' }>, frame: Frame, compiler: Compiler): Execute {
  const soft = frame.soft();
  const branches = [node, ...node.elifs].map(({ test, body }) => ({
    test: compile(test, soft),
    execute: compiler.body(body, soft),
  }));
  const otherwise = compiler.body(node.else, soft);
  return (environment, run, output) => {
    for (const { test, execute } of branches) {
      if (truthy(test(environment, run))) return execute(environment, run, output);
    }
    return otherwise(environment, run, output);
  };
}

function compileWith(node: Extract<Statement, { kind: 'with' }>, frame: Frame, compiler: Compiler): Execute {
  const inner = frame.inner();
  for (const target of node.targets) inner.symbols.analyseLoopTarget({ target });
  inner.symbols.analyse(node.body);
  const enter = compileEnter(inner);
  const values = node.values.map((value) => compile(value, frame));
  const assigns = node.targets.map((target) => compileAssign(target, inner));
  const execute = compiler.body(node.body, inner);
  return (environment, run, output) => {
    enter(environment, run);
    assigns.forEach((assign, i) => assign(environment, run, values[i]!(environment, run)));
    return execute(environment, run, output);
  };
}

/** transformers' own tag: what the assistant says. It is a call block, so its scope is that of a macro. */
function compileGeneration(
  node: Extract<Statement, { kind: 'generation' }>,
  frame: Frame,
  compiler: Compiler,
): Execute {
  const caller = compileMacro({ parameters: [], body: node.body }, frame, compiler, undefined);
  return (environment, run, output) => {
    const macro = caller(environment, run);
    const text = stringOf(macro.call([], new Map()));
    const begin = run.root.text.length;
    run.generated.push([begin, begin + text.length]);
    run.write(output, text);
    return 'next';
  };
}

function compileBlock(
  node: Extract<Statement, { kind: 'block' }>,
  frame: Frame,
  compiler: Compiler,
): Execute {
  if (!frame.isTop) refuse('a {% block %} inside of another tag');
  const execute = compiler.block(node.name, node.body);
  return (_environment, run, output) => execute([undefined], run, output);
}
