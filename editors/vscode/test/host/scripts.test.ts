/** Scripts in the editor: what runs, what is shown beside it, and what the live session knows. */
import * as assert from "node:assert/strict";
import * as vscode from "vscode";
import { evaluated, extension, inline, ran, script, select } from "./extension";
import { test, until } from "./testing";

/** What hovering over that place says. */
async function hover(editor: vscode.TextEditor, line: number, character: number): Promise<string> {
  const hovers = await vscode.commands.executeCommand<vscode.Hover[]>(
    "vscode.executeHoverProvider",
    editor.document.uri,
    new vscode.Position(line, character),
  );
  return hovers
    .flatMap(({ contents }) => contents)
    .map((content) => (typeof content === "string" ? content : content.value))
    .join("\n");
}

test("starting finds no server, starts one and has a session", async () => {
  const api = await extension();
  assert.equal(api.connected(), false);
  await script("start.py", "1");
  await vscode.commands.executeCommand("nreplPy.start");
  await until("a session", () => api.connected() && api.session());
});

test("the statement at the cursor runs, and its value stands behind its last line", async () => {
  const editor = await script("statement.py", "x = [", "    6,", "    7,", "]", "x");
  select(editor, 1);
  assert.equal((await ran("runSelection")).value, undefined);
  select(editor, 4);
  const run = await ran("runSelection");
  assert.equal(run.value, "[6, 7]");
  const shown = await inline(editor);
  assert.equal(shown.at(-1)!.line, 4);
  assert.match(shown.at(-1)!.text, /=> \[6, 7\]$/);
});

test("a selection runs as it is, and advancing leaves it", async () => {
  const editor = await script("selection.py", "a, b = 1, 2", "a + b", "'not this'");
  select(editor, 0, { line: 1, character: 5 });
  assert.equal((await ran("runSelectionAndAdvance")).value, "3");
  assert.deepEqual(
    (await inline(editor)).map(({ line }) => line),
    [1],
  );
  assert.equal(editor.selection.active.line, 2);
});

test("a cell runs and the cursor goes to the next; a lens has it, too", async () => {
  const editor = await script("cell.py", "# %% one", "n = 20", "n + 1", "", "# %% two", "n * 2");
  select(editor, 1);
  assert.equal((await ran("runCellAndAdvance")).value, "21");
  assert.ok([4, 5].includes(editor.selection.active.line));
  assert.equal((await ran("runCell")).value, "40");
  const lenses = await vscode.commands.executeCommand<vscode.CodeLens[]>(
    "vscode.executeCodeLensProvider",
    editor.document.uri,
    10,
  );
  const titles = lenses.map(({ range, command }) => `${range.start.line} ${command?.title}`);
  assert.ok(
    titles.some((title) => /^0 .*Run Cell/.test(title)),
    titles.join(),
  );
  assert.ok(
    titles.some((title) => /^4 .*Run Above/.test(title)),
    titles.join(),
  );
});

test("cells above run, not the one at the cursor", async () => {
  const editor = await script("above.py", "# %%", "seen = ['first']", "# %%", "seen.append('second')", "# %%", "1 / 0");
  select(editor, 5);
  const run = await ran("runAbove");
  assert.equal(run.error, undefined);
  assert.equal((await evaluated("seen")).value, "['first', 'second']");
});

test("a definition runs whole from within", async () => {
  const editor = await script(
    "definition.py",
    "import functools",
    "@functools.lru_cache",
    "def triple(n):",
    "    return 3 * n",
  );
  select(editor, 0);
  await ran("runSelection");
  select(editor, 3);
  const run = await ran("runDefinition");
  assert.equal(run.error, undefined);
  assert.equal((await evaluated("triple(14)")).value, "42");
});

test("a file runs as a file, under its own name", async () => {
  const editor = await script(
    "whole.py",
    "def where(): return __import__('inspect').currentframe().f_code.co_filename",
  );
  await ran("runFile");
  const { value } = await evaluated("where()");
  assert.ok(value!.includes("whole.py"), value);
  assert.equal(editor.document.isDirty, false);
});

