// What one user may ask for, by the clock, and over HTTPS.
import fc from "fast-check";
import { expect, test } from "vitest";
import { SimulatedClock } from "../../base/time/index.js";
import { OURS, refusal, send, startAccessServer } from "./access/access-server.js";
import { ADMIN, userOf } from "./access/user.js";
import {
  LIMITED_USERS_MAX,
  USER_BURST_REQUESTS,
  USER_REQUESTS_IN_FLIGHT_MAX,
  USER_REQUESTS_PER_SECOND,
} from "./limits.js";
import { RequestLimits } from "./request-limits.js";

const jane = userOf("jane", []);
const setUp = (): { clock: SimulatedClock; limits: RequestLimits } => {
  const clock = new SimulatedClock();
  return { clock, limits: new RequestLimits(() => clock.nowMs()) };
};
const taken = (limits: RequestLimits, user = jane): boolean => {
  try {
    limits.begin(user, false)();
    return true;
  } catch {
    return false;
  }
};

test("a burst is served, then so many a second; others and administrators are not held up by it", () => {
  const { clock, limits } = setUp();
  for (let i = 0; i < USER_BURST_REQUESTS; i++) expect(taken(limits)).toBe(true);
  expect(() => limits.begin(jane, true)).toThrow(/Too many requests, please try again later/);
  expect(taken(limits, userOf("bob", []))).toBe(true);
  expect(taken(limits, ADMIN)).toBe(true);
  clock.advance(1000);
  for (let i = 0; i < USER_REQUESTS_PER_SECOND; i++) expect(taken(limits)).toBe(true);
  expect(taken(limits)).toBe(false);
});

test("requests under way are counted until they are over, once; watches are not", () => {
  const { limits } = setUp();
  const over = Array.from({ length: USER_REQUESTS_IN_FLIGHT_MAX }, () => limits.begin(jane, false));
  expect(() => limits.begin(jane, false)).toThrow(/at a time/);
  limits.begin(jane, true);
  over[0]?.();
  over[0]?.();
  limits.begin(jane, false);
  expect(() => limits.begin(jane, false)).toThrow(/at a time/);
});

test("users who have not asked for long are forgotten, and only they", () => {
  const { clock, limits } = setUp();
  limits.begin(jane, false);
  for (let i = 1; i < LIMITED_USERS_MAX; i++) taken(limits, userOf(`u${i}`, []));
  expect(taken(limits, userOf("late", []))).toBe(false);
  clock.advance(60_000);
  expect(taken(limits, userOf("late", []))).toBe(true);
  expect(limits.count).toBe(2);
});

test("in any stretch of time no user gets more than the burst and the rate", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(400), { maxLength: 400 }), (pauses) => {
      const { clock, limits } = setUp();
      let served = 0;
      for (const pause of pauses) {
        clock.advance(pause % 7 === 0 ? pause : 0);
        for (let i = 0; i < 3; i++) if (taken(limits)) served++;
      }
      const earned = (clock.nowMs() / 1000) * USER_REQUESTS_PER_SECOND;
      expect(served).toBeLessThanOrEqual(USER_BURST_REQUESTS + earned + 1e-6);
      expect(served).toBeGreaterThanOrEqual(Math.min(pauses.length * 3, USER_BURST_REQUESTS));
    }),
  );
});

test("over HTTPS it is 429 with Retry-After's seconds, and ends with time", async () => {
  const access = await startAccessServer();
  try {
    const eager = await access.userClient("eager");
    const ask = (): Promise<unknown> => send(eager, "GET", "/api");
    for (let left = USER_BURST_REQUESTS; left > 0; left -= 20)
      await Promise.all(Array.from({ length: Math.min(left, 20) }, ask));
    expect(await refusal(ask())).toMatch(/^429 Too many requests/);
    await send(access.admin, "GET", `${OURS}/hosts`);
    access.clock.advance(1000);
    await ask();
  } finally {
    await access.close();
  }
});
