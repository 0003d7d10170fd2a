/**
 * Completions, hovers, signatures and definitions from the live session, asked of it directly: in a browser, and for
 * cells of notebooks. They are answered beside whatever runs, for a moment only, and run no code of the user's.
 */
import * as vscode from "vscode";
import type { Completion, SymbolInfo } from "nrepl-py-client";
import { fileOf } from "./code/file.js";
import type { LiveSession } from "./session.js";
import type { Sessions } from "./sessions.js";

const SELECTOR = { language: "python" };

const KINDS: Record<string, vscode.CompletionItemKind> = {
  function: vscode.CompletionItemKind.Function,
  method: vscode.CompletionItemKind.Method,
  class: vscode.CompletionItemKind.Class,
  module: vscode.CompletionItemKind.Module,
  property: vscode.CompletionItemKind.Property,
  keyword: vscode.CompletionItemKind.Keyword,
  path: vscode.CompletionItemKind.File,
  param: vscode.CompletionItemKind.Variable,
  instance: vscode.CompletionItemKind.Variable,
  statement: vscode.CompletionItemKind.Variable,
};

/** `elsewhere`: documents that the language server answers for. */
export function answer(
  sessions: Sessions,
  elsewhere: (document: vscode.TextDocument) => boolean,
  subscriptions: vscode.Disposable[],
): void {
  const ask = async <T>(
    document: vscode.TextDocument,
    question: (session: LiveSession["session"]) => Promise<T>,
  ): Promise<T | undefined> => {
    const session = sessions.of(document);
    if (!session || session.state === "dead" || session.state === "lost" || elsewhere(document)) return undefined;
    try {
      return await question(session.session);
    } catch {
      return undefined; // it is busy, or gone: who types is not to be told
    }
  };
  subscriptions.push(
    vscode.languages.registerCompletionItemProvider(
      SELECTOR,
      {
        async provideCompletionItems(document, position) {
          const cursor = document.offsetAt(position);
          const options = { file: fileOf(document.uri) };
          const found = await ask(document, (session) => session.completions(document.getText(), cursor, options));
          return found?.map((one) => itemOf(document, position, one));
        },
      },
      ".",
      "[",
      '"',
      "'",
    ),
    vscode.languages.registerHoverProvider(SELECTOR, {
      async provideHover(document, position) {
        const info = await ask(document, (session) => session.lookup(at(document, position)));
        return info && new vscode.Hover(described(info));
      },
    }),
    vscode.languages.registerDefinitionProvider(SELECTOR, {
      async provideDefinition(document, position) {
        const info = await ask(document, (session) => session.lookup(at(document, position)));
        return info && placeOf(info);
      },
    }),
    vscode.languages.registerSignatureHelpProvider(
      SELECTOR,
      {
        async provideSignatureHelp(document, position) {
          const cursor = document.offsetAt(position);
          const found = await ask(document, (session) => session.signature(document.getText(), cursor));
          if (!found?.length) return undefined;
          const help = new vscode.SignatureHelp();
          help.signatures = found.map(({ label, parameters }) => {
            const signature = new vscode.SignatureInformation(label);
            signature.parameters = parameters.map(
              (one) => new vscode.ParameterInformation(one.label, one.doc ?? undefined),
            );
            return signature;
          });
          help.activeParameter = found[0]!.active ?? 0;
          return help;
        },
      },
      "(",
      ",",
    ),
  );
}

function at(document: vscode.TextDocument, position: vscode.Position): { code: string; cursor: number } {
  return { code: document.getText(), cursor: document.offsetAt(position) };
}

function itemOf(document: vscode.TextDocument, position: vscode.Position, one: Completion): vscode.CompletionItem {
  const item = new vscode.CompletionItem(
    { label: one.candidate, description: "live" },
    KINDS[one.type] ?? vscode.CompletionItemKind.Value,
  );
  item.range = new vscode.Range(document.positionAt(one.start), position);
  if (one.signature) item.detail = one.signature;
  if (one.doc) item.documentation = one.doc;
  return item;
}

function described(info: SymbolInfo): vscode.MarkdownString {
  const hover = new vscode.MarkdownString();
  hover.appendCodeblock(info.signature || `${info.name}: ${info.type}`, "python");
  if (typeof info.value === "string") hover.appendCodeblock(info.value, "python");
  if (info.doc) hover.appendText(info.doc);
  return hover;
}

function placeOf({ file, line, column }: SymbolInfo): vscode.Location | undefined {
  if (!file || !line) return undefined;
  const open = vscode.workspace.textDocuments.find((document) => fileOf(document.uri) === file);
  const uri = open?.uri ?? (file.startsWith("/") || /^[A-Za-z]:\\/.test(file) ? vscode.Uri.file(file) : undefined);
  return uri && new vscode.Location(uri, new vscode.Position(line - 1, column ?? 0));
}
