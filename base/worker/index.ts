// Worker threads: starting them, talking to them, ending them.
export { createMailboxState, MAY_WAIT, Mailbox, type MailboxHandler, type MailboxSetup } from "./mailbox.js";
export { spawnWorker, workerPath } from "./spawn-worker.js";
export { WorkerHandle, type WorkerHandleOptions } from "./worker-handle.js";
