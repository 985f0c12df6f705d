// An informer over a source that fails in every way that a network has.
import { expect, test } from "vitest";
import { SimulatedClock } from "../../base/time/index.js";
import type { ApiObject, Secret } from "../resources/index.js";
import { ApiError } from "./errors.js";
import { type InformerSource, startInformer, type WatchedEvent } from "./informer.js";

const secret = (name: string, resourceVersion: number, uid = name): ApiObject =>
  ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name, namespace: "a", uid, resourceVersion: String(resourceVersion) },
  }) as never;

/** Lets every promise that can settle do so. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class FakeSource implements InformerSource {
  items: ApiObject[] = [];
  version = 1;
  lists = 0;
  watchedFrom: string[] = [];
  #onEvent: ((event: WatchedEvent) => void) | undefined;
  #end: ((error?: Error) => void) | undefined;

  async list() {
    this.lists++;
    return { items: this.items, resourceVersion: String(this.version) };
  }

  watch(resourceVersion: string, onEvent: (event: WatchedEvent) => void, signal: AbortSignal): Promise<void> {
    this.watchedFrom.push(resourceVersion);
    this.#onEvent = onEvent;
    return new Promise((resolve, reject) => {
      this.#end = (error) => (error === undefined ? resolve() : reject(error));
      signal.addEventListener("abort", () => resolve());
    });
  }

  emit(type: WatchedEvent["type"], object: ApiObject): void {
    this.#onEvent?.({ type, object });
  }

  end(error?: Error): void {
    this.#end?.(error);
  }
}

test("an informer tells every difference once, whatever happens to its connection", async () => {
  const clock = new SimulatedClock();
  const source = new FakeSource();
  source.items = [secret("a", 1), secret("b", 1)];
  const told: string[] = [];
  const errors: string[] = [];
  const informer = startInformer<Secret>(
    source,
    {
      onChange: ({ type, object }) =>
        told.push(`${type} ${object.metadata.name}@${object.metadata.resourceVersion}`),
      onSynced: () => told.push("synced"),
      onError: (error) => errors.push(error.message),
    },
    { clock },
  );
  const expectTold = (...expected: string[]): void => expect(told.splice(0)).toEqual(expected);
  await informer.synced;
  await settle();
  expectTold("added a@1", "added b@1", "synced");

  source.emit("MODIFIED", secret("a", 2));
  source.emit("MODIFIED", secret("a", 2));
  source.emit("BOOKMARK", secret("", 5));
  source.emit("DELETED", secret("b", 6));
  expectTold("modified a@2", "deleted b@6");

  // The connection is lost: the watch is taken up after the last thing seen.
  source.end(new Error("reset"));
  await settle();
  clock.advance(300);
  await settle();
  expect(source.watchedFrom).toEqual(["1", "6"]);
  expect(errors).toEqual(["reset"]);

  // Too much was missed: everything is listed again, and only differences are told.
  source.items = [secret("a", 2), secret("c", 8), secret("d", 9, "second")];
  source.version = 9;
  source.emit("ADDED", secret("d", 7, "first"));
  expectTold("added d@7");
  source.end(new ApiError("Expired", "too old"));
  await settle();
  expectTold("added c@8", "deleted d@7", "added d@9");
  expect(source.lists).toBe(2);
  expect(informer.list().map(({ metadata }) => metadata.name)).toEqual(["a", "d", "c"]);
  expect(informer.get({ namespace: "a", name: "c" })?.metadata.resourceVersion).toBe("8");

  informer.close();
  source.emit("DELETED", secret("a", 10));
  source.end();
  await settle();
  clock.advance(60_000);
  await settle();
  expectTold();
});
