/** An output channel for each session: everything that it prints, whoever's code it is. */
import * as vscode from "vscode";
import type { StreamMessage } from "nrepl-py-client";
import { stripAnsi } from "./rich.js";
import type { LiveSession } from "./session.js";

export class Output {
  readonly #channels = new Map<string, vscode.OutputChannel>();

  follow(session: LiveSession): void {
    const channel = this.#channels.get(session.id) ?? vscode.window.createOutputChannel(`nREPL: ${session.name}`);
    this.#channels.set(session.id, channel);
    session.onMessage((message) => {
      const text = textOf(message);
      if (text) channel.append(text);
    });
    session.onDidEnd(() => {
      channel.appendLine("— the session is over");
    });
  }

  show(session: LiveSession): void {
    this.#channels.get(session.id)?.show(true);
  }

  dispose(): void {
    for (const channel of this.#channels.values()) channel.dispose();
  }
}

function textOf(message: StreamMessage): string {
  const missing = message.missing ? `— ${message.missing[1] - message.missing[0] + 1} messages are gone\n` : "";
  const shown = message.display?.mime["text/plain"];
  const display = typeof shown === "string" ? `${shown}\n` : "";
  const ends = message.event === "restarted" || message.event === "died" ? `— ${message.event}\n` : "";
  const asked = message.status?.includes("need-input") && message.prompt ? `${message.prompt}\n` : "";
  return stripAnsi(missing + (message.out ?? "") + (message.err ?? "") + display + ends + asked);
}
