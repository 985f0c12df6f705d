// Closes and unmaps what a thread has left. Thread: any, after the end of that one.
import { closeFile } from "./file.js";
import { unmapMemory } from "./memory.js";
import { readThreadLedger } from "./thread-ledger.js";

/**
 * Gives back what the thread that kept this ledger (keepThreadLedger) had open and mapped; returns how many descriptors
 * that were. It must have ended: nothing else may use them.
 */
export function releaseRemains(memory: SharedArrayBuffer): number {
  const { descriptors, mappings } = readThreadLedger(memory);
  // A mapping of a socket or ring keeps it alive, so both must go before what they had in use can be used again.
  for (const { address, sizeBytes } of mappings) unmapMemory(address, sizeBytes);
  for (const fd of descriptors) closeFile(fd);
  return descriptors.length;
}
