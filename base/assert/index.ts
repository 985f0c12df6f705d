// Assertions stay on in production: a broken invariant is our bug, never an input error.
// It kills the worker or daemon that found it; the supervisor reports and restarts it.

/** An invariant of ours was broken. Never caught and continued. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Throws AssertionError when `condition` does not hold. `message` names the invariant. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the default branch of an exhaustive switch: the compiler proves it cannot be reached. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(value)}`);
}
