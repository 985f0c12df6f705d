// Requests of all users together: so many are under way at a time, the others wait. A seat that becomes free goes to the
// user who has the fewest, among those to who has waited longest: however much one asks for, others have their turn.
// Bounded: a user's queue, all queues together, and how long a request waits. Invariant: whoever waits does so because
// all seats are taken. Source: Kubernetes, "API Priority and Fairness" (the idea: seats, queues by flow, 429).
import type { Clock, Timer } from "../../base/time/index.js";
import { ApiError } from "./errors.js";
import {
  QUEUE_WAIT_MS_MAX,
  QUEUED_REQUESTS_MAX,
  REQUESTS_IN_FLIGHT_MAX,
  USER_QUEUED_REQUESTS_MAX,
} from "./limits.js";

/** One request. `end` gives its seat, or its place in the queue, back, and may be called more than once. */
export interface Seat {
  /** Resolves when the request may begin. Rejects with ApiError TooManyRequests when it waited too long, or was ended. */
  readonly ready: Promise<void>;
  end(): void;
}

interface Waiting {
  readonly username: string;
  readonly begin: () => void;
  readonly timer: Timer;
}

const RETRY_AFTER_S = 1;

export class Seats {
  readonly #clock: Pick<Clock, "after">;
  readonly #max: number;
  /** Seats taken by each user who has any. */
  readonly #taken = new Map<string, number>();
  /** Oldest first. */
  readonly #queue = new Set<Waiting>();
  #used = 0;

  constructor(clock: Pick<Clock, "after">, max = REQUESTS_IN_FLIGHT_MAX) {
    this.#clock = clock;
    this.#max = max;
  }

  get used(): number {
    return this.#used;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** Throws ApiError TooManyRequests when too many wait already. */
  take(username: string): Seat {
    if (this.#used < this.#max) {
      this.#occupy(username);
      return { ready: Promise.resolve(), end: once(() => this.#leave(username)) };
    }
    const own = [...this.#queue].filter((each) => each.username === username).length;
    if (own >= USER_QUEUED_REQUESTS_MAX || this.#queue.size >= QUEUED_REQUESTS_MAX)
      throw tooMany(`${this.#max} requests are under way and others wait`);
    return this.#wait(username);
  }

  #wait(username: string): Seat {
    let seated = false;
    let refuse: (error: ApiError) => void = () => {};
    const ready = new Promise<void>((resolve, reject) => {
      const timer = this.#clock.after(QUEUE_WAIT_MS_MAX, () =>
        refuse(tooMany(`none of ${this.#max} requests under way ended within ${QUEUE_WAIT_MS_MAX} ms`)),
      );
      const begin = (): void => {
        this.#remove(place);
        this.#occupy(username);
        seated = true;
        resolve();
      };
      refuse = (error) => {
        this.#remove(place);
        reject(error);
      };
      const place: Waiting = { username, begin, timer };
      this.#queue.add(place);
    });
    return {
      ready,
      end: once(() => {
        if (seated) this.#leave(username);
        else refuse(tooMany("the client has gone"));
      }),
    };
  }

  #remove(place: Waiting): void {
    this.#queue.delete(place);
    place.timer.cancel();
  }

  #occupy(username: string): void {
    this.#used++;
    this.#taken.set(username, (this.#taken.get(username) ?? 0) + 1);
  }

  #leave(username: string): void {
    this.#used--;
    const left = (this.#taken.get(username) ?? 0) - 1;
    if (left > 0) this.#taken.set(username, left);
    else this.#taken.delete(username);
    this.#next()?.begin();
  }

  #next(): Waiting | undefined {
    let chosen: Waiting | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    for (const place of this.#queue) {
      const taken = this.#taken.get(place.username) ?? 0;
      if (taken >= fewest) continue;
      chosen = place;
      fewest = taken;
    }
    return chosen;
  }
}

function once(action: () => void): () => void {
  let isOver = false;
  return () => {
    if (!isOver) action();
    isOver = true;
  };
}

function tooMany(why: string): ApiError {
  const message = `Too many requests, please try again later: ${why}`;
  return new ApiError("TooManyRequests", message, { retryAfterSeconds: RETRY_AFTER_S });
}
