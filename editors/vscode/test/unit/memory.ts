/** What a window remembers, kept as VS Code does: as text. */
import type { Memento } from "vscode";

export function memory(): Memento {
  const kept = new Map<string, string>();
  return {
    keys: () => [...kept.keys()],
    get: (key: string, otherwise?: unknown) => (kept.has(key) ? JSON.parse(kept.get(key)!) : otherwise),
    update: async (key: string, value: unknown) => void kept.set(key, JSON.stringify(value)),
  } as Memento;
}
