// The little of the Reflect metadata API that tsyringe, which @peculiar/x509 builds on, needs to load. Imported for its
// effect, before that package. Source: "Metadata Proposal – ECMAScript" (rbuckton), Reflect.defineMetadata and others.

type Target = object;
interface MetadataApi {
  defineMetadata(key: unknown, value: unknown, target: Target): void;
  getMetadata(key: unknown, target: Target): unknown;
  getOwnMetadata(key: unknown, target: Target): unknown;
  hasOwnMetadata(key: unknown, target: Target): boolean;
  metadata(key: unknown, value: unknown): (target: Target) => void;
}

const kept = new WeakMap<Target, Map<unknown, unknown>>();

const api: MetadataApi = {
  defineMetadata(key, value, target) {
    const own = kept.get(target) ?? new Map<unknown, unknown>();
    kept.set(target, own.set(key, value));
  },
  getOwnMetadata: (key, target) => kept.get(target)?.get(key),
  hasOwnMetadata: (key, target) => kept.get(target)?.has(key) ?? false,
  getMetadata(key, target) {
    for (let at: Target | null = target; at !== null; at = Object.getPrototypeOf(at)) {
      const own = kept.get(at);
      if (own?.has(key)) return own.get(key);
    }
    return undefined;
  },
  metadata: (key, value) => (target) => api.defineMetadata(key, value, target),
};

for (const [name, value] of Object.entries(api)) {
  if (!Object.hasOwn(Reflect, name)) {
    Object.defineProperty(Reflect, name, { value, configurable: true, writable: true });
  }
}
