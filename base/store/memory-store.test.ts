import { openMemoryStore } from "./memory-store.js";
import { describeStore } from "./store-suite.js";

describeStore("memory store", async () => ({
  open: async (limits) => openMemoryStore(limits),
  cleanup: async () => {},
}));
