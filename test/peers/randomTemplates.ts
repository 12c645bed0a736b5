/**
 * Small random templates: expressions of every operator, filter, test and method, and statements around them.
 */
import {
  FIELDS,
  FILTERS,
  FORMATS,
  LITERALS,
  METHODS,
  NAMES,
  OPERATORS,
  SLICES,
  TESTS,
} from './templateParts.js';

/** Numbers from 0 to below 1 that depend on the seed alone (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Author {
  private readonly random: () => number;
  constructor(seed: number) {
    this.random = randomNumbers(seed);
  }
  private below(count: number): number {
    return Math.floor(this.random() * count);
  }
  private one<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }
  private atom(): string {
    return this.random() < 0.65 ? this.one(NAMES) : this.one(LITERALS);
  }

  expression(depth: number): string {
    if (depth <= 0) return this.atom();
    const inner = (): string => this.expression(depth - 1 - this.below(2));
    switch (this.below(13)) {
      case 0:
      case 1:
      case 2:
        return `${this.wrapped(depth)}|${this.one(FILTERS)}`;
      case 3:
      case 4:
        return `${this.wrapped(depth)}.${this.one(METHODS)}`;
      case 5:
        return `${this.wrapped(depth)}${this.one(SLICES)}`;
      case 6:
      case 7:
        return `${inner()} ${this.one(OPERATORS)} ${inner()}`;
      case 8:
        return `${this.wrapped(depth)} is ${this.one(['', '', 'not '])}${this.one(TESTS)}`;
      case 9:
        return `${inner()} if ${inner()}${this.one([` else ${inner()}`, ''])}`;
      case 10:
        return this.one([
          `[${inner()}, ${inner()}]`,
          `(${inner()}, ${inner()})`,
          `{${this.one(["'a'", '1', 'n', 's'])}: ${inner()}}`,
        ]);
      case 11:
        return this.one([
          `not ${inner()}`,
          `-${this.wrapped(depth)}`,
          `+${this.wrapped(depth)}`,
          `(${inner()})`,
        ]);
      default:
        return this.one([
          `'${this.one(FORMATS)}' % ${this.wrapped(depth)}`,
          `'${this.one(FORMATS)}'|format(${inner()})`,
          `'${this.one(FIELDS)}'.format(${inner()})`,
        ]);
    }
  }

  private wrapped(depth: number): string {
    const inner = this.expression(depth - 1);
    const isAtom = NAMES.includes(inner) || LITERALS.includes(inner);
    return isAtom || this.random() < 0.3 ? inner : `(${inner})`;
  }

  private space(): string {
    return this.one(['', '', ' ', '\n', '  ', '\n  ', '\t', '\r\n', 'x', ' y ', '.\n\n']);
  }
  private tag(inner: string): string {
    const begin = this.one(['{%', '{%', '{%-', '{%+']);
    const end = this.one(['%}', '%}', '-%}', '+%}']);
    return `${begin} ${inner} ${end}`;
  }
  private variable(): string {
    return this.one(['x', 'y', 'n', 's', 'loop2', 'd']);
  }

  statements(depth: number): string {
    const count = 1 + this.below(3);
    return Array.from({ length: count }, () => this.space() + this.statement(depth)).join('') + this.space();
  }

  private statement(depth: number): string {
    const value = this.expression(2);
    const output = `${this.one(['{{', '{{-', '{{+'])} ${value} ${this.one(['}}', '-}}'])}`;
    if (depth <= 0) return output;
    const body = (): string => this.statements(depth - 1);
    const list = this.one([
      'l',
      'ms',
      'words',
      'd',
      'w',
      'range(3)',
      'nested',
      'd.items()',
      'missing',
      'l|reverse',
      'm|dictsort',
      this.expression(1),
    ]);
    const name = this.variable();
    switch (this.below(16)) {
      case 0:
      case 1: {
        const targets = this.one([name, name, 'a, b', '(a, b)']);
        const filter = this.one(['', '', '', ` if ${name}`, ` if ${this.expression(1)}`]);
        const otherwise = this.one(['', this.tag('else') + body()]);
        return (
          this.tag(`for ${targets} in ${list}${filter}`) +
          this.loopBody(depth) +
          otherwise +
          this.tag('endfor')
        );
      }
      case 2:
      case 3: {
        const elif = this.one(['', this.tag(`elif ${this.expression(1)}`) + body()]);
        const otherwise = this.one(['', this.tag('else') + body()]);
        return this.tag(`if ${this.expression(1)}`) + body() + elif + otherwise + this.tag('endif');
      }
      case 4:
      case 5:
        return this.tag(`set ${name} = ${value}`);
      case 6:
        return this.tag(`set ${name}${this.one(['', '|upper', '|trim'])}`) + body() + this.tag('endset');
      case 7:
        return `${this.tag(`macro q(a, b=${this.expression(1)})`)}${body()}{{ ${this.one(['a', 'b', 'varargs', 'kwargs', 'caller is defined'])} }}${this.tag('endmacro')}{{ q(${this.expression(1)}) }}`;
      case 8:
        return (
          this.tag(`filter ${this.one(['upper', 'trim', 'indent(2)', 'replace("a", n)'])}`) +
          body() +
          this.tag('endfilter')
        );
      case 9:
        return this.tag(`with ${name} = ${value}`) + body() + this.tag('endwith');
      case 10:
        return `{% set ns = namespace(a=${this.expression(1)}) %}${this.tag('for i in l')}{% set ns.a = i %}${body()}${this.tag('endfor')}{{ ns.a }}`;
      case 11:
        return this.tag('generation') + body() + this.tag('endgeneration');
      case 12:
        return `${this.one(['{#', '{#-', '{#+'])} ${this.one(['c', '{{ x }}', '%}'])} ${this.one(['#}', '-#}', '+#}'])}`;
      case 13:
        return `${this.one(['{%', '{%-'])} raw ${this.one(['%}', '-%}'])} {{ x }} ${this.one(['{%', '{%-'])} endraw ${this.one(['%}', '-%}'])}`;
      case 14:
        return `{% macro c() %}[{{ caller() }}]{% endmacro %}${this.tag('call c()')}${body()}${this.tag('endcall')}`;
      default:
        return output;
    }
  }

  private loopBody(depth: number): string {
    const part = this.one([
      '',
      '{{ loop.index }}',
      '{{ loop.last }}{{ loop.length }}',
      '{{ loop.previtem }}{{ loop.nextitem }}',
      '{{ loop.cycle(1, 2) }}{{ loop.revindex0 }}',
      '{% if loop.first %}{% continue %}{% endif %}',
      '{% if loop.index > 1 %}{% break %}{% endif %}',
      '{{ loop.changed(n) }}{{ loop }}',
    ]);
    return part + this.statements(depth - 1);
  }
}

/** The same templates for the same seed. */
export function randomTemplates(seed: number, count: number): string[] {
  const author = new Author(seed);
  return Array.from({ length: count }, (_, i) => {
    if (i % 2 === 1) return author.statements(2);
    return `{{ ${author.expression(1 + (i % 3))} }}`;
  });
}