test("what is shown goes with the text it was of", async () => {
  const editor = await script("edited.py", "'one'", "'two'");
  select(editor, 0);
  await ran("runSelection");
  select(editor, 1);
  await ran("runSelection");
  assert.equal((await inline(editor)).length, 2);
  await editor.edit((edit) => edit.insert(new vscode.Position(1, 0), "# "));
  await until("one to go", async () => (await inline(editor)).length === 1);
  assert.match((await inline(editor))[0]!.text, /'one'/);
  // Lines above move what is below them, and take nothing away.
  await editor.edit((edit) => edit.insert(new vscode.Position(0, 0), "\n"));
  assert.equal((await inline(editor))[0]!.line, 1);
  await vscode.commands.executeCommand("nreplPy.clearResults");
  assert.deepEqual(await inline(editor), []);
});

test("an error is a problem at its line, with the way to it, until that runs clean", async () => {
  const editor = await script("error.py", "def half(n):", "    return n / zero", "", "zero = 0", "# %%", "half(4)");
  await ran("runFile");
  const problems = await until("a problem", () => {
    const found = vscode.languages.getDiagnostics(editor.document.uri);
    return found.length > 0 && found;
  });
  const at = problems.find(({ message }) => message.includes("ZeroDivisionError"))!;
  assert.ok([1, 5].includes(at.range.start.line));
  const lines = [
    at.range.start.line,
    ...(at.relatedInformation ?? []).map(({ location }) => location.range.start.line),
  ];
  assert.ok(lines.includes(1) && lines.includes(5), JSON.stringify(lines));
  assert.ok((await inline(editor)).some(({ text }) => text.includes("ZeroDivisionError")));
  await editor.edit((edit) => edit.replace(new vscode.Range(3, 0, 3, 8), "zero = 2"));
  await ran("runFile");
  await until("no problem", () => vscode.languages.getDiagnostics(editor.document.uri).length === 0);
});

test("a syntax error stands at its place", async () => {
  const editor = await script("syntax.py", "good = 1", "bad = = 2");
  await ran("runFile");
  const problems = vscode.languages.getDiagnostics(editor.document.uri);
  assert.deepEqual(
    problems.map(({ range }) => range.start.line),
    [1],
  );
  assert.match(problems[0]!.message, /SyntaxError/);
});

test("the live session completes, documents and finds", async () => {
  await evaluated("class Answer:", "    '''All of it.'''", "    forty_two = 42", "answer = Answer()");
  const editor = await script("live.py", "answer.fo", "answer", "print(");
  const completions = await until("a completion", async () => {
    const list = await vscode.commands.executeCommand<vscode.CompletionList>(
      "vscode.executeCompletionItemProvider",
      editor.document.uri,
      new vscode.Position(0, 9),
    );
    const labels = list.items.map(({ label }) => (typeof label === "string" ? label : label.label));
    return labels.some((label) => label.endsWith("forty_two")) && labels;
  });
  assert.equal(completions.filter((label) => label.endsWith("forty_two")).length, 1);
  const documentation = await hover(editor, 1, 2);
  assert.ok(documentation.replaceAll("&nbsp;", " ").includes("All of it."), documentation);
  const help = await vscode.commands.executeCommand<vscode.SignatureHelp>(
    "vscode.executeSignatureHelpProvider",
    editor.document.uri,
    new vscode.Position(2, 6),
  );
  assert.match(help.signatures[0]!.label, /sep/);
});

test("output is in the session's channel, in order", async () => {
  await evaluated("import sys", "print('to stdout')", "print('to stderr', file=sys.stderr)");
  await vscode.commands.executeCommand("nreplPy.showOutput");
  const text = await until("the channel", () => {
    const shown = vscode.workspace.textDocuments.filter(({ uri }) => uri.scheme === "output");
    return shown.map((one) => one.getText()).find((one) => one.includes("to stderr"));
  });
  assert.match(text, /to stdout\n(.*\n)*?.*to stderr/);
  await vscode.commands.executeCommand("workbench.action.closePanel");
});
