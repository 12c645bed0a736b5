/** The syntax tree of a template. */
import type { Value } from './values.js';

/** Characters of the source, for messages. */
export interface Span {
  readonly begin: number;
  readonly end: number;
}

export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';
export type Comparison = '==' | '!=' | '<' | '>' | '<=' | '>=' | 'in' | 'not in';

export interface Arguments {
  readonly positional: readonly Expression[];
  readonly named: readonly { readonly name: string; readonly value: Expression }[];
  /** *list and **mapping. */
  readonly list?: Expression | undefined;
  readonly mapping?: Expression | undefined;
}

export interface FilterNode {
  readonly kind: 'filter';
  /** Absent in what follows a block: the block's text. */
  readonly node: Expression | undefined;
  readonly name: string;
  readonly args: Arguments;
}

export interface CallNode {
  readonly kind: 'call';
  readonly node: Expression;
  readonly args: Arguments;
}

export interface NameNode {
  readonly kind: 'name';
  readonly name: string;
}

export interface SliceNode {
  readonly kind: 'slice';
  readonly start: Expression | undefined;
  readonly stop: Expression | undefined;
  readonly step: Expression | undefined;
}

export type Expression =
  | { readonly kind: 'constant'; readonly value: Value }
  | NameNode
  | { readonly kind: 'tuple' | 'list'; readonly items: readonly Expression[] }
  | {
      readonly kind: 'dict';
      readonly items: readonly { readonly key: Expression; readonly value: Expression }[];
    }
  | { readonly kind: 'attribute'; readonly node: Expression; readonly name: string }
  | { readonly kind: 'item'; readonly node: Expression; readonly index: Expression | SliceNode }
  | CallNode
  | FilterNode
  | { readonly kind: 'test'; readonly node: Expression; readonly name: string; readonly args: Arguments }
  | { readonly kind: 'unary'; readonly operator: '+' | '-' | 'not'; readonly node: Expression }
  | {
      readonly kind: 'binary';
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | { readonly kind: 'concat'; readonly items: readonly Expression[] }
  | {
      readonly kind: 'compare';
      readonly node: Expression;
      readonly operands: readonly { readonly operator: Comparison; readonly node: Expression }[];
    }
  | {
      readonly kind: 'condition';
      readonly test: Expression;
      readonly consequence: Expression;
      readonly else: Expression | undefined;
    };

/** What can be assigned to. */
export type Target =
  | NameNode
  | { readonly kind: 'attribute of namespace'; readonly name: string; readonly attribute: string }
  | { readonly kind: 'targets'; readonly items: readonly Target[] };

export interface Parameter {
  readonly name: string;
  readonly default: Expression | undefined;
}

export interface ForNode {
  readonly kind: 'for';
  readonly target: Target;
  readonly iterable: Expression;
  readonly test: Expression | undefined;
  readonly recursive: boolean;
  readonly body: readonly Statement[];
  readonly else: readonly Statement[];
}

export interface IfNode {
  readonly kind: 'if';
  readonly test: Expression;
  readonly body: readonly Statement[];
  /** elif: each without its own elifs and else. */
  readonly elifs: readonly IfNode[];
  readonly else: readonly Statement[];
}

export interface MacroNode {
  readonly kind: 'macro';
  readonly name: string;
  readonly parameters: readonly Parameter[];
  readonly body: readonly Statement[];
}

export interface CallBlockNode {
  readonly kind: 'call block';
  readonly parameters: readonly Parameter[];
  readonly call: CallNode;
  readonly body: readonly Statement[];
}

export interface BlockNode {
  readonly kind: 'block';
  readonly name: string;
  readonly body: readonly Statement[];
}

type Bare =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'output'; readonly nodes: readonly Expression[] }
  | { readonly kind: 'set'; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: 'set block';
      readonly target: Target;
      readonly filter: FilterNode | undefined;
      readonly body: readonly Statement[];
    }
  | ForNode
  | IfNode
  | MacroNode
  | CallBlockNode
  | BlockNode
  | { readonly kind: 'generation'; readonly body: readonly Statement[] }
  | { readonly kind: 'filter block'; readonly filter: FilterNode; readonly body: readonly Statement[] }
  | {
      readonly kind: 'with';
      readonly targets: readonly Target[];
      readonly values: readonly Expression[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: 'break' | 'continue' };

export type Statement = Bare & { readonly span: Span };
