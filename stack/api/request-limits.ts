// How much one user may ask for: so many requests a second with a reserve for bursts, and so many at a time. Who may do
// everything is not held up: the host agent and whoever repairs things come through. Memory stays bounded by the number
// of users who asked lately. Pure, but for the times that it is given.
import { MASTERS, type User } from "./access/user.js";
import { ApiError } from "./errors.js";
import {
  LIMITED_USERS_MAX,
  USER_BURST_REQUESTS,
  USER_REQUESTS_IN_FLIGHT_MAX,
  USER_REQUESTS_PER_SECOND,
} from "./limits.js";

interface Account {
  /** Requests that may come at once. */
  tokens: number;
  filledMs: number;
  inFlight: number;
}

export class RequestLimits {
  readonly #accounts = new Map<string, Account>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Users that are remembered. */
  get count(): number {
    return this.#accounts.size;
  }

  /**
   * Counts a request; what it returns says that the request is over, and may be called more than once. A request that
   * `stays`, such as a watch, is counted as one more but not as under way. Throws ApiError TooManyRequests.
   */
  begin(user: User, stays: boolean): () => void {
    if (user.groups.includes(MASTERS)) return () => {};
    const account = this.#accountOf(user.username);
    if (account.tokens < 1) {
      const waitSeconds = Math.max(1, Math.ceil((1 - account.tokens) / USER_REQUESTS_PER_SECOND));
      throw tooMany(`at most ${USER_REQUESTS_PER_SECOND} requests a second`, waitSeconds);
    }
    if (!stays && account.inFlight >= USER_REQUESTS_IN_FLIGHT_MAX)
      throw tooMany(`at most ${USER_REQUESTS_IN_FLIGHT_MAX} requests at a time`, 1);
    account.tokens -= 1;
    if (stays) return () => {};
    account.inFlight += 1;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      account.inFlight -= 1;
    };
  }

  #accountOf(username: string): Account {
    const nowMs = this.#nowMs();
    const known = this.#accounts.get(username);
    if (known !== undefined) {
      fill(known, nowMs);
      return known;
    }
    if (this.#accounts.size >= LIMITED_USERS_MAX) this.#forgetIdle(nowMs);
    if (this.#accounts.size >= LIMITED_USERS_MAX) throw tooMany("too many users at a time", 1);
    const account = { tokens: USER_BURST_REQUESTS, filledMs: nowMs, inFlight: 0 };
    this.#accounts.set(username, account);
    return account;
  }

  /** Whose reserve is full and who waits for nothing is as good as new. */
  #forgetIdle(nowMs: number): void {
    for (const [username, account] of this.#accounts) {
      fill(account, nowMs);
      if (account.inFlight === 0 && account.tokens >= USER_BURST_REQUESTS) this.#accounts.delete(username);
    }
  }
}

function fill(account: Account, nowMs: number): void {
  const earned = ((nowMs - account.filledMs) / 1000) * USER_REQUESTS_PER_SECOND;
  account.tokens = Math.min(USER_BURST_REQUESTS, account.tokens + Math.max(0, earned));
  account.filledMs = nowMs;
}

function tooMany(why: string, retryAfterSeconds: number): ApiError {
  const message = `Too many requests, please try again later: ${why}`;
  return new ApiError("TooManyRequests", message, { retryAfterSeconds });
}
