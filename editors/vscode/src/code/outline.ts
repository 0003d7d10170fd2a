/**
 * What of a script can be run: cells after `# %%`, definitions and statements, also while it is being typed.
 *
 * Lines count from 0, ends are exclusive. The parser goes on after what is in no order, so that one broken
 * function takes no other with it.
 */
import type { SyntaxNode, Tree } from "@lezer/common";
import { parser } from "@lezer/python";

/** Some whole lines. */
export interface Block {
  start: number;
  end: number;
}

export interface Cell extends Block {
  /** What stands behind `# %%`. */
  title: string;
  /** `# %% [markdown]`: not to be run. */
  isMarkdown: boolean;
}

/** What is sent to be evaluated: `code` begins at `line` and `column` and stands on the lines of the block. */
export interface Piece extends Block {
  code: string;
  line: number;
  column: number;
}

const MARKER = /^#\s*%%(.*)/;

export class Outline {
  readonly lines: readonly string[];
  readonly #source: string;
  readonly #starts: number[] = [];
  readonly #tree: Tree;

  constructor(source: string) {
    this.#source = source.replace(/\r\n?/g, "\n");
    this.lines = this.#source.split("\n");
    let at = 0;
    for (const line of this.lines) {
      this.#starts.push(at);
      at += line.length + 1;
    }
    this.#tree = parser.parse(this.#source);
  }

  /** What `# %%` begins, and what stands before the first one; empty where there is none. */
  get cells(): Cell[] {
    const marks = this.lines.flatMap((line, number) => {
      const title = MARKER.exec(line)?.[1]?.trim();
      return title !== undefined && !this.#isInside(number) ? [{ start: number, title }] : [];
    });
    const first = marks[0];
    if (first && this.#text(0, first.start).trim()) marks.unshift({ start: 0, title: "" });
    return marks.map((mark, index) => ({
      ...mark,
      end: marks[index + 1]?.start ?? this.lines.length,
      isMarkdown: /^\[(markdown|md)\]/.test(mark.title),
    }));
  }

  /** The cell around a line; the whole script where there are none. */
  cellAt(line: number): Cell {
    const whole = { start: 0, end: this.lines.length, title: "", isMarkdown: false };
    return this.cells.find((cell) => has(cell, line)) ?? whole;
  }

  /** The function or class at the left margin around a line, with its decorators; any other statement there. */
  definitionAt(line: number): Block | undefined {
    return this.#statements(this.#tree.topNode)
      .map((node) => this.#block(node))
      .find((block) => has(block, line));
  }

  /** The innermost statement around a line, whole; undefined where there is none. */
  statementAt(line: number): Block | undefined {
    let found: Block | undefined;
    let nodes = this.#statements(this.#tree.topNode);
    for (;;) {
      const inner = nodes.filter((node) => has(this.#block(node), line));
      if (!inner.length) return found;
      const blocks = inner.map((node) => this.#block(node));
      found = {
        start: Math.min(...blocks.map((block) => block.start)),
        end: Math.max(...blocks.map((block) => block.end)),
      };
      nodes = inner.flatMap((node) => this.#bodies(node));
    }
  }

  /** Where the next statement after a line begins; undefined at the end. */
  nextAfter(line: number): number | undefined {
    for (let number = line; number < this.lines.length; number += 1) {
      const text = this.lines[number]!.trim();
      if (text && !text.startsWith("#")) return number;
    }
    return undefined;
  }

  /** Some lines, to be evaluated; undefined where there is no code in them. */
  piece({ start, end }: Block): Piece | undefined {
    while (start < end && isSilent(this.lines[start]!)) start += 1;
    while (end > start && isSilent(this.lines[end - 1]!)) end -= 1;
    return start === end ? undefined : pieceOf(this.#text(start, end), start, 0, { start, end });
  }

  #text(start: number, end: number): string {
    return this.lines.slice(start, end).join("\n");
  }

  /** Whether a line begins inside a string. */
  #isInside(line: number): boolean {
    const at = this.#starts[line]!;
    for (let node: SyntaxNode | null = this.#tree.resolveInner(at, 1); node; node = node.parent) {
      if (/String/.test(node.name) && node.from < at) return true;
    }
    return false;
  }

  #statements(node: SyntaxNode): SyntaxNode[] {
    const found = [];
    for (let child = node.firstChild; child; child = child.nextSibling) {
      if (/Statement|Definition/.test(child.name)) found.push(child);
    }
    return found;
  }

  /** The statements in the bodies of a compound one. */
  #bodies(node: SyntaxNode): SyntaxNode[] {
    const found = [];
    for (let child = node.firstChild; child; child = child.nextSibling) {
      if (/Body|MatchClause/.test(child.name)) found.push(...this.#statements(child), ...this.#bodies(child));
      else if (node.name === "DecoratedStatement") found.push(...this.#bodies(child));
    }
    return found;
  }

  /** Its lines, without the empty ones and comments that the parser counts to a body's end. */
  #block(node: SyntaxNode): Block {
    const start = this.#lineOf(node.from);
    let end = this.#lineOf(Math.max(node.from, node.to - 1)) + 1;
    while (end - 1 > start && isSilent(this.lines[end - 1]!)) end -= 1;
    return { start, end };
  }

  #lineOf(at: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= at) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Code that may be indented, made to run as it stands, with every line where it is; `column` is that of its beginning. */
export function pieceOf(code: string, line: number, column: number, block: Block): Piece {
  const shallow = code.trimStart();
  const indent = code.length - shallow.length;
  if (!indent) return { ...block, code, line, column };
  if (!shallow.trimEnd().includes("\n")) return { ...block, code: shallow, line, column: column + indent };
  if (!line) return { ...block, code, line, column }; // Nothing can stand above it: Python says what is wrong.
  return { ...block, code: `if True:\n${" ".repeat(column)}${code}`, line: line - 1, column: 0 };
}

function has(block: Block, line: number): boolean {
  return block.start <= line && line < block.end;
}

/** Says nothing to Python. */
function isSilent(line: string): boolean {
  const text = line.trim();
  return !text || text.startsWith("#");
}
