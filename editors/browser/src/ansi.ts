/**
 * Colours of terminals: text with escape sequences becomes pieces with a style each. No DOM.
 *
 * Only SGR (colours and weight) means something here; other sequences are left out, as a terminal would not show
 * them either. Two numbers of our own say which stream a piece is of, so that one text can hold both in order.
 */

export interface Style {
  /** 0–15: a colour of the page's palette; a string is CSS. */
  readonly fg?: number | string;
  readonly bg?: number | string;
  readonly bold?: boolean;
  readonly dim?: boolean;
  readonly italic?: boolean;
  readonly underline?: boolean;
  readonly strike?: boolean;
  readonly inverse?: boolean;
  /** It was written to standard error. */
  readonly err?: boolean;
}

export interface Piece {
  text: string;
  style: Style;
}

export const PLAIN: Style = {};

/** What `Lines` puts into the text where the stream changes. */
export const TO_ERR = "\x1b[9901m";
export const TO_OUT = "\x1b[9900m";

// CSI sequences, OSC ones with their terminator, and any other escape of two characters.
const ESCAPE = /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]+[0-~]|[^[\] -/])/g;
// Control characters that mean nothing in a page; the tab does.
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/g;

const ON: Record<number, Style> = {
  1: { bold: true },
  2: { dim: true },
  3: { italic: true },
  4: { underline: true },
  7: { inverse: true },
  9: { strike: true },
  9901: { err: true },
};
const OFF: Record<number, (keyof Style)[]> = {
  22: ["bold", "dim"],
  23: ["italic"],
  24: ["underline"],
  27: ["inverse"],
  29: ["strike"],
  39: ["fg"],
  49: ["bg"],
  9900: ["err"],
};

/** The pieces of a line that begins in a style, and the style it ends in. */
export function pieces(line: string, style: Style): { pieces: Piece[]; style: Style } {
  if (!line.includes("\x1b")) return { pieces: line ? [{ text: clean(line), style }] : [], style };
  const found: Piece[] = [];
  let from = 0;
  for (const match of line.matchAll(ESCAPE)) {
    if (match.index > from) found.push({ text: clean(line.slice(from, match.index)), style });
    from = match.index + match[0].length;
    if (match[2] === "m") style = apply(style, match[1] ?? "");
  }
  if (from < line.length) found.push({ text: clean(line.slice(from)), style });
  return { pieces: found.filter((piece) => piece.text), style };
}

function clean(text: string): string {
  return text.replace(CONTROL, "");
}

function apply(style: Style, parameters: string): Style {
  const numbers = parameters.split(/[;:]/).map((number) => Number(number) || 0);
  for (let at = 0; at < numbers.length; at++) {
    const number = numbers[at]!;
    if (number === 0) {
      style = style.err ? { err: true } : PLAIN;
    } else if (number === 38 || number === 48) {
      const [colour, used] = extended(numbers.slice(at + 1));
      at += used;
      if (colour !== undefined) style = { ...style, [number === 38 ? "fg" : "bg"]: colour };
    } else if (OFF[number]) {
      const without: Record<string, unknown> = { ...style };
      for (const name of OFF[number]) delete without[name];
      style = Object.keys(without).length ? without : PLAIN;
    } else if (ON[number]) {
      style = { ...style, ...ON[number] };
    } else {
      const colour = named(number);
      if (colour) style = { ...style, ...colour };
    }
  }
  return style;
}

function named(number: number): Style | undefined {
  if (number >= 30 && number <= 37) return { fg: number - 30 };
  if (number >= 40 && number <= 47) return { bg: number - 40 };
  if (number >= 90 && number <= 97) return { fg: number - 90 + 8 };
  if (number >= 100 && number <= 107) return { bg: number - 100 + 8 };
  return undefined;
}

/** The colour after 38 or 48, and how many numbers it took. */
function extended(numbers: number[]): [number | string | undefined, number] {
  const byte = (at: number): number => Math.min(255, numbers[at] ?? 0);
  if (numbers[0] === 2) return [`rgb(${byte(1)} ${byte(2)} ${byte(3)})`, 4];
  if (numbers[0] !== 5) return [undefined, 0];
  const index = byte(1);
  if (index < 16) return [index, 2];
  if (index >= 232) return [`rgb(${grey(index)} ${grey(index)} ${grey(index)})`, 2];
  const level = (part: number): number => (part ? part * 40 + 55 : 0);
  const cube = index - 16;
  return [`rgb(${level(Math.floor(cube / 36))} ${level(Math.floor(cube / 6) % 6)} ${level(cube % 6)})`, 2];
}

function grey(index: number): number {
  return 8 + (index - 232) * 10;
}
