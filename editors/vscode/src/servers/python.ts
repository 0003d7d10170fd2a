/** The interpreter that is selected in the Python extension, where that is installed. */
import * as vscode from "vscode";

/** What is used of the API of `ms-python.python`. */
interface PythonExtension {
  environments: {
    getActiveEnvironmentPath(resource?: vscode.Uri): { path: string };
    resolveEnvironment(path: { path: string }): Promise<{ executable: { uri?: vscode.Uri } } | undefined>;
  };
}

/** Its path; undefined where none is selected, or the extension is not there. */
export async function selectedInterpreter(folder: vscode.WorkspaceFolder | undefined): Promise<string | undefined> {
  const extension = vscode.extensions.getExtension<PythonExtension>("ms-python.python");
  if (!extension) return undefined;
  try {
    const { environments } = await extension.activate();
    const resolved = await environments.resolveEnvironment(environments.getActiveEnvironmentPath(folder?.uri));
    return resolved?.executable.uri?.fsPath;
  } catch {
    return undefined; // it is broken, or of a version with another API: there are other ways to find one
  }
}
