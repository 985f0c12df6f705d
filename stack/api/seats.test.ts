// Seats for requests: who waits, who is next, who is refused; with a model, and over HTTPS.
import fc from "fast-check";
import { expect, test } from "vitest";
import { SimulatedClock, waitFor } from "../../base/time/index.js";
import { refusal, send, startAccessServer } from "./access/access-server.js";
import type { ApiError } from "./errors.js";
import { QUEUE_WAIT_MS_MAX, QUEUED_REQUESTS_MAX, USER_QUEUED_REQUESTS_MAX } from "./limits.js";
import { type Seat, Seats } from "./seats.js";

/** A request, and what became of it. */
class Request {
  state: "waiting" | "running" | "refused" = "waiting";
  refusal: ApiError | undefined;
  readonly username: string;
  readonly seat: Seat;

  constructor(seats: Seats, username: string) {
    this.username = username;
    this.seat = seats.take(username);
    this.seat.ready.then(
      () => {
        this.state = "running";
      },
      (thrown: ApiError) => {
        this.state = "refused";
        this.refusal = thrown;
      },
    );
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a free seat goes to whoever has the fewest, not to who asked first", async () => {
  const seats = new Seats(new SimulatedClock(), 3);
  const [one, two] = [new Request(seats, "ann"), new Request(seats, "ann")];
  const other = new Request(seats, "ben");
  const late = ["ann", "ann", "ben", "carl"].map((name) => new Request(seats, name));
  const running = async (): Promise<boolean[]> => {
    await settled();
    return late.map(({ state }) => state === "running");
  };
  expect(await running()).toEqual([false, false, false, false]);
  one.seat.end();
  one.seat.end();
  expect(await running()).toEqual([false, false, false, true]);
  two.seat.end();
  expect(await running()).toEqual([true, false, false, true]);
  other.seat.end();
  expect(await running()).toEqual([true, false, true, true]);
  expect([seats.used, seats.waiting]).toEqual([3, 1]);
});

test("who waits too long is refused with the time to come back, and takes no seat later", async () => {
  const clock = new SimulatedClock();
  const seats = new Seats(clock, 1);
  const first = new Request(seats, "ann");
  const second = new Request(seats, "ben");
  clock.advance(QUEUE_WAIT_MS_MAX - 1);
  await settled();
  expect(second.state).toBe("waiting");
  clock.advance(1);
  await settled();
  expect(second.refusal).toMatchObject({ reason: "TooManyRequests", details: { retryAfterSeconds: 1 } });
  second.seat.end();
  first.seat.end();
  expect([seats.used, seats.waiting]).toEqual([0, 0]);
});

test("queues are bounded, for one user and for all", () => {
  const seats = new Seats(new SimulatedClock(), 1);
  new Request(seats, "first");
  const place =
    (name: string): (() => Request) =>
    () =>
      new Request(seats, name);
  for (let i = 0; i < USER_QUEUED_REQUESTS_MAX; i++) place("ann")();
  expect(place("ann")).toThrow("Too many requests, please try again later");
  for (let i = USER_QUEUED_REQUESTS_MAX; i < QUEUED_REQUESTS_MAX; i++) place(`u${i}`)();
  expect(place("last")).toThrow("Too many requests");
});

test("whatever comes and goes: never too many under way, never a free seat while somebody waits, nobody lost", async () => {
  const step = fc.oneof(
    fc.record({ take: fc.constantFrom("ann", "ben", "carl") }),
    fc.record({ end: fc.nat(30) }),
    fc.record({ passMs: fc.constantFrom(1, QUEUE_WAIT_MS_MAX / 2, QUEUE_WAIT_MS_MAX) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 60 }),
      async (max, steps) => {
        const clock = new SimulatedClock();
        const seats = new Seats(clock, max);
        const all: Request[] = [];
        const over = new Set<Request>();
        for (const each of steps) {
          if ("take" in each) all.push(new Request(seats, each.take));
          else if ("passMs" in each) clock.advance(each.passMs);
          else {
            const request = all[each.end % Math.max(1, all.length)];
            request?.seat.end();
            if (request !== undefined) over.add(request);
          }
          await settled();
          const count = (state: Request["state"]): number =>
            all.filter((request) => request.state === state && !over.has(request)).length;
          expect(count("running")).toBe(seats.used);
          expect(count("waiting")).toBe(seats.waiting);
          expect(seats.used).toBeLessThanOrEqual(max);
          if (seats.waiting > 0) expect(seats.used).toBe(max);
        }
        for (const request of all) request.seat.end();
        expect([seats.used, seats.waiting]).toEqual([0, 0]);
      },
    ),
    { numRuns: 200 },
  );
});

test("over HTTPS others wait while all seats are taken, administrators and watches do not", async () => {
  const access = await startAccessServer({ requestsInFlightMax: 1 });
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  try {
    const policies = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies";
    await access.bind("ann", "edit", "shop");
    await access.bind("ben", "view", "shop");
    const [ann, ben] = [await access.userClient("ann"), await access.userClient("ben")];
    let reviewing = false;
    access.reviewWith({
      reviews: ({ kind }) => kind === "NetworkPolicy",
      review: async () => {
        reviewing = true;
        await gate;
        return { warnings: [] };
      },
    });
    const slow = send(ann, "POST", policies, { metadata: { name: "slow" }, spec: { podSelector: {} } });
    await waitFor(() => reviewing, "the review", 30_000);
    const asked = refusal(send(ben, "GET", policies));
    await send(access.admin, "GET", policies);
    // Its time is that of the clock, which stands still until it is in the queue for sure.
    let refused: string | undefined;
    void asked.then((text) => {
      refused = text;
    });
    await waitFor(
      () => {
        access.clock.advance(QUEUE_WAIT_MS_MAX);
        return refused !== undefined;
      },
      "the refusal",
      30_000,
    );
    expect(refused).toMatch(/^429 Too many requests, please try again later: none of 1 requests/);
    const patient = send(ben, "GET", policies);
    open();
    await slow;
    expect(await patient).toMatchObject({ items: [{ metadata: { name: "slow" } }] });
  } finally {
    open();
    await access.close();
  }
});
