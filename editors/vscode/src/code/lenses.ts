/** "Run Cell | Run Above" over each `# %%`. */
import * as vscode from "vscode";
import { Outline } from "./outline.js";

export function showLenses(subscriptions: vscode.Disposable[]): void {
  const provider: vscode.CodeLensProvider = {
    provideCodeLenses(document) {
      return new Outline(document.getText()).cells
        .filter((cell) => !cell.isMarkdown)
        .flatMap((cell) => {
          const at = new vscode.Range(cell.start, 0, cell.start, 0);
          const given = [document.uri, cell.start];
          const lenses = [
            new vscode.CodeLens(at, { title: "$(play) Run Cell", command: "nreplPy.runCell", arguments: given }),
          ];
          if (cell.start > 0) {
            lenses.push(new vscode.CodeLens(at, { title: "Run Above", command: "nreplPy.runAbove", arguments: given }));
          }
          return lenses;
        });
    },
  };
  const selector = ["file", "untitled", "vscode-vfs", "vscode-test-web"].map((scheme) => ({
    language: "python",
    scheme,
  }));
  subscriptions.push(vscode.languages.registerCodeLensProvider(selector, provider));
}
