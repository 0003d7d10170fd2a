/**
 * An editor of Python: colours, completion and signatures from the live session, and keys.
 *
 * It lives in a shadow root, where its styles are sheets of the script's and no inline ones: the page's policy
 * forbids those.
 */
import {
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  completionStatus,
  startCompletion,
  type Completion,
  type CompletionContext,
  type CompletionResult,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from "@codemirror/commands";
import { pythonLanguage } from "@codemirror/lang-python";
import { bracketMatching, HighlightStyle, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { EditorState, Prec, StateEffect, StateField } from "@codemirror/state";
import { drawSelection, EditorView, keymap, showTooltip, ViewPlugin, type Tooltip } from "@codemirror/view";
import { tags as t } from "@lezer/highlight";
import type { Signature } from "../../protocol.ts";
import type { Session } from "../../client-js/src/session.ts";
import { h } from "./dom.ts";

/** Milliseconds that the cursor must rest before a signature is asked for. */
const REST = 150;

export interface EditorOptions {
  label: string;
  code: string;
  session: Session;
  /** Ctrl-Enter, Shift-Enter; with `line`, Enter where the code is complete. */
  run: (code: string) => void;
  /** Ctrl-C without a selection. True: something was interrupted. */
  interrupt: () => boolean;
  /** It is the line at the end: Enter runs, the arrows go through what was run before. */
  line?: { before: (from: number) => string | undefined };
  leave?: () => void;
}

export class Editor {
  readonly element = h("div", { class: "editor" });
  readonly #view: EditorView;
  readonly #options: EditorOptions;
  /** How far back among what was run before; 0: what is being written. */
  #back = 0;
  #draft = "";

  constructor(options: EditorOptions) {
    this.#options = options;
    const root = this.element.attachShadow({ mode: "open" });
    this.#view = new EditorView({
      root,
      parent: root,
      state: EditorState.create({ doc: options.code, extensions: this.#extensions() }),
    });
  }

  get code(): string {
    return this.#view.state.doc.toString();
  }

  set code(code: string) {
    this.#view.dispatch({
      changes: { from: 0, to: this.#view.state.doc.length, insert: code },
      selection: { anchor: code.length },
    });
  }

  focus(): void {
    this.#view.focus();
  }

  destroy(): void {
    this.#view.destroy();
    this.element.remove();
  }

  #extensions() {
    const { session, label, line, leave } = this.#options;
    const keys = [
      { key: "Ctrl-Enter", mac: "Cmd-Enter", run: () => this.#run() },
      { key: "Shift-Enter", run: () => (line ? insertNewlineAndIndent(this.#view) : this.#run()) },
      { key: "Ctrl-c", run: () => this.#view.state.selection.main.empty && this.#options.interrupt() },
      { key: "Tab", run: complete },
      ...(leave ? [{ key: "Escape", run: () => (leave(), true) }] : []),
      ...(line
        ? [
            { key: "Enter", run: () => this.#enter() },
            { key: "ArrowUp", run: () => this.#walk(1) },
            { key: "ArrowDown", run: () => this.#walk(-1) },
          ]
        : []),
    ];
    return [
      // After the list of completions, whose keys come first while it is open.
      Prec.high(keymap.of(keys)),
      Prec.highest(keymap.of(completionKeymap)),
      history(),
      drawSelection(),
      bracketMatching(),
      closeBrackets(),
      indentUnit.of("    "),
      pythonLanguage,
      syntaxHighlighting(COLOURS),
      autocompletion({ override: [(context) => completions(session, context)], defaultKeymap: false, icons: false }),
      signatures(session),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ "aria-label": label }),
      keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap]),
      THEME,
    ];
  }

  #run(): boolean {
    const { code } = this;
    if (!code.trim()) return true;
    this.#back = 0;
    if (this.#options.line) this.code = "";
    this.#options.run(code);
    return true;
  }

  /** Run what is complete, else go on in a new line. */
  #enter(): boolean {
    const { state } = this.#view;
    const { code } = this;
    if (completionStatus(state) === "active" || !code.trim()) return false;
    if (state.selection.main.head !== state.doc.length) return insertNewlineAndIndent(this.#view);
    this.#options.session.isComplete(code).then(
      ({ state, indent }) => {
        if (this.code !== code) return; // it was written on
        if (state === "incomplete") this.code = `${code}\n${indent ?? ""}`;
        else this.#run();
      },
      () => this.#run(), // and be told why not
    );
    return true;
  }

  #walk(step: number): boolean {
    const { state } = this.#view;
    const at = state.doc.lineAt(state.selection.main.head).number;
    if (at !== (step > 0 ? 1 : state.doc.lines)) return false;
    const back = this.#back + step;
    if (back < 0) return false;
    const code = back === 0 ? this.#draft : this.#options.line!.before(back);
    if (code === undefined) return true;
    if (this.#back === 0) this.#draft = this.code;
    this.#back = back;
    this.code = code;
    return true;
  }
}

/** Complete after a name; anywhere else Tab moves on, as it does in any page. */
function complete(view: EditorView): boolean {
  const { head } = view.state.selection.main;
  const before = view.state.doc.lineAt(head).text.slice(0, head - view.state.doc.lineAt(head).from);
  return /[\w.\])'"]$/.test(before) && startCompletion(view);
}

const KINDS: Record<string, string> = {
  module: "namespace",
  instance: "variable",
  param: "variable",
  statement: "variable",
};

async function completions(session: Session, context: CompletionContext): Promise<CompletionResult | null> {
  if (!context.explicit && !context.matchBefore(/[\w.]$/)) return null;
  const code = context.state.doc.toString();
  const found = await session.completions(code, context.pos).catch(() => []);
  const from = found[0]?.start;
  if (from === undefined || context.aborted) return null;
  const options = found
    .filter((one) => one.start === from)
    .map((one): Completion => {
      const { candidate, type, signature, doc } = one;
      return {
        label: candidate,
        type: KINDS[type] ?? type,
        ...(signature ? { detail: signature } : {}),
        ...(doc ? { info: doc } : {}),
      };
    });
  return { from, options, validFor: /^\w*$/ };
}

const setSignature = StateEffect.define<Tooltip | null>();

const signatureField = StateField.define<Tooltip | null>({
  create: () => null,
  update(shown, transaction) {
    for (const effect of transaction.effects) if (effect.is(setSignature)) return effect.value;
    return transaction.docChanged && shown ? { ...shown, pos: transaction.changes.mapPos(shown.pos) } : shown;
  },
  provide: (field) => showTooltip.from(field),
});

/** The signature of the call around the cursor, above it. */
function signatures(session: Session) {
  const asking = ViewPlugin.define((view) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      const { state } = view;
      const { head } = state.selection.main;
      const code = state.doc.toString();
      const inside = /\([^]*$/.test(code.slice(Math.max(0, head - 2000), head));
      const found = inside && view.hasFocus ? await session.signature(code, head).catch(() => []) : [];
      if (view.state !== state) return; // another key was pressed: it asks anew
      const shown = view.state.field(signatureField);
      if (found[0] || shown) view.dispatch({ effects: setSignature.of(found[0] ? tooltip(found[0], head) : null) });
    };
    return {
      update(update) {
        if (!update.docChanged && !update.selectionSet && !update.focusChanged) return;
        clearTimeout(timer);
        timer = setTimeout(() => void ask(), REST);
      },
      destroy: () => clearTimeout(timer),
    };
  });
  return [signatureField, asking];
}

function tooltip(signature: Signature, pos: number): Tooltip {
  return {
    pos,
    above: true,
    create: () => {
      const dom = h("div", { class: "signature", role: "status" });
      const active = signature.active === null ? undefined : signature.parameters[signature.active]?.label;
      const at = active ? signature.label.indexOf(active, signature.label.indexOf("(")) : -1;
      if (at < 0) dom.append(signature.label);
      else dom.append(signature.label.slice(0, at), h("b", {}, active), signature.label.slice(at + active!.length));
      return { dom };
    },
  };
}

const COLOURS = HighlightStyle.define([
  { tag: [t.keyword, t.operatorKeyword, t.modifier], color: "var(--keyword)" },
  { tag: [t.string, t.special(t.string)], color: "var(--string)" },
  { tag: [t.number, t.bool, t.null, t.atom], color: "var(--number)" },
  { tag: t.comment, color: "var(--comment)", fontStyle: "italic" },
  { tag: [t.function(t.definition(t.variableName)), t.definition(t.className), t.className], color: "var(--name)" },
  { tag: t.invalid, color: "var(--error)" },
]);

const THEME = EditorView.theme({
  "&": { color: "var(--fg)", backgroundColor: "var(--code)", fontSize: "inherit" },
  "&.cm-focused": { outline: "2px solid var(--focus)" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.45" },
  ".cm-content": { caretColor: "var(--fg)", padding: "6px 0" },
  ".cm-cursor": { borderLeftColor: "var(--fg)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    background: "var(--selection)",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selection)" },
  ".cm-tooltip": {
    color: "var(--fg)",
    backgroundColor: "var(--raised)",
    border: "1px solid var(--line)",
    zIndex: "20",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxHeight: "14em" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": {
    color: "var(--on-accent)",
    background: "var(--accent)",
  },
  ".cm-completionDetail": { color: "inherit", opacity: "0.85" },
  ".cm-completionInfo": { whiteSpace: "pre-wrap", maxHeight: "16em", overflow: "auto" },
  ".signature": { fontFamily: "var(--mono)", padding: "2px 6px", maxWidth: "60em", whiteSpace: "pre-wrap" },
});
