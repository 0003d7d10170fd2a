/** What a session is told of where code comes from: a path where there is one, so that Python finds its source. */
import type { Uri } from "vscode";

export function fileOf(uri: Uri): string {
  return uri.scheme === "file" ? uri.fsPath : uri.toString();
}
