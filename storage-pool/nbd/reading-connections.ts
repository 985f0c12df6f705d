// Connections with reads that wait for a disk, so that not all have to be looked at when some have ended.
// Thread: the pool's worker. Hot: yes.
import type { Connection } from "./nbd-connection.js";

export class ReadingConnections {
  readonly #all: Connection[] = [];

  /** It has reads under way. */
  note(connection: Connection): void {
    if (connection.reading) return;
    connection.reading = true;
    this.#all.push(connection);
  }

  /** Tells `send` of those of whose reads some were answered, and forgets those that have none under way any more. */
  tell(send: (connection: Connection) => void): void {
    const all = this.#all;
    let kept = 0;
    for (let i = 0; i < all.length; i++) {
      const connection = all[i]!;
      const { reads } = connection.transmission!;
      if (reads.hasAnswered) {
        reads.hasAnswered = false;
        send(connection);
      }
      connection.reading = !connection.closed && reads.awaited > 0;
      if (connection.reading) all[kept++] = connection;
    }
    all.length = kept;
  }
}
