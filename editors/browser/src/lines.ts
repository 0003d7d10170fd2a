/** Text as it comes, kept as lines: those of both streams in one order, with the style each begins in. No DOM. */
import { pieces, PLAIN, TO_ERR, TO_OUT, type Piece, type Style } from "./ansi.ts";

/** Lines kept; when there are more, the oldest quarter goes at once. A million can be looked at. */
export const MAX_LINES = 2_000_000;

/** Characters of a line; what is longer goes on in the next one, or a page would draw it for minutes. */
const MAX_LINE = 20_000;

export class Lines {
  /** Lines that are no longer kept. */
  dropped = 0;
  #lines: string[] = [];
  /** The style a line begins in, where that is not the plain one. */
  #styles: (Style | undefined)[] = [];
  /** The last line, not ended yet. */
  #tail = "";
  #tailStyle: Style = PLAIN;
  #err = false;

  get length(): number {
    return this.#lines.length + (this.#tail ? 1 : 0);
  }

  /** Lines that no later text changes. */
  get ended(): number {
    return this.#lines.length;
  }

  append(text: string, err = false): void {
    if (err !== this.#err) this.#tail += err ? TO_ERR : TO_OUT;
    this.#err = err;
    const parts = text.split("\n");
    for (const [index, part] of parts.entries()) {
      this.#tail = settled(this.#tail + part);
      while (this.#tail.length > MAX_LINE) {
        const rest = this.#tail.slice(MAX_LINE);
        this.#end(this.#tail.slice(0, MAX_LINE));
        this.#tail = rest;
      }
      if (index < parts.length - 1) this.#end(this.#tail);
    }
    if (this.#lines.length > MAX_LINES) this.#drop(MAX_LINES / 4);
  }

  /** One line, counted from 0 among those kept. */
  line(index: number): Piece[] {
    if (index >= this.#lines.length) return pieces(overwritten(this.#tail), this.#tailStyle).pieces;
    return pieces(this.#lines[index] ?? "", this.#styles[index] ?? PLAIN).pieces;
  }

  /** All of it, without colours. */
  text(): string {
    const all: string[] = [];
    for (let index = 0; index < this.length; index++) all.push(plain(this.line(index)));
    return all.join("\n") + (this.#tail || !all.length ? "" : "\n");
  }

  #end(line: string): void {
    const ended = overwritten(line);
    if (this.#tailStyle !== PLAIN) this.#styles[this.#lines.length] = this.#tailStyle;
    this.#lines.push(ended);
    if (ended.includes("\x1b")) this.#tailStyle = pieces(ended, this.#tailStyle).style;
    this.#tail = "";
  }

  #drop(count: number): void {
    this.dropped += count;
    this.#lines = this.#lines.slice(count);
    this.#styles = this.#styles.slice(count);
  }
}

export function plain(line: Piece[]): string {
  return line.map((piece) => piece.text).join("");
}

/** The line with what is settled of it: what stood before the last carriage return, that, and what came since. */
function settled(line: string): string {
  const back = line.lastIndexOf("\r");
  return back < 0 ? line : `${overwritten(line.slice(0, back))}\r${line.slice(back + 1)}`;
}

/** The line after its carriage returns and backspaces: what a progress bar shows last. */
function overwritten(line: string): string {
  if (!/[\b\r]/.test(line)) return line;
  let before;
  do {
    before = line;
    line = line.replace(/[^\b\r][\b]/g, "");
  } while (line !== before);
  let shown = "";
  for (const part of line.split("\r")) {
    if (!part) continue;
    const escapes = part.includes("\x1b") || shown.includes("\x1b");
    shown = escapes ? keepStream(shown) + part : part + shown.slice(part.length);
  }
  return shown;
}

/** What a line that is overwritten said of the stream it is of must stay. */
function keepStream(line: string): string {
  const last = Math.max(line.lastIndexOf(TO_ERR), line.lastIndexOf(TO_OUT));
  return last < 0 ? "" : line.slice(last, last + TO_ERR.length);
}
