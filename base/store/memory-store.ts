// A Store that forgets everything when the process ends: tests and simulation.
import type { HistoryLimits } from "./history.js";
import { RevisionedStore } from "./revisioned-store.js";
import type { Store } from "./store.js";

export function openMemoryStore(limits: HistoryLimits = {}): Store {
  const journal = { write: async () => {}, close: async () => {} };
  return new RevisionedStore(journal, { entries: [], revision: 0 }, limits);
}
