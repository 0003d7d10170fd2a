/**
 * A `# %%` script as the cells of a notebook, and back: what was not changed stays as it was, to the character.
 *
 * What stands before the first marker is a cell of its own. The marker line and the empty lines after a cell are
 * kept beside it.
 */

export interface ScriptCell {
  kind: "code" | "markdown";
  text: string;
  /** The line that began it; absent: it was not begun by one. */
  marker?: string | undefined;
  /** The empty lines between its text and the next marker. */
  after?: string | undefined;
}

const MARKER = /^#\s*%%(.*)/;
const MARKDOWN = /^#\s*%%.*\[(?:markdown|md)\]/;

/** `isMarker`: whether the line of that number begins a cell, which one inside a string does not. */
export function parseScript(source: string, isMarker: (line: number) => boolean): ScriptCell[] {
  const lines = source.split("\n");
  const starts = lines.flatMap((line, number) => (MARKER.test(line) && isMarker(number) ? [number] : []));
  const begins = starts[0] === 0 ? starts : [0, ...starts];
  return begins.map((start, index) => {
    const end = begins[index + 1];
    const segment = lines.slice(start, end).join("\n") + (end === undefined ? "" : "\n");
    return cellOf(segment, starts.includes(start) ? lines[start] : undefined);
  });
}

export function formatScript(cells: readonly ScriptCell[]): string {
  return cells
    .map((cell, index) => {
      const isLast = index === cells.length - 1;
      const marker = markerOf(cell, index === 0);
      const text = cell.kind === "markdown" && cell.text ? commented(cell.text) : cell.text;
      const whole = [marker, text].filter((part) => part).join("\n") + (cell.after ?? (isLast ? "\n" : "\n\n"));
      return isLast || !whole || whole.endsWith("\n") ? whole : `${whole}\n`;
    })
    .join("");
}

/** `segment`: from the cell's marker, where it has one, to the next. */
function cellOf(segment: string, marker: string | undefined): ScriptCell {
  const rest = segment.slice(marker?.length ?? 0);
  const end = rest.trimEnd().length;
  const body = rest.slice(marker === undefined ? 0 : Math.min(1, end), end);
  const after = rest.slice(end);
  if (marker === undefined || !MARKDOWN.test(marker)) return { kind: "code", text: body, marker, after };
  const lines = body ? body.split("\n") : [];
  // Prose that is not all in comments would not be the same again.
  if (!lines.every((line) => line === "#" || /^# \S?/.test(line))) return { kind: "code", text: body, marker, after };
  return { kind: "markdown", text: lines.map((line) => line.slice(2)).join("\n"), marker, after };
}

/** The line that begins a cell, as it was or as its kind wants it now. */
function markerOf(cell: ScriptCell, isFirst: boolean): string | undefined {
  if (cell.kind === "markdown") return cell.marker && MARKDOWN.test(cell.marker) ? cell.marker : "# %% [markdown]";
  return cell.marker ?? (isFirst ? undefined : "# %%");
}

function commented(text: string): string {
  return text
    .split("\n")
    .map((line) => (line ? `# ${line}` : "#"))
    .join("\n");
}
