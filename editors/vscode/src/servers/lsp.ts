/**
 * The language server `nrepl-py lsp` for text documents: one for each session that scripts run in, which it shares.
 *
 * Completions, hovers, signatures and definitions only: lenses, results and problems are this extension's own.
 */
import * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  RevealOutputChannelOn,
  State,
  type DynamicFeature,
  type LanguageClientOptions,
  type StaticFeature,
} from "vscode-languageclient/node";
import type { LiveSession } from "../session.js";
import type { Sessions } from "../sessions.js";
import { program } from "./local.js";

/** What the server offers and this extension does itself. */
const DROPPED = new Set([
  "textDocument/codeLens",
  "textDocument/inlayHint",
  "textDocument/codeAction",
  "workspace/executeCommand",
]);

/** With one of these there, the server leaves to it what the text itself has. */
const OTHERS = ["ms-python.vscode-pylance", "ms-python.python", "detachhead.basedpyright", "ms-pyright.pyright"];

const SCHEMES = ["file", "untitled"];

/** Keep a language server for each session; returns which documents they answer for. */
export function languageServers(
  context: vscode.ExtensionContext,
  sessions: Sessions,
): (document: vscode.TextDocument) => boolean {
  const clients = new Map<string, LanguageClient | undefined>(); // undefined: it is being started
  const log = vscode.window.createOutputChannel("nREPL for Python: language server");
  const isOf = (document: vscode.TextDocument, session: LiveSession): boolean => sessions.of(document) === session;

  const start = async (session: LiveSession, folder: vscode.WorkspaceFolder | undefined): Promise<void> => {
    const command = await program(folder);
    if (!command || session.isOver) return void clients.delete(session.id);
    const client = new Client(command, session, folder, log, (document) => isOf(document, session));
    clients.set(session.id, client);
    await client.start();
  };
  const check = (): void => {
    const isOn = vscode.workspace.getConfiguration("nreplPy").get("languageServer", true);
    for (const { session, folder } of isOn ? sessions.ofScripts : []) {
      if (session.link.address.file === undefined || clients.has(session.id)) continue;
      clients.set(session.id, undefined);
      start(session, folder).catch((error) => log.appendLine(String(error)));
    }
    for (const [id, client] of clients) {
      if (sessions.ofScripts.some(({ session }) => session.id === id) && isOn) continue;
      clients.delete(id);
      void client?.stop().catch(() => {});
    }
  };
  context.subscriptions.push(
    log,
    sessions.onDidChange(check),
    vscode.workspace.onDidChangeConfiguration(check),
    new vscode.Disposable(() => clients.forEach((client) => void client?.stop().catch(() => {}))),
  );
  return (document) => {
    const session = sessions.of(document);
    const client = session && clients.get(session.id);
    return client?.state === State.Running && SCHEMES.includes(document.uri.scheme);
  };
}

class Client extends LanguageClient {
  constructor(
    command: string,
    session: LiveSession,
    folder: vscode.WorkspaceFolder | undefined,
    log: vscode.OutputChannel,
    answers: (document: vscode.TextDocument) => boolean,
  ) {
    // The connection file has the token, which no command line may have.
    const args = ["lsp", "--session", session.id, "--connection-file", session.link.address.file ?? ""];
    const options: LanguageClientOptions = {
      documentSelector: SCHEMES.map((scheme) => ({ scheme, language: "python" })),
      outputChannel: log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: { nrepl: { beside: OTHERS.some((id) => vscode.extensions.getExtension(id)) } },
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => ({ action: CloseAction.DoNotRestart, handled: true }),
      },
      middleware: {
        handleDiagnostics: () => {},
        provideCompletionItem: (document, position, context, token, next) =>
          answers(document) ? next(document, position, context, token) : undefined,
        provideHover: (document, position, token, next) =>
          answers(document) ? next(document, position, token) : undefined,
        provideSignatureHelp: (document, position, context, token, next) =>
          answers(document) ? next(document, position, context, token) : undefined,
        provideDefinition: (document, position, token, next) =>
          answers(document) ? next(document, position, token) : undefined,
      },
      ...(folder ? { workspaceFolder: folder } : {}),
    };
    super("nreplPy", "nREPL for Python", { command, args, options: folder ? { cwd: folder.uri.fsPath } : {} }, options);
    // What happens to the session, this extension tells itself.
    this.onNotification("window/showMessage", ({ message }: { message: string }) => log.appendLine(message));
  }

  override registerFeature(feature: StaticFeature | DynamicFeature<unknown>): void {
    const dropped = "registrationType" in feature && DROPPED.has(feature.registrationType.method);
    if (!dropped) super.registerFeature(feature);
  }
}
