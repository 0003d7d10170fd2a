/** What the units use of VS Code's API, as far as they use it. */

export class EventEmitter<T> {
  readonly #listeners = new Set<(event: T) => unknown>();
  readonly event = (listener: (event: T) => unknown) => {
    this.#listeners.add(listener);
    return { dispose: () => this.#listeners.delete(listener) };
  };
  fire(event: T): void {
    for (const listener of [...this.#listeners]) listener(event);
  }
}

export class MarkdownString {
  value = "";
  appendMarkdown(text: string): void {
    this.value += text;
  }
  appendCodeblock(text: string, language: string): void {
    this.value += `\`\`\`${language}\n${text}\n\`\`\`\n`;
  }
}

export class NotebookCellOutputItem {
  constructor(
    readonly data: Uint8Array,
    readonly mime: string,
  ) {}
  static text = (text: string, mime: string) => new NotebookCellOutputItem(new TextEncoder().encode(text), mime);
  static json = (value: unknown, mime: string) => NotebookCellOutputItem.text(JSON.stringify(value), mime);
  static stdout = (text: string) => NotebookCellOutputItem.text(text, "stdout");
  static stderr = (text: string) => NotebookCellOutputItem.text(text, "stderr");
  static error = (error: Error) => NotebookCellOutputItem.json(error, "error");
}

export class NotebookCellOutput {
  constructor(
    public items: NotebookCellOutputItem[],
    readonly metadata?: Record<string, unknown>,
  ) {}
}

/** What the settings say, which extensions and folders there are, for a test to change; and what the user was told. */
export const given = {
  settings: {} as Record<string, unknown>,
  folders: [] as { uri: Uri; name: string }[],
  told: [] as string[],
  extensions: {} as Record<string, { activate(): Promise<unknown> }>,
};

async function show(message: string): Promise<undefined> {
  given.told.push(message);
}

export const window = { showErrorMessage: show, showWarningMessage: show };

export class Uri {
  private constructor(readonly fsPath: string) {}
  static file = (path: string) => new Uri(path);
  static parse = (text: string) => new Uri(text.replace("file://", ""));
  toString = () => `file://${this.fsPath}`;
}

export const workspace = {
  get workspaceFolders() {
    return given.folders;
  },
  getWorkspaceFolder: (uri: Uri) => given.folders.find((folder) => uri.fsPath.startsWith(folder.uri.fsPath)),
  getConfiguration: () => ({ get: (name: string, otherwise: unknown) => given.settings[name] ?? otherwise }),
};

export const extensions = { getExtension: (id: string) => given.extensions[id] };
